"""Errors for images that do not pass through a network: the layer that failed, and a shape that fits."""

from __future__ import annotations

from torch import nn

from reslab.errors import NetworkError, ReslabError
from reslab.networks.input_channels import input_channels
from reslab.networks.resnet import ResNet

from .meta_copy import copy_with_weights, copy_without_weights
from .tracer import LayerCall, PassError, record

TRIED_SIDES = (28, 32, 48, 64, 96, 112, 128, 160, 192, 224, 227, 240, 256, 299, 320, 384, 448, 512)


def wrong_input(failed: PassError, network: nn.Module, shape: tuple[int, ...], name: str) -> NetworkError:
    """Return, without raising it, the error for an image that did not pass: where it failed, what fits.

    Copies of the network run on other images to find a shape that fits.

    Args:
        failed: the error of the pass.
        network: the network itself.
        shape: (1, C, H, W) of the image.
        name: of the network, for the text.

    Raises:
        NetworkError: the network cannot be copied.
    """
    given = "x".join(map(str, shape[1:]))
    return NetworkError(
        f"{name} does not take an image of {given}", _where(failed, name), _what_fits(network, shape)
    )


def _where(failed: PassError, name: str) -> str:
    """Return the layer that failed, the shape that came to it, and the reason; only the reason if unknown."""
    reason = str(failed.error).strip().partition("\n")[0] or type(failed.error).__name__
    if isinstance(failed.error, ReslabError):
        reason = failed.error.what
    if not failed.recorder.running:
        return reason
    module, call = failed.recorder.running[-1]
    inputs = call.inputs if isinstance(call, LayerCall) else [call.input] if call.input else []
    came = inputs[0] if inputs else ()
    layer = f"{call.name or name} ({type(module).__name__})"
    for attribute, place in (("in_channels", 1), ("num_features", 1), ("in_features", -1)):
        wanted = getattr(module, attribute, None)
        if isinstance(wanted, int) and len(came) > 1 and came[place] != wanted:
            reason = f"it takes {wanted} {'values' if place == -1 else 'channels'}, not {came[place]}"
    return f"it got as far as {layer}, to which {'x'.join(map(str, came[1:])) or 'nothing'} came: {reason}"


def _what_fits(network: nn.Module, shape: tuple[int, ...]) -> str:
    """Return advice: an image shape that passes, else to check the forward.

    It tries the channels of the first convolution at the same size, then TRIED_SIDES.
    """
    channels = shape[1]
    wanted = input_channels(network, default=channels)
    if wanted != channels and _passes(network, (1, wanted, *shape[2:])):
        other = f", or build the network with in_channels={channels}" * isinstance(network, ResNet)
        return f"give {wanted}x{shape[2]}x{shape[3]}{other}"
    fits = [side for side in TRIED_SIDES if _passes(network, (1, wanted, side, side))]
    if not fits:
        return "check the network's forward: no square image from 28 to 512 pixels fits either"
    size = f"give {wanted}x{fits[0]}x{fits[0]}"
    if len(fits) == 1:
        return f"{size}: of the sides from 28 to 512 that were tried, only this fits"
    return f"{size} or larger" if max(shape[2:]) < fits[0] else f"{size}, which fits"


def _passes(network: nn.Module, shape: tuple[int, ...]) -> bool:
    for make_copy in (copy_without_weights, copy_with_weights):
        try:
            record(make_copy(network), shape, gradients=False)
        except PassError:
            continue
        return True
    return False
