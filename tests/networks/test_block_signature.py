"""Blocks whose parameters or shapes are others, and the adapters that make them fit."""

from __future__ import annotations

import copy
import textwrap
from functools import partial
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import reslab
from reslab.errors import NetworkError
from reslab.networks.block_signature import check_signature


class Residual(nn.Module):
    """Residual block of "Dive into Deep Learning", section 8.6, as in the book."""

    def __init__(self, input_channels: int, num_channels: int, use_1x1conv: bool = False, strides: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, kernel_size=3, padding=1)
        if use_1x1conv:
            self.conv3 = nn.Conv2d(input_channels, num_channels, kernel_size=1, stride=strides)
        else:
            self.conv3 = None  # type: ignore[assignment]
        self.bn1 = nn.BatchNorm2d(num_channels)
        self.bn2 = nn.BatchNorm2d(num_channels)

    def forward(self, X: Tensor) -> Tensor:  # noqa: N803
        Y = F.relu(self.bn1(self.conv1(X)))
        Y = self.bn2(self.conv2(Y))
        if self.conv3:
            X = self.conv3(X)
        Y += X
        return F.relu(Y)


class LazyResidual(nn.Module):
    """The same in the later edition of the book."""

    def __init__(self, num_channels: int, use_1x1conv: bool = False, strides: int = 1):
        super().__init__()
        self.conv1: Any = nn.LazyConv2d(num_channels, kernel_size=3, padding=1, stride=strides)
        self.conv2: Any = nn.LazyConv2d(num_channels, kernel_size=3, padding=1)
        self.conv3: Any = nn.LazyConv2d(num_channels, kernel_size=1, stride=strides) if use_1x1conv else None
        self.bn1: Any = nn.LazyBatchNorm2d()
        self.bn2: Any = nn.LazyBatchNorm2d()

    forward = Residual.forward


class Convolution(nn.Module):
    """Base of blocks that are one convolution."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Reduction(Convolution):
    def __init__(self, in_channels: int, out_channels: int, reduction: int = 16, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride)


class Attention(nn.Module):
    """Squeeze and excitation as a layer that keeps the shape."""

    def __init__(self, channel: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc = nn.Linear(channel, channel)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.fc(x.mean((2, 3))).sigmoid()[:, :, None, None]


REFUSED = {
    "Residual": (Residual, "'use_1x1conv', would get the stride"),
    "LazyResidual": (LazyResidual, "'use_1x1conv' would get a number"),
    "Reduction": (Reduction, "'reduction', would get the stride"),
    "torchvision": (torchvision.models.resnet.BasicBlock, "takes 'downsample' from its caller"),
    "torchvision4": (torchvision.models.resnet.Bottleneck, "takes 'downsample' from its caller"),
    "timm": (timm.models.resnet.BasicBlock, "takes 'downsample' from its caller"),
    "timm4": (timm.models.resnet.Bottleneck, "takes 'downsample' from its caller"),
    "convnext": (timm.models.convnext.ConvNeXtBlock, "'kernel_size', would get the stride"),
}


def pasted(error: NetworkError, block: Any) -> Any:
    """Return the function that the error's adapter defines in a file with the block."""
    namespace = {block.__name__: block}
    exec(textwrap.dedent(error.do.partition("\n")[2]), namespace)
    return namespace["block"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_block_with_other_parameters_is_refused_with_an_adapter_that_works(name: str) -> None:
    block, why = REFUSED[name]
    with pytest.raises(NetworkError) as caught:
        reslab.cifar_resnet20(block=block)
    assert caught.value.what == f"{block.__name__} is not a block (in_channels, out_channels, stride)"
    assert why in caught.value.why

    network = reslab.cifar_resnet20(num_classes=2, block=pasted(caught.value, block))
    images, labels = torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1])
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    F.cross_entropy(network(images), labels).backward()
    before = copy.deepcopy(network.state_dict())
    optimizer.step()
    after = network.state_dict()
    assert all(p.grad is not None for p in network.parameters())
    assert not torch.equal(before["layer3.0." + next(iter(network.layer3[0].state_dict()))],
                           after["layer3.0." + next(iter(network.layer3[0].state_dict()))])  # fmt: skip
    assert network.layer3(network.layer2(torch.rand(1, 16, 8, 8))).shape == (1, 64, 2, 2)


