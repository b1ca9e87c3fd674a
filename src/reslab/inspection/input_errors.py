"""Why a picture does not pass through a network: at which layer it went wrong, and what would fit."""

from __future__ import annotations

from torch import nn

from reslab.errors import NetworkError, ReslabError
from reslab.networks.input_channels import input_channels
from reslab.networks.resnet import ResNet

from .meta_copy import copy_with_weights, copy_without_weights
from .tracer import PassError, Row, record

SIDES = (16, 28, 32, 48, 56, 64, 96, 112, 128, 160, 192, 224, 227, 240, 256, 288, 299, 320, 384, 448, 512)


def explain(failed: PassError, network: nn.Module, shape: tuple[int, ...], name: str) -> NetworkError:
    """The answer to a pass of a picture (1, C, H, W) that failed."""
    given = "x".join(map(str, shape[1:]))
    return NetworkError(
        f"{name} does not take a picture of {given}", _where(failed, name), _what_fits(network, shape)
    )


def _where(failed: PassError, name: str) -> str:
    """The layer that failed, what came to it, and what it said."""
    reason = _first_line(failed.error)
    if not failed.recorder.running:
        return reason
    module, entry = failed.recorder.running[-1]
    inputs = entry.inputs if isinstance(entry, Row) else [entry.input] if entry.input else []
    came = inputs[0] if inputs else ()
    layer = f"{entry.name or name} ({type(module).__name__})"
    for attribute, place in (("in_channels", 1), ("num_features", 1), ("in_features", -1)):
        wanted = getattr(module, attribute, None)
        if isinstance(wanted, int) and len(came) > 1 and came[place] != wanted:
            reason = f"it takes {wanted} {'values' if place == -1 else 'channels'}, not {came[place]}"
    return f"it got as far as {layer}, to which {'x'.join(map(str, came[1:])) or 'nothing'} came: {reason}"


def _first_line(error: Exception) -> str:
    if isinstance(error, ReslabError):
        return error.what
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _what_fits(network: nn.Module, shape: tuple[int, ...]) -> str:
    """Tries other pictures: first the channels of the first convolution, then other sides."""
    channels = shape[1]
    wanted = input_channels(network, default=channels)
    if wanted != channels and _passes(network, (1, wanted, *shape[2:])):
        size = "x".join(map(str, shape[2:]))
        other = f", or build the network with in_channels={channels}" * isinstance(network, ResNet)
        return f"give {wanted}x{size}{other}"
    fits = [side for side in SIDES if _passes(network, (1, wanted, side, side))]
    if not fits:
        return "no square picture from 16 to 512 pixels fits either: check the network's forward"
    if len(fits) == 1:
        return (
            f"give {wanted}x{fits[0]}x{fits[0]}: of the sides from 16 to 512 that were tried, only this fits"
        )
    least = fits[0]
    if max(shape[2:]) < least:
        below = max([0, *(side for side in SIDES if side < least)])
        while least - below > 1:  # between a side that fails and one that fits lies the smallest
            middle = (least + below) // 2
            least, below = (
                (middle, below) if _passes(network, (1, wanted, middle, middle)) else (least, middle)
            )
    return f"give {wanted}x{least}x{least} or larger"


def _passes(network: nn.Module, shape: tuple[int, ...]) -> bool:
    for make_copy in (copy_without_weights, copy_with_weights):
        try:
            record(make_copy(network), shape, gradients=False)
        except PassError:
            continue
        return True
    return False
