"""Usual input of a network: channels and sides of the images that it is made for"""

from __future__ import annotations

from torch import nn

from .input_channels import input_channels
from .resnet import ResNet

MAX_IMAGE_CHANNELS = 4
IMAGENET_SIDE, SMALL_SIDE, INCEPTION_SIDE, BLOCK_SIDE = 224, 32, 299, 56  # pixels


def usual_input(network: nn.Module) -> tuple[int, int, int]:
    """Return the shape (C, H, W) of the images that a network is made for.

    C is the number of channels of its first convolution, 3 without one. H and W are timm's own for timm's
    networks, 32 pixels for a ResNet with a small stem, 299 for Inception v3, 56 for a block, which takes more
    channels than an image has, and else 224.
    """
    channels, side = input_channels(network), IMAGENET_SIDE
    timm_size: tuple[int, ...] | None = getattr(network, "pretrained_cfg", {}).get("input_size")
    if timm_size is not None:
        side = timm_size[-1]
    elif isinstance(network, ResNet):
        side = SMALL_SIDE if max(network.conv1.stride) == 1 else IMAGENET_SIDE
    elif type(network).__name__ == "Inception3":  # by name: torchvision is slow to import
        side = INCEPTION_SIDE
    elif channels > MAX_IMAGE_CHANNELS:
        side = BLOCK_SIDE
    return channels, side, side
