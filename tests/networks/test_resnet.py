"""ResNet as a sequence of layers, of any size, and the errors for invalid sizes."""

from __future__ import annotations

import copy
import pickle
import warnings
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import reslab
from reslab.errors import NetworkError
from reslab.networks.resnet import ResNet


def small(block: Any = reslab.BasicBlock, **settings: Any) -> ResNet:
    return ResNet(block, (1, 2), (8, 16), stem_channels=8, **{"num_classes": 3, **settings})


@pytest.mark.parametrize(
    "block", [reslab.BasicBlock, reslab.Bottleneck, reslab.PreActivationBlock, reslab.TextbookBlock]
)
def test_with_zero_init_every_parameter_has_a_gradient_after_the_first_step(block: Any) -> None:
    torch.manual_seed(0)
    network = small(block, zero_init_residual=True)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, y = torch.randn(8, 3, 32, 32), torch.arange(8) % 3
    for _ in range(2):
        optimizer.zero_grad()
        cross_entropy(network(x), y).backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        if not name.endswith("bias"):  # a bias before a batch norm has no gradient: the mean is subtracted
            assert parameter.grad is not None
            assert parameter.grad.abs().max() > 1e-7, name


def test_a_network_is_a_sequence_of_its_layers() -> None:
    network = reslab.resnet18(num_classes=4).eval()
    names = [
        "conv1",
        "bn1",
        "relu",
        "maxpool",
        "layer1",
        "layer2",
        "layer3",
        "layer4",
        "avgpool",
        "flatten",
        "fc",
    ]
    assert [name for name, _ in network.named_children()] == names
    assert len(network) == 11
    x = images = torch.randn(2, 3, 64, 64)
    kept: list[Tensor] = [x]
    for layer in network:
        x = layer(x)
        kept.append(x)
    assert torch.equal(x, network(images))
    assert (kept[2] < 0).any()  # the ReLU after bn1 is not in place
    for layer, before, after in zip(network, kept, kept[1:], strict=False):
        assert torch.equal(layer(before), after)


def test_slices_are_plain_sequences_that_share_layers() -> None:
    network = reslab.resnet18().eval()
    features = network[:8]
    assert type(features) is nn.Sequential
    assert [name for name, _ in features.named_children()][-1] == "layer4"
    assert all(a is b for a, b in zip(features, network, strict=False))
    assert features(torch.randn(1, 3, 64, 64)).shape == (1, 512, 2, 2)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(network[-1](network[:-1](x)), network(x))
    assert network[-1] is network.fc
    assert network[0] is network.conv1
    assert [*network[4:8].state_dict()] == [k for k in network.state_dict() if k.startswith("layer")]
    assert len(network[20:]) == 0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_a_copy_of_a_network_has_weights_of_its_own(duplicate: Any) -> None:
    network = small().eval()
    twin = duplicate(network)
    x = torch.randn(2, 3, 32, 32)
    assert type(twin) is ResNet
    assert twin.total_stride == network.total_stride
    assert torch.equal(network(x), twin(x))
    nn.init.zeros_(twin.fc.weight)
    assert not torch.equal(network(x), twin(x))


@given(
    num_classes=st.integers(1, 30),
    in_channels=st.integers(1, 6),
    stem=st.sampled_from(["imagenet", "small"]),
    sizes=st.lists(st.integers(1, 2), min_size=1, max_size=4),
    side=st.integers(1, 70),
)
@settings(max_examples=40, deadline=None)
def test_any_number_of_classes_channels_and_stages_is_possible(
    num_classes: int, in_channels: int, stem: Any, sizes: list[int], side: int
) -> None:
    channels = [8 * (i + 1) for i in range(len(sizes))]
    network = ResNet(
        reslab.BasicBlock, sizes, channels, num_classes=num_classes, in_channels=in_channels, stem=stem
    ).eval()
    x = torch.randn(2, in_channels, side, side)
    assert network(x).shape == (2, num_classes)
    last = ceil(side / network.total_stride)
    assert network[:-3](x).shape == (2, channels[-1], last, last)
    assert [len(getattr(network, f"layer{i + 1}")) for i in range(len(sizes))] == sizes


