"""Residual blocks and their shortcuts; resnet.py stacks them into networks.

The paper: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015.
Pre-activation: the same authors, "Identity Mappings in Deep Residual Networks", 2016.

A block is any callable (in_channels, out_channels, stride) -> module that maps
(N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up. It chooses its own shortcut
from these three numbers. Two members are optional:

    zero_init_residual()            method: initialize the block so that it starts as its shortcut
    ends_without_activation = True  the network adds a batch norm and a ReLU after the last block

ResNet initializes the convolutions of a block after its constructor has run. A block that needs other initial
weights sets them in `zero_init_residual`. In the comments C' is out_channels and s the stride.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from reslab.errors import NetworkError

Block = Callable[[int, int, int], nn.Module]
Shortcut = Literal["A", "B", "C"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a 3x3 convolution with padding 1.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.
    """
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=bias)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a 1x1 convolution: (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=bias)


class ZeroPad(nn.Module):
    """Shortcut A: every stride-th pixel, new channels filled with zeros. It has no parameters.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride). The paper, section 3.3.

    Raises:
        NetworkError: fewer output than input channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise NetworkError(
                f"shortcut A cannot go from {in_channels} to {out_channels} channels",
                "it can only add channels",
                "use shortcut B or C, which are 1x1 convolutions",
            )
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (N, C, H/s, W/s)
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.new_channels))  # (N, C', H/s, W/s)


def make_shortcut(in_channels: int, out_channels: int, stride: int, option: Shortcut) -> nn.Module | None:
    """Return the shortcut of a block, or None for the identity. The paper, section 4.1, has three options.

    A: zero padding where the shape changes, otherwise the identity.
    B: a projection (1x1 convolution and batch norm) where the shape changes, otherwise the identity.
    C: a projection in every block.

    Raises:
        NetworkError: another option, or A with fewer output than input channels.
    """
    same_shape = in_channels == out_channels and stride == 1
    if option not in ("A", "B", "C"):
        raise NetworkError(f"there is no shortcut '{option}'", "the paper has three", "use 'A', 'B' or 'C'")
    if same_shape and option != "C":
        return None
    if option == "A":
        return ZeroPad(in_channels, out_channels, stride)
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut: the block of ResNet-18 and ResNet-34. The paper, figure 5 left.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.

    Raises:
        NetworkError: unknown shortcut, or shortcut A with fewer output than input channels.
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
        x = self.residual(x)  # (N, C', H/s, W/s)
        return self.relu(x + identity)  # (N, C', H/s, W/s)

    def residual(self, x: Tensor) -> Tensor:
        """Return what the block adds to its shortcut, (N, C', H/s, W/s). Variants of the block change it."""
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        return self.bn2(self.conv2(x))  # (N, C', H/s, W/s)

    def zero_init_residual(self) -> None:
        """Set the last batch norm's weight to 0, so that the block starts as its shortcut.

        Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
        """
        nn.init.zeros_(self.bn2.weight)


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolution and a shortcut: the block from ResNet-50 on. The paper, figure 5 right.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)

    The 3x3 convolution works on out_channels / 4 channels. It has the stride, as in torchvision
    ("ResNet v1.5"); in the paper the first 1x1 convolution has it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, a multiple of 4.
        stride: of the 3x3 convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.

    Raises:
        NetworkError: out_channels is not a multiple of 4, or the shortcut is impossible.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        width, remainder = divmod(out_channels, 4)
        if width < 1 or remainder:
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
        return self.relu(x + identity)  # (N, C', H/s, W/s)

    def zero_init_residual(self) -> None:
        """Set the last batch norm's weight to 0, so that the block starts as its shortcut.

        Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
        """
        nn.init.zeros_(self.bn3.weight)


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each of two 3x3 convolutions, and a shortcut. He et al. 2016, figure 1b.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)

    No activation follows the sum. ResNet adds a batch norm and a ReLU after the last block.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.

    Raises:
        NetworkError: unknown shortcut, or shortcut A with fewer output than input channels.
    """

    ends_without_activation = True

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
        x = self.conv2(self.relu(self.bn2(x)))  # (N, C', H/s, W/s)
        return x + identity  # (N, C', H/s, W/s)

    def zero_init_residual(self) -> None:
        """Set the last convolution's weight to 0, so that the block starts as its shortcut.

        A batch norm weight of 0 would not do: the ReLU after it would never pass a gradient.
        """
        nn.init.zeros_(self.conv2.weight)


class PlainBlock(nn.Module):
    """BasicBlock without a shortcut: the block of the plain networks in the paper, section 3.3.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution.
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
        return self.relu(self.bn2(self.conv2(x)))  # (N, C', H/s, W/s)


class TextbookBlock(nn.Module):
    """BasicBlock as textbooks write it: convolutions with a bias, `conv3` as projection without batch norm.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride). Dive into Deep Learning, section 8.6.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the projection.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        same_shape = in_channels == out_channels and stride == 1
        self.conv1 = conv3x3(in_channels, out_channels, stride, bias=True)
        self.conv2 = conv3x3(out_channels, out_channels, bias=True)
        self.conv3 = None if same_shape else conv1x1(in_channels, out_channels, stride, bias=True)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.conv3 is None else self.conv3(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        x = self.bn2(self.conv2(x))  # (N, C', H/s, W/s)
        return self.relu(x + identity)  # (N, C', H/s, W/s)

    def zero_init_residual(self) -> None:
        """Set the last batch norm's weight to 0, so that the block starts as its shortcut.

        Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
        """
        nn.init.zeros_(self.bn2.weight)
