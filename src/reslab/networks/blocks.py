"""Residual blocks and their shortcuts. Read them from the top; resnet.py stacks them into networks.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (the paper), and Identity Mappings in
Deep Residual Networks, 2016 (pre-activation). A block is any callable (in_channels, out_channels, stride) ->
module. It decides its own shortcut from these three numbers; nobody has to keep a flag in step with them.

A block may tell its network two things: by a method `zero_init_residual` how it starts as its shortcut, and
by `leaves_sum_bare = True` that what leaves it still needs a batch norm and a ReLU. The network initialises
every convolution once the blocks are made, so a block's own choice belongs into the method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from reslab.errors import NetworkError

Block = Callable[[int, int, int], nn.Module]
Shortcut = Literal["A", "B", "C"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), rounded up as everywhere below"""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=bias)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)"""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=bias)


class ZeroPad(nn.Module):
    """Shortcut A (the paper, section 3.3): every stride-th pixel, the new channels filled with zeros.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), without a parameter.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise NetworkError(
                f"shortcut A cannot go from {in_channels} to {out_channels} channels",
                "it adds channels of zeros and cannot take any away",
                "use shortcut B or C, which project",
            )
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (N, C, H/s, W/s)
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.new_channels))  # (N, C', H/s, W/s)


def make_shortcut(in_channels: int, out_channels: int, stride: int, option: Shortcut) -> nn.Module | None:
    """What runs beside the block; None is the identity. Options of the paper, section 4.1:

    A: identity, padded with zeros where the shape changes; B: projection where the shape changes;
    C: projection everywhere.
    """
    same = in_channels == out_channels and stride == 1
    if option not in ("A", "B", "C"):
        raise NetworkError(f"there is no shortcut '{option}'", "the paper has three", "use 'A', 'B' or 'C'")
    if same and option != "C":
        return None
    if option == "A":
        return ZeroPad(in_channels, out_channels, stride)
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (the paper, figure 5 left).

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = make_shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        x = self.bn2(self.conv2(x))
        return self.relu(x + identity)

    def zero_init_residual(self) -> None:
        """The block starts as the identity (Goyal 2017, section 5.1)."""
        nn.init.zeros_(self.bn2.weight)


class Bottleneck(nn.Module):
    """1x1 down to a quarter of the channels, 3x3, 1x1 up again (the paper, figure 5 right).

    The stride sits in the 3x3 convolution, as in torchvision ("ResNet v1.5"), not in the first 1x1 as in
    the paper. (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)

    Raises NetworkError unless out_channels is a multiple of 4.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        width, rest = divmod(out_channels, 4)
        if width < 1 or rest:
            raise NetworkError(
                f"a bottleneck cannot have {out_channels} output channels",
                "its 3x3 convolution works on a quarter of them",
                "use a multiple of 4, or BasicBlock",
            )
        self.conv1 = conv1x1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C'/4, H, W)
        x = self.relu(self.bn2(self.conv2(x)))  # (N, C'/4, H/s, W/s)
        x = self.bn3(self.conv3(x))  # (N, C', H/s, W/s)
        return self.relu(x + identity)

    def zero_init_residual(self) -> None:
        """The block starts as the identity (Goyal 2017, section 5.1)."""
        nn.init.zeros_(self.bn3.weight)


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each convolution, nothing after the sum (He 2016, figure 1b).

    What leaves the last block is not normalised, so ResNet puts a batch norm and a ReLU behind it.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    leaves_sum_bare = True

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)  # (N, C', H/s, W/s)
        x = self.conv1(self.relu(self.bn1(x)))  # (N, C', H/s, W/s)
        x = self.conv2(self.relu(self.bn2(x)))
        return x + identity

    def zero_init_residual(self) -> None:
        """Here the last convolution: behind a batch norm of zeros the ReLU would pass no gradient, ever."""
        nn.init.zeros_(self.conv2.weight)


class PlainBlock(nn.Module):
    """BasicBlock without its shortcut: the network that the paper compares with (section 3.3).

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        return self.relu(self.bn2(self.conv2(x)))


class TextbookBlock(nn.Module):
    """The tutorials' dialect (Dive into Deep Learning, section 8.6): convolutions with a bias, and `conv3`
    as a projection without batch norm. (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        same = in_channels == out_channels and stride == 1
        self.conv1 = conv3x3(in_channels, out_channels, stride, bias=True)
        self.conv2 = conv3x3(out_channels, out_channels, bias=True)
        self.conv3 = None if same else conv1x1(in_channels, out_channels, stride, bias=True)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.conv3 is None else self.conv3(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        x = self.bn2(self.conv2(x))
        return self.relu(x + identity)

    def zero_init_residual(self) -> None:
        """The block starts as its shortcut (Goyal 2017, section 5.1)."""
        nn.init.zeros_(self.bn2.weight)