def test_the_small_stem_keeps_the_resolution() -> None:
    x = torch.randn(2, 3, 32, 32)
    network = reslab.resnet18(stem="small", num_classes=10).eval()
    assert [name for name, _ in network.named_children()][:4] == ["conv1", "bn1", "relu", "layer1"]
    assert network[:4](x).shape == (2, 64, 32, 32)
    assert network.total_stride == 8
    cifar = reslab.cifar_resnet20().eval()
    assert [tuple(cifar[:n](x).shape[1:]) for n in (4, 5, 6)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert not [name for name in cifar.state_dict() if "downsample" in name]  # shortcut A has no weights
    assert reslab.textbook_resnet18().eval()(torch.randn(2, 1, 96, 96)).shape == (2, 10)


def test_a_batch_norm_and_a_relu_follow_the_last_preactivation_block() -> None:
    network = small(reslab.PreActivationBlock)
    names = [name for name, _ in network.named_children()]
    assert names[-6:] == ["layer2", "bn_last", "relu_last", "avgpool", "flatten", "fc"]
    x = network[:-3](torch.randn(16, 3, 32, 32))
    assert x.min() == 0
    assert "bn_last" not in dict(small().named_children())


class Own(nn.Module):
    """A user's block without shortcut option and zero_init_residual."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(in_channels, out_channels, 5, stride, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.body(x))


def pooled(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.AvgPool2d(stride))


@pytest.mark.parametrize("block", [Own, pooled, lambda i, o, s: nn.Conv2d(i, o, 3, s, 1), reslab.PlainBlock])
def test_any_callable_is_a_block(block: Any) -> None:
    x = torch.randn(2, 3, 64, 64)
    assert small(block).eval()(x).shape == (2, 3)
    assert reslab.resnet18(block=block, num_classes=5).eval()(x).shape == (2, 5)


def test_a_block_is_used_in_every_place() -> None:
    plain = reslab.resnet34(block=reslab.PlainBlock)
    assert len([m for m in plain.modules() if isinstance(m, reslab.PlainBlock)]) == 16
    assert not [m for m in plain.modules() if isinstance(m, reslab.BasicBlock)]


@pytest.mark.parametrize(
    ("sizes", "channels"),
    [((), ()), ((0, 1), (8, 8)), ((2, -1), (8, 8)), ((1, 1), (8,)), ((1,), (8, 8)), ((1, 1), (8, 0))],
)
def test_invalid_stage_sizes_are_refused(sizes: Any, channels: Any, refuses: Any) -> None:
    with refuses(NetworkError, str(list(sizes)), str(list(channels)), "at least 1"):
        ResNet(reslab.BasicBlock, sizes, channels)


@pytest.mark.parametrize("setting", ["num_classes", "in_channels", "stem_channels"])
@pytest.mark.parametrize("value", [0, -3])
def test_counts_below_one_are_refused(setting: str, value: int, refuses: Any) -> None:
    with refuses(NetworkError, f"{setting}={value}"):
        ResNet(reslab.BasicBlock, (1,), (8,), **{setting: value})


def test_an_unknown_name_or_stem_is_refused(refuses: Any) -> None:
    with refuses(NetworkError, "no network 'resnet19'", "did you mean 'resnet18'", "cifar_resnet110"):
        reslab.create_resnet("resnet19")
    with refuses(NetworkError, "no stem 'tiny'", "'imagenet' or 'small'"):
        reslab.resnet18(stem="tiny")  # type: ignore[arg-type]


def test_zero_init_needs_blocks_with_the_method(refuses: Any) -> None:
    with refuses(NetworkError, "zero_init_residual", "plain block"):
        small(reslab.PlainBlock, zero_init_residual=True)


def test_weights_are_loaded_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    source = reslab.resnet18()
    torch.save(source.state_dict(), path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a new last layer is expected
        network = reslab.resnet18(num_classes=2, weights=path)
        same = reslab.resnet18(weights=str(path))
    assert torch.equal(network.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert all(map(torch.equal, same.state_dict().values(), source.state_dict().values()))


def test_weights_that_lack_more_than_the_last_layer_give_a_warning(partial_weights: Path) -> None:
    with pytest.warns(
        UserWarning, match=r"92 of 122.*\n.*left as initialized: layer4 \(30 tensors\)"
    ) as seen:
        reslab.resnet18(weights=partial_weights)
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match="another shape, left as initialized: conv1.weight"):
        reslab.resnet18(weights=partial_weights, stem="small")
