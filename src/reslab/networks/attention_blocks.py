"""Residual blocks with attention: SE, ECA and CBAM gate what the convolutions add to the shortcut.

A gate is a number from 0 to 1 for each channel or pixel. It is computed from the values that it multiplies.
In the comments C' is out_channels and s the stride.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .blocks import BasicBlock, Shortcut, conv1x1

MIN_HIDDEN_CHANNELS = 8  # timm's rule: 64 / 16 channels, or the 16 / 16 of a CIFAR network, are too narrow


class SqueezeExcitation(nn.Module):
    """Gate of each channel from the means of all channels. Hu et al. 2018, section 3, figure 1.

    (N, channels, H, W) -> (N, channels, H, W)

    Args:
        channels: channels of the input.
        reduction: channels per hidden channel. There are at least 8 hidden channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden_channels = max(MIN_HIDDEN_CHANNELS, channels // reduction)
        self.fc1 = conv1x1(channels, hidden_channels, bias=True)
        self.relu = nn.ReLU()
        self.fc2 = conv1x1(hidden_channels, channels, bias=True)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
        gate = self.sigmoid(self.fc2(self.relu(self.fc1(means))))  # (N, C, 1, 1)
        return x * gate  # (N, C, H, W)


class SEBlock(BasicBlock):
    """BasicBlock with squeeze and excitation: a gate for each channel, from the means of all channels.

    Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, section 3 and figure 3.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.

    The gate has 2 * out_channels * hidden + out_channels + hidden weights, with hidden = out_channels / 16,
    at least 8. A ResNet-18 gets 0.8 % more parameters and 0.005 % more multiply-adds. timm's SEModule has
    the same layers and names.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.
        reduction: output channels per hidden channel of the gate.

    Raises:
        NetworkError: unknown shortcut, or shortcut A with fewer output than input channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        reduction: int = 16,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, shortcut)
        self.se = SqueezeExcitation(out_channels, reduction)

    def residual(self, x: Tensor) -> Tensor:
        return self.se(super().residual(x))  # (N, C', H/s, W/s)


class EfficientChannelAttention(nn.Module):
    """Gate of each channel from its mean and those of its neighbors. Wang et al. 2020, section 3, figure 2.

    (N, channels, H, W) -> (N, channels, H, W)

    Args:
        channels: channels of the input. Their number gives the kernel size, equation 12: 3 for 16 to 64
            channels, 5 for 128 to 512.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        kernel_size = int((math.log2(channels) + 1) / 2) | 1  # an even number becomes the next odd one
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3)).unsqueeze(1)  # (N, 1, C): the channels are the axis of the convolution
        gate = self.sigmoid(self.conv(means))  # (N, 1, C)
        return x * gate.transpose(1, 2).unsqueeze(3)  # (N, C, H, W) * (N, C, 1, 1)


class ECABlock(BasicBlock):
    """BasicBlock with efficient channel attention: a gate for each channel, from its neighbors' means.

    Wang et al., "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks", CVPR 2020,
    section 3. (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.

    The gate has 3 or 5 weights: 36 in a ResNet-18, with 0.0005 % more multiply-adds. timm's EcaModule has the
    same layers and names, and a kernel of at least 3 also under 8 channels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.

    Raises:
        NetworkError: unknown shortcut, or shortcut A with fewer output than input channels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__(in_channels, out_channels, stride, shortcut)
        self.eca = EfficientChannelAttention(out_channels)

    def residual(self, x: Tensor) -> Tensor:
        return self.eca(super().residual(x))  # (N, C', H/s, W/s)


class ChannelAttention(nn.Module):
    """Gate of each channel from the means and the maxima of all channels. Woo et al. 2018, equation 2.

    (N, channels, H, W) -> (N, channels, H, W)

    Args:
        channels: channels of the input.
        reduction: channels per hidden channel. There are at least 8 hidden channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden_channels = max(MIN_HIDDEN_CHANNELS, channels // reduction)
        self.fc1 = conv1x1(channels, hidden_channels)
        self.relu = nn.ReLU()
        self.fc2 = conv1x1(hidden_channels, channels)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        from_means = self.fc2(self.relu(self.fc1(x.mean((2, 3), keepdim=True))))  # (N, C, 1, 1)
        from_maxima = self.fc2(self.relu(self.fc1(x.amax((2, 3), keepdim=True))))  # (N, C, 1, 1)
        return x * self.sigmoid(from_means + from_maxima)  # (N, C, H, W)


class SpatialAttention(nn.Module):
    """Gate of each pixel from the means and maxima over channels around it. Woo et al. 2018, equation 3.

    (N, C, H, W) -> (N, C, H, W). The batch norm is in the authors' code, not in the equation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=7, padding=3, bias=False)
        self.bn = nn.BatchNorm2d(1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        over_channels = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)  # (N, 2, H, W)
        return x * self.sigmoid(self.bn(self.conv(over_channels)))  # (N, C, H, W) * (N, 1, H, W)


class CBAMBlock(BasicBlock):
    """BasicBlock with a convolutional block attention module: a gate for each channel, then for each pixel.

    Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, section 3 and figure 3.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), sides rounded up.

    The gates have 2 * out_channels * hidden + 100 weights, with hidden = out_channels / 16, at least 8. A
    ResNet-18 gets 0.8 % more parameters and 0.05 % more multiply-adds. timm's CbamModule has the same layers.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution and of the shortcut.
        shortcut: "A", "B" or "C", see `make_shortcut`.
        reduction: output channels per hidden channel of the channels' gate.

    Raises:
        NetworkError: unknown shortcut, or shortcut A with fewer output than input channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        shortcut: Shortcut = "B",
        reduction: int = 16,
    ) -> None:
        super().__init__(in_channels, out_channels, stride, shortcut)
        self.channel_attention = ChannelAttention(out_channels, reduction)
        self.spatial_attention = SpatialAttention()

    def residual(self, x: Tensor) -> Tensor:
        return self.spatial_attention(self.channel_attention(super().residual(x)))  # (N, C', H/s, W/s)
