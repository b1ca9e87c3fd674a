"""Networks by name, the family's and torchvision's, and the check of their input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

import reslab
from reslab.errors import NetworkError
from reslab.networks.from_text import network_from_text, parse_name
from reslab.networks.registry import NetworkSpec, check_input, default_in_channels, list_networks
from reslab.networks.resnet import FAMILY, ResNet


def small(**settings: Any) -> ResNet:
    return ResNet(reslab.BasicBlock, (1, 1), (8, 16), stem_channels=8, num_classes=3, **settings)


@pytest.mark.parametrize("name", FAMILY)
def test_a_spec_builds_a_network_of_the_family(name: str) -> None:
    with torch.device("meta"):
        network = NetworkSpec(name, 7, 2, "small").build()
        expected = reslab.create_resnet(name, 7, 2, stem="small")
    assert isinstance(network, ResNet)
    assert str(network) == str(expected)


def test_only_the_textbooks_network_takes_one_channel_by_default() -> None:
    assert default_in_channels("textbook_resnet18") == 1
    assert default_in_channels("resnet50") == default_in_channels("torchvision:vgg11") == 3


def test_a_spec_passes_zero_init_residual_on() -> None:
    network: Any = NetworkSpec("resnet18", 2, 3).build(zero_init_residual=True)
    assert not network.layer1[0].bn2.weight.any()


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "inception_v3"]
)
def test_torchvisions_networks_return_one_tensor_of_logits_also_in_train_mode(name: str) -> None:
    spec = NetworkSpec(f"torchvision:{name}", 5, 3)
    network = spec.build()
    assert type(network).__module__.startswith("torchvision.models.")
    check_input(network, spec.name, 3, 96)
    logits = network.train()(torch.randn(2, 3, 96, 96))
    assert isinstance(logits, Tensor)
    assert logits.shape == (2, 5)


def test_torchvisions_resnet18_has_the_same_initial_weights() -> None:
    torch.manual_seed(1)
    theirs = NetworkSpec("torchvision:resnet18", 4, 3).build()
    torch.manual_seed(1)
    ours = NetworkSpec("resnet18", 4, 3).build()
    assert isinstance(theirs, torchvision.models.ResNet)
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_whose_weights_expect_other_means_renormalize_the_images(name: str) -> None:
    network: Any = NetworkSpec(f"torchvision:{name}", 5, 3).build()
    black = -torch.tensor([0.485, 0.456, 0.406]) / torch.tensor([0.229, 0.224, 0.225])
    turned = network._transform_input(black.view(1, 3, 1, 1))
    torch.testing.assert_close(turned, torch.full((1, 3, 1, 1), -1.0))


def test_the_error_for_an_unknown_name_shows_the_nearest(refuses: Any) -> None:
    with refuses(NetworkError, "no network 'resnet19'", "did you mean 'resnet18'", "torchvision:NAME"):
        parse_name("resnet19")
    with refuses(NetworkError, "no network 'resnet19'"):
        NetworkSpec("resnet19", 2, 3).build()
    words = ("no classifier 'mobilenet_v9'", "did you mean 'torchvision:mobilenet_v2'", "and others")
    with refuses(NetworkError, *words):
        parse_name("torchvision:mobilenet_v9")
    with refuses(NetworkError, "no classifier 'fcn_resnet50'"):  # a segmentation network
        NetworkSpec("torchvision:fcn_resnet50", 2, 3).build()


@pytest.mark.parametrize(
    ("spec", "zero_init"),
    [
        (NetworkSpec("torchvision:resnet18", 2, 1), False),
        (NetworkSpec("torchvision:resnet18", 2, 3, "small"), False),
        (NetworkSpec("torchvision:resnet18", 2, 3), True),
    ],
)
def test_torchvisions_networks_cannot_be_changed(spec: NetworkSpec, zero_init: bool, refuses: Any) -> None:
    with refuses(NetworkError, "torchvision:resnet18 is built as"):
        spec.build(zero_init)


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18"])
def test_a_network_without_classes_is_refused(name: str, refuses: Any) -> None:
    with refuses(NetworkError, "num_classes=0"):
        NetworkSpec(name, 0, 3).build()


def test_images_smaller_than_the_stride_are_refused(refuses: Any) -> None:
    network = reslab.resnet18(num_classes=2)
    assert network.total_stride == 32
    for size in (32, 33, 96):
        check_input(network, "resnet18", 3, size)
    with refuses(NetworkError, "images of 31 pixels are too small for resnet18", "--size 32 or more"):
        check_input(network, "resnet18", 3, 31)
    check_input(reslab.cifar_resnet20(), "cifar_resnet20", 3, 4)
    with refuses(NetworkError, "images of 3 pixels", "--size 4 or more"):
        check_input(reslab.cifar_resnet20(), "cifar_resnet20", 3, 3)


def test_torchs_error_is_the_reason(refuses: Any) -> None:
    with refuses(NetworkError, "(1, 32, 32)", "expected input", "to have 3 channels, but got 1"):
        check_input(small(), "mine", 1, 32)
    squeezenet = NetworkSpec("torchvision:squeezenet1_1", 2, 3).build()
    with refuses(NetworkError, "(3, 16, 16)", "too small", "another --size"):
        check_input(squeezenet, "torchvision:squeezenet1_1", 3, 16)


class Raises(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, x: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize("error", [AssertionError(), RuntimeError("first\nsecond"), IndexError("no axis 7")])
def test_an_error_of_a_users_network_is_the_reason(error: Exception, refuses: Any) -> None:
    reason = (str(error) or "AssertionError").splitlines()[0]
    with refuses(NetworkError, "mine does not accept images", f"why: {reason}\n"):
        check_input(Raises(error), "mine", 3, 32)


@pytest.mark.parametrize(
    ("network", "found"),
    [
        (nn.Conv2d(3, 2, 3), "(2, 2, 30, 30)"),
        (nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(0)), "(3600,)"),
        (nn.LSTM(32, 4), "tuple"),
    ],
)
def test_outputs_that_are_not_logits_are_refused(network: nn.Module, found: str, refuses: Any) -> None:
    if isinstance(network, nn.LSTM):
        network = nn.Sequential(nn.Flatten(1, 2), network)
    with refuses(NetworkError, "does not return logits", f"(N, num_classes), got {found}"):
        check_input(network, "mine", 3, 32)


class Restless(nn.Module):
    """Changes its buffers and draws random numbers in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("noise", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.noise = torch.rand(4)
        return x + torch.rand(())


@pytest.mark.parametrize("size", [32, 96])
def test_the_check_restores_modes_buffers_and_random_state(size: int) -> None:
    network = nn.Sequential(Restless(), small(), nn.Linear(3, 2))
    network[1].layer1.eval()  # mixed modes
    network[1].layer1[0].bn2.train()
    network[1].fc.weight.grad = torch.ones_like(network[1].fc.weight)
    network[1].fc.bias.requires_grad_(False)
    if size == 96:
        network.append(nn.Unflatten(1, (7, 7)))  # fails
    modes = [module.training for module in network.modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    if size == 96:
        with pytest.raises(NetworkError):
            check_input(network, "mine", 3, size)
    else:
        check_input(network, "mine", 3, size)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(network[1].fc.weight.grad, torch.ones_like(network[1].fc.weight))
    assert [p.requires_grad for p in network[1].fc.parameters()] == [True, False]
    assert torch.is_grad_enabled()


def test_networks_are_listed_by_pattern() -> None:
    assert reslab.list_networks() == sorted(FAMILY)
    assert list_networks("*resnet1??") == ["cifar_resnet110", "resnet101", "resnet152"]
    assert list_networks("torchvision:vgg1?") == [f"torchvision:vgg{n}" for n in (11, 13, 16, 19)]
    assert list_networks("nothing*") == []
    assert list_networks("timm:resnet18d") == ["timm:resnet18d"]


def test_a_network_of_timm_is_timms(refuses: Any) -> None:
    network: Any = NetworkSpec("timm:resnet10t", 5, 1).build()
    assert type(network).__module__.startswith("timm.")
    assert network(torch.rand(2, 1, 64, 64)).shape == (2, 5)
    named = network_from_text("timm:mobilenetv3_small_100", 2, meta=True)
    assert named.input_shape == (3, 224, 224)
    with refuses(NetworkError, "timm has no classifier 'resnet19'", "reslab.list_networks('timm:*')"):
        NetworkSpec("timm:resnet19", 2, 3).build()
    with refuses(NetworkError, "timm has no classifier 'hf-hub:a/b'"):  # nothing is downloaded
        NetworkSpec("timm:hf-hub:a/b", 2, 3).build()
    with refuses(NetworkError, "timm:resnet10t is built as its source defines it"):
        NetworkSpec("timm:resnet10t", 2, 3, "small").build()
