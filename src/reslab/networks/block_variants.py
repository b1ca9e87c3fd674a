"""Variants of BasicBlock: shortcuts A and C, ResNet-D, BlurPool, stochastic depth and LayerScale.

Of the last four, two change how a block makes the image smaller, two how much of its convolutions it adds
to the shortcut. In the comments C' is out_channels and s the stride.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reslab.errors import NetworkError

from .blocks import BasicBlock, Shortcut, conv1x1


class ShortcutABlock(BasicBlock):
    """BasicBlock with shortcut A: zeros for new channels, and no parameters. He et al. 2015, section 4.1.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride). The networks for CIFAR have it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output, at least in_channels.
        stride: of the first convolution and of the shortcut.

    Raises:
        NetworkError: fewer output than input channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride, "A")


class ShortcutCBlock(BasicBlock):
    """BasicBlock with shortcut C: a projection in every block. He et al. 2015, section 4.1.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride, "C")


class ResNetDBlock(BasicBlock):
    """BasicBlock whose projection averages pixels instead of skipping three of four: the D of ResNet-D.

    He et al., "Bag of Tricks for Image Classification with Convolutional Neural Networks", CVPR 2019,
    section 4.2 and figure 2c. (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded
    up: a window at the border averages the pixels that there are.

    It costs no parameters and no multiply-adds. timm's `downsample_avg` is the same. ResNet-D also changes
    the stem, which is no part of a block.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution, and side of the averaged windows. With 1 it is a BasicBlock.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride)
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True),  # (N, C, H/s, W/s)
                conv1x1(in_channels, out_channels),  # (N, C', H/s, W/s)
                nn.BatchNorm2d(out_channels),
            )


class BlurPool(nn.Sequential):
    """Blur with the filter [1 2 1] along both sides, keep every stride-th pixel. Zhang 2019, section 3.2.

    (N, C, H, W) -> (N, C, H/stride, W/stride), sides rounded up.

    The average of two neighbors, taken twice, is the filter [1 2 1] / 4. Zeros pad the border, as for a
    convolution. The author's code reflects the border, which needs two pixels.

    Args:
        stride: distance of the pixels that are kept.
    """

    def __init__(self, stride: int) -> None:
        super().__init__(
            nn.AvgPool2d(2, stride=1, padding=1),  # (N, C, H + 1, W + 1)
            nn.AvgPool2d(2, stride=stride),  # (N, C, H/s, W/s)
        )


class BlurPoolBlock(BasicBlock):
    """BasicBlock that blurs before it makes the image smaller, so that small shifts change less.

    Zhang, "Making Convolutional Networks Shift-Invariant Again", ICML 2019, section 3.2: a convolution of
    stride s becomes one of stride 1, its ReLU and a BlurPool. The projection blurs its input.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.

    It costs no parameters. The first convolution of a stage computes four times as many pixels: a ResNet-18
    has 29 % more multiply-adds. The maximum pooling of the stem is no part of a block and stays as it is.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the blurred downsampling. With 1 it is a BasicBlock.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, stride=1)
        self.blur = nn.Identity() if stride == 1 else BlurPool(stride)
        if stride > 1:
            self.downsample = nn.Sequential(
                BlurPool(stride),  # (N, C, H/s, W/s)
                conv1x1(in_channels, out_channels),  # (N, C', H/s, W/s)
                nn.BatchNorm2d(out_channels),
            )

    def residual(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H, W)
        x = self.blur(x)  # (N, C', H/s, W/s)
        return self.bn2(self.conv2(x))  # (N, C', H/s, W/s)


class StochasticDepthBlock(BasicBlock):
    """BasicBlock that is only its shortcut for some images, drawn at random in training.

    Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016, section 3.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.

    It costs nothing. As in torchvision and timm each image is drawn on its own, and the kept ones are scaled
    up by 1 / (1 - drop_rate); in evaluation the block is a BasicBlock. The paper draws once for a batch, and
    scales down in evaluation. The random numbers are those of torch's global generator, which the training
    loop seeds at each step.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.
        drop_rate: probability that an image skips the convolutions, under 1. The paper raises it from block
            to block, from 0 to 0.5 in a network of 110 layers. A block does not know its place, so every
            block has the mean: 0.1 for a rise to 0.2, which EfficientNet uses for networks of our depths.

    Raises:
        NetworkError: drop_rate is not from 0 to under 1, the shortcut is unknown, or it is A with fewer
            output than input channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        drop_rate: float = 0.1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, shortcut)
        if not 0 <= drop_rate < 1:
            raise NetworkError(
                f"stochastic depth cannot have {drop_rate=}",
                "it is the probability that an image skips the convolutions",
                "give a number from 0 to under 1, such as 0.1",
            )
        self.drop_rate = drop_rate

    def residual(self, x: Tensor) -> Tensor:
        x = super().residual(x)  # (N, C', H/s, W/s)
        if self.training:
            kept = x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - self.drop_rate)  # 0 or 1 for each image
            x = x * kept / (1 - self.drop_rate)  # (N, C', H/s, W/s)
        return x


class LayerScaleBlock(BasicBlock):
    """BasicBlock with LayerScale: a learned factor for each channel, small at first.

    Touvron et al., "Going Deeper with Image Transformers", ICCV 2021, section 2.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.

    It has one parameter per output channel: 1,920 in a ResNet-18, and no multiply-adds that are counted.
    timm's LayerScale2d is the same.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.
        init_value: factor of every channel at first. The paper takes 0.1 for up to 18 transformer layers of
            two blocks each, 1e-5 for up to 24 and 1e-6 for more.

    Raises:
        NetworkError: unknown shortcut, or shortcut A with fewer output than input channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        init_value: float = 0.1,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, shortcut)
        self.gamma = nn.Parameter(torch.full((out_channels,), init_value))

    def residual(self, x: Tensor) -> Tensor:
        return self.gamma.view(-1, 1, 1) * super().residual(x)  # (N, C', H/s, W/s)