def test_the_adapted_block_of_the_book_gives_the_network_of_the_book() -> None:
    with pytest.raises(NetworkError) as caught:
        reslab.textbook_resnet18(block=Residual)
    network = reslab.textbook_resnet18(block=pasted(caught.value, Residual))
    counts = (sum(p.numel() for p in each.parameters()) for each in (network, reslab.textbook_resnet18()))
    assert next(counts) == next(counts) == 11_178_378


class Method:
    def __call__(self, x: int, y: int, z: int) -> nn.Module:
        return Convolution(x, y, z)

    def make(self, in_planes: int, planes: int, stride: int = 1, reduction: int = 16) -> nn.Module:
        return Convolution(in_planes, planes, stride)


class OwnShortcut(Convolution):
    """It takes a shortcut, and makes one if it gets none."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Any = None) -> None:
        super().__init__(in_channels, out_channels, stride)


ACCEPTED = {
    "class": Convolution,
    "lambda": lambda a, b, c: Convolution(a, b, c),
    "names": lambda cin, cout, s: Convolution(cin, cout, s),
    "star": lambda *numbers: Convolution(*numbers),
    "partial": partial(reslab.BasicBlock, shortcut="A"),
    "instance": Method(),
    "method": Method().make,
    "own shortcut": OwnShortcut,
    "ours": reslab.PreActivationBlock,
    "regnet": timm.models.regnet.Bottleneck,
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_any_callable_of_the_three_numbers_is_a_block(name: str) -> None:
    network = reslab.cifar_resnet20(num_classes=2, block=ACCEPTED[name])
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 2)


class NeverHalves(Convolution):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, 1)


class KeepsChannels(Convolution):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, in_channels, stride)


class NoProjection(Convolution):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + x


class Lazy(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.LazyConv2d(out_channels, 3, stride, 1)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (NeverHalves, ("NeverHalves", "layer2.0", "gives (2, 32, 8, 12)", "has to give (2, 32, 4, 6)")),
        (KeepsChannels, ("KeepsChannels", "layer2.0", "gives (2, 16, 4, 6)", "block(16, 32, 2)")),
        (NoProjection, ("NoProjection", "layer2.0", "fails on an input of shape (2, 16, 8, 12)", "tensor")),
        (Lazy, ("Lazy", "layer1.0", "lazy layers", "give the layers their in_channels")),
        (lambda i, o, s: None, ("layer1.0", "block(16, 16, 1) gave NoneType")),
    ],
)
def test_a_block_of_another_shape_is_refused_with_its_layer(block: Any, words: Any, refuses: Any) -> None:
    with refuses(NetworkError, *words):
        reslab.cifar_resnet20(block=block)
    with torch.device("meta"), refuses(NetworkError, *words[:2]):
        reslab.cifar_resnet20(block=block)


class Counts(Convolution):
    """Draws random numbers and counts its calls, in eval mode too."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(in_channels, out_channels, stride)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x) + torch.rand(())


def test_the_check_changes_neither_the_block_nor_the_random_state() -> None:
    torch.manual_seed(1)
    counted: Any = reslab.cifar_resnet20(block=Counts)
    after = torch.rand(3)
    torch.manual_seed(1)
    plain: Any = reslab.cifar_resnet20(block=Convolution)
    assert torch.equal(after, torch.rand(3))
    assert torch.equal(counted.layer2[0].conv.weight, plain.layer2[0].conv.weight)
    assert not any(block.calls for block in counted.layer2)
    assert all(module.training for module in counted.modules())


def test_a_layer_without_a_stride_is_refused_without_an_adapter(refuses: Any) -> None:
    with refuses(NetworkError, "Attention is not a block", "a block that contains it"):
        reslab.cifar_resnet20(block=Attention)


def test_a_file_in_the_name_is_the_place_of_the_adapter(refuses: Any) -> None:
    with refuses(
        NetworkError,
        "name cifar_resnet20:my_block.py:block",
        "return TV(input_channels=i, num_channels=o, use_1x1conv=",
    ):
        check_signature(Residual, "cifar_resnet20:my_block.py:TV")
