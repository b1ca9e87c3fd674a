"""Heat maps equal captum's Grad-CAM, for every kind of network, and leave the network as it was."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

import reslab
from reslab.errors import NetworkError, UsageError
from reslab.explanation.heat_map import default_layer, heat_maps, upsample
from reslab.networks.blocks import BasicBlock, PreActivationBlock
from reslab.networks.resnet import ResNet
from reslab.randomness import torch_seeded


def small(block: type[nn.Module] = BasicBlock, num_classes: int = 3) -> ResNet:
    with torch_seeded(0, "test"):
        return ResNet(block, (1, 1, 1, 1), (8, 16, 32, 64), num_classes=num_classes, stem_channels=8)


def images(count: int = 3, height: int = 64, width: int = 64) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def captum_maps(network: nn.Module, batch: Tensor, classes: Tensor, layer: str) -> Tensor:
    """Return captum's maps (N, h, w), divided by their largest values."""
    oracle = LayerGradCam(network.eval(), network.get_submodule(layer))
    maps = oracle.attribute(batch, classes, relu_attributions=True).detach()[:, 0]
    largest = maps.amax((1, 2), keepdim=True)
    return maps / largest.where(largest > 0, 1)


@pytest.mark.parametrize("block", [BasicBlock, PreActivationBlock])
@pytest.mark.parametrize("layer", [None, "layer3", "layer2.0", "conv1", "bn1"])
def test_maps_equal_captum(block: type[nn.Module], layer: str | None) -> None:
    network, batch = small(block), images(4, 64, 96)
    classes = torch.tensor([0, 1, 2, 0])
    found = heat_maps(network, batch, classes, layer)
    expected = captum_maps(network, batch, classes, found.layer)
    torch.testing.assert_close(found.maps, expected, atol=1e-6, rtol=0)
    assert torch.equal(found.classes, classes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("cifar_resnet20", "layer3"),
        ("torchvision:resnet18", "layer4"),
        ("torchvision:mobilenet_v2", "features"),
        ("torchvision:squeezenet1_1", "classifier.2"),
        ("timm:resnet18", "layer4"),
    ],
)
def test_the_last_stage_of_any_network_is_found(name: str, layer: str) -> None:
    side = 32 if name.startswith("cifar") else 224
    network, batch = reslab.create_network(name), images(2, side, side)
    found = heat_maps(network, batch)
    assert found.layer == layer == default_layer(network, batch)
    expected = captum_maps(network, batch, found.classes, layer)
    torch.testing.assert_close(found.maps, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "layer"), [(224, "layer4"), (129, "layer4"), (128, "layer3"), (64, "layer3"), (32, "layer2")]
)
def test_maps_of_less_than_five_positions_a_side_are_those_of_the_stage_before(size: int, layer: str) -> None:
    assert default_layer(small(), images(1, size, size)) == layer


def test_classes_are_the_predicted_ones_by_default() -> None:
    network, batch = small(), images()
    found = heat_maps(network, batch)
    with torch.no_grad():
        logits = network.eval()(batch)
    torch.testing.assert_close(found.logits, logits)
    assert torch.equal(found.classes, logits.argmax(1))
    assert torch.equal(found.maps, heat_maps(network, batch, logits.argmax(1)).maps)
    assert found.maps.amin() >= 0
    assert torch.equal(found.maps.amax((1, 2)), torch.ones(3))


def test_channels_last_maps_are_recognized() -> None:
    class Swapped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.movedim(1, 3)

    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2))

    trunk = nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU())
    first = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    last = nn.Sequential(trunk, Swapped(), Pool(), first[3])
    found = heat_maps(last, images())
    assert found.layer == "1"
    torch.testing.assert_close(found.maps, heat_maps(first, images(), layer="0").maps)


def test_a_network_comes_back_unchanged() -> None:
    network = small()
    network.train()
    network.layer2.eval()
    network.requires_grad_(False)
    network.fc.weight.requires_grad_(True)
    network.fc.weight.grad = torch.ones_like(network.fc.weight)
    modes = [module.training for module in network.modules()]
    needed = [p.requires_grad for p in network.parameters()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    heat_maps(network, images())
    assert modes == [module.training for module in network.modules()]
    assert needed == [p.requires_grad for p in network.parameters()]
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(network.fc.weight.grad, torch.ones_like(network.fc.weight))
    assert not any(module._forward_hooks for module in network.modules())
    assert torch.equal(random, torch.get_rng_state())
    assert torch.is_grad_enabled()


def test_maps_need_no_gradients_outside() -> None:
    expected = heat_maps(small(), images()).maps
    with torch.inference_mode():
        assert torch.equal(heat_maps(small(), images()).maps, expected)
    with torch.no_grad():
        assert torch.equal(heat_maps(small(), images()).maps, expected)
        assert not torch.is_grad_enabled()


def test_a_map_that_nothing_speaks_for_is_empty() -> None:
    network = small()
    network.fc.weight.data.zero_()
    found = heat_maps(network, images())
    assert found.empty.tolist() == [True] * 3
    assert not found.maps.any()


def test_upsampling_keeps_the_range() -> None:
    maps = torch.rand(2, 2, 3, generator=torch.Generator().manual_seed(0))
    large = upsample(maps, (20, 30))
    assert large.shape == (2, 20, 30)
    assert float(large.amax()) <= float(maps.amax()) + 1e-6
    assert float(large.amin()) >= float(maps.amin()) - 1e-6


@pytest.mark.parametrize(
    ("layer", "size", "words"),
    [
        ("layr3", 64, "did you mean 'layer3'"),
        ("fc", 224, "name an earlier layer, such as layer4"),
        ("layer4", 32, "name an earlier layer, such as layer2"),
    ],
)
def test_a_layer_that_does_not_fit_is_answered(layer: str, size: int, words: str) -> None:
    with pytest.raises(NetworkError, match=words):
        heat_maps(small(), images(1, size, size), layer=layer)


def test_other_misuse_is_answered() -> None:
    with pytest.raises(UsageError, match="each image needs one"):
        heat_maps(small(), images(), torch.tensor([0]))
    with pytest.raises(UsageError, match="from 0 to 2"):
        heat_maps(small(), images(), torch.tensor([0, 1, 3]))
    with pytest.raises(NetworkError, match="no layer for a heat map"):
        heat_maps(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), images())
    with pytest.raises(NetworkError, match="explains a logit"):
        heat_maps(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()), images())
    broken = small()
    broken.fc.bias.data.fill_(torch.nan)
    with pytest.raises(NetworkError, match="not finite"):
        heat_maps(broken, images())
