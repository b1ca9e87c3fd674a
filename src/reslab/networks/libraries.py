"""Networks of torchvision and timm: their names, and how to build them with random weights."""

from __future__ import annotations

import difflib
from contextlib import suppress
from functools import cache
from typing import Any

from torch import nn

from reslab.errors import NetworkError, nearest

TORCHVISION, TIMM = "torchvision:", "timm:"
AUXILIARY_HEAD = ("googlenet", "inception_v3")


def is_library_name(name: str) -> bool:
    """Return True for a name that begins with "torchvision:" or "timm:"."""
    return name.startswith((TORCHVISION, TIMM))


@cache
def library_networks(prefix: str) -> tuple[str, ...]:
    """Return the names of a library's classifiers, each with the prefix "torchvision:" or "timm:".

    Raises:
        NetworkError: timm is not installed.
    """
    if prefix == TIMM:
        return tuple(f"{TIMM}{name}" for name in _timm().list_models())
    import torchvision

    return tuple(f"{prefix}{name}" for name in torchvision.models.list_models(module=torchvision.models))


def library_with(name: str) -> str:
    """Return "torchvision" or "timm" if this library has a classifier `name`; else ""."""
    for prefix in (TORCHVISION, TIMM):
        with suppress(NetworkError):  # timm is not installed
            if f"{prefix}{name}" in library_networks(prefix):
                return prefix[:-1]
    return ""


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise NetworkError(
            "the networks of timm need the package timm", str(error), 'pip install "reslab[timm]"'
        ) from error
    return timm


def check_library_name(name: str) -> None:
    """Raise NetworkError, with the nearest names, unless the library has this network."""
    prefix = f"{name.partition(':')[0]}:"
    known = library_networks(prefix)
    if name not in known:
        raise NetworkError(
            f"{prefix[:-1]} has no classifier '{name.removeprefix(prefix)}'",
            f"it has {len(known):,}, which reslab.list_networks('{prefix}*') lists",
            nearest(name, difflib.get_close_matches(name, known, n=8, cutoff=0)) + " and others",
        )


def build_from_library(name: str, num_classes: int | None, in_channels: int | None) -> nn.Module:
    """Build a network of torchvision or timm with random weights drawn from torch's random state.

    It returns one tensor of logits, in train mode too. By default it has 1000 classes and takes 3 channels.

    Raises:
        NetworkError: the name is unknown, timm is not installed, num_classes is below 1, or the network
            cannot take this number of channels; torchvision's take 3.
    """
    check_library_name(name)
    prefix, _, short = name.partition(":")
    num_classes = 1000 if num_classes is None else num_classes
    if num_classes < 1:
        raise NetworkError(
            f"a network with {num_classes=} cannot be built", "it needs at least one class", "give 1 or more"
        )
    if prefix == "timm":
        return _timm().create_model(
            short, pretrained=False, num_classes=num_classes, in_chans=in_channels or 3
        )
    import torchvision

    if in_channels not in (None, 3):
        why, do = f"its images have 3 channels, not {in_channels}", "give 3, or take a network of reslab's"
        raise NetworkError(f"{name} is built as torchvision defines it", why, do)
    # images normalized as the weights of these two expect
    auxiliary = {"aux_logits": False, "init_weights": True, "transform_input": True}
    extra = auxiliary if short in AUXILIARY_HEAD else {}
    return torchvision.models.get_model(short, weights=None, num_classes=num_classes, **extra)


def own_definition(name: str) -> NetworkError:
    """Return the error for a stem, width or initialization where the network has its own."""
    return NetworkError(
        f"{name} is built as its source defines it",
        "it has its own stem, width and initialization",
        "leave --stem, --width-mult and --zero-init-residual out, or use --network resnet18",
    )
