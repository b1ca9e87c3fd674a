"""First convolution of a network: its channels, and its weights for another number of channels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reslab.errors import NetworkError


def first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Return (name, module) of the first Conv2d that the network registers; None without a Conv2d."""
    return next(
        ((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)), None
    )


def input_channels(network: nn.Module, default: int = 3) -> int:
    """Return the number of channels that the first Conv2d takes; `default` for a network without one."""
    first = first_convolution(network)
    return default if first is None else first[1].in_channels


def check_photo_channels(channels: int) -> Literal[1, 3]:
    """Return the number of channels that a network takes, if photos have as many. Raise NetworkError."""
    if channels == 1:
        return 1
    if channels == 3:
        return 3
    raise NetworkError(
        f"the network takes {channels} channels",
        "a photo has 3, or 1 if it is converted to gray",
        "build it with in_channels=3, or 1 for gray",
    )


def adapt_input_channels(weight: Tensor, in_channels: int) -> Tensor:
    """Convert first-layer weights to another number of input channels.

    For one channel the weights are summed, so that a gray photo excites a filter as its three equal
    channels did. Otherwise they are repeated and scaled by C / in_channels.

    Args:
        weight: (C_out, C, K, K).
        in_channels: number of channels of the result.

    Returns:
        Weights (C_out, in_channels, K, K).
    """
    if in_channels == 1:
        return weight.sum(dim=1, keepdim=True)
    channels = weight.shape[1]
    repeats = -(-in_channels // channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_channels] * (channels / in_channels)
