"""Networks by name, the family's and torchvision's, and a check that images pass through them."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import nn

from reslab.errors import NetworkError, nearest
from reslab.randomness import torch_seeded

from .resnet import FAMILY, ResNet, Stem, create_resnet

TORCHVISION = "torchvision:"
AUXILIARY_HEAD = ("googlenet", "inception_v3")


def list_networks(pattern: str = "*") -> list[str]:
    """Return the names of networks that `create_network` builds, sorted; [] if none matches.

    Args:
        pattern: filter with * and ?, as in "cifar*". A pattern that starts with "torchvision:" lists
            torchvision's classifiers ("torchvision:resnet*"), any other the family.
    """
    names = torchvision_networks() if pattern.startswith(TORCHVISION) else FAMILY
    return sorted(name for name in names if fnmatch(name, pattern))


def torchvision_networks() -> list[str]:
    """Return the names of torchvision's classifiers, each with the prefix "torchvision:"."""
    import torchvision

    return [f"{TORCHVISION}{name}" for name in torchvision.models.list_models(module=torchvision.models)]


@dataclass(frozen=True)
class NetworkSpec:
    """Name and sizes from which a network is built again; JSON in the header of a model file.

    Attributes:
        name: of the family, or of torchvision with the prefix "torchvision:".
        num_classes: number of logits.
        in_channels: channels of the images.
        stem: None for the stem that the network has by default.
    """

    name: str
    num_classes: int
    in_channels: int
    stem: Stem | None = None

    def build(self, zero_init_residual: bool = False) -> nn.Module:
        """Build the network with random weights drawn from torch's random state.

        Raises:
            NetworkError: the name or the stem is unknown, a size is below 1, or torchvision's network is to
                take other than 3 channels, a stem or zero_init_residual.
        """
        if not self.name.startswith(TORCHVISION):
            return create_resnet(
                self.name,
                self.num_classes,
                self.in_channels,
                stem=self.stem,
                zero_init_residual=zero_init_residual,
            )
        return _build_torchvision(self, zero_init_residual)


def check_name(name: str) -> None:
    """Raise NetworkError, with the nearest names, unless the family or torchvision has this name."""
    if name.startswith(TORCHVISION):
        known = torchvision_networks()
        if name not in known:
            raise NetworkError(
                f"torchvision has no classifier '{short_name(name)}'",
                f"it has {len(known)}, by their names in torchvision.models",
                nearest(name, difflib.get_close_matches(name, known, n=8, cutoff=0)) + " and others",
            )
    elif name not in FAMILY:
        raise NetworkError(
            f"there is no network '{name}'",
            "it is not in the family and does not begin with torchvision:",
            f"{nearest(name, FAMILY)}, or torchvision:NAME",
        )


def default_in_channels(name: str) -> int:
    """Return the number of channels of the network's images: 1 for textbook_resnet18, otherwise 3."""
    return FAMILY[name].in_channels if name in FAMILY else 3


def short_name(name: str) -> str:
    """Return the name without the prefix "torchvision:"; any other name as it is."""
    return name.removeprefix(TORCHVISION)


def check_input(
    network: nn.Module, name: str, in_channels: int, size: int, num_classes: int | None = None
) -> None:
    """Raise NetworkError unless images (2, in_channels, size, size) give logits (2, num_classes).

    With `num_classes` the network runs in eval and in train mode; with None only in eval mode, and any
    number of logits is valid. Modes, buffers and the random state are restored.

    Args:
        name: of the network, for the message.
        size: height and width of the images in pixels.
    """
    stride = network.total_stride if isinstance(network, ResNet) else 1
    if size < stride:
        smaller = ", or a network for small images: cifar_resnet20, or --stem small" if stride > 4 else ""
        raise NetworkError(
            f"images of {size} pixels are too small for {name}",
            f"it reduces each side {stride} times, which leaves less than one pixel",
            f"use --size {stride} or more{smaller}",
        )
    modes = (False,) if num_classes is None else (False, True)
    try:
        outputs = [_forward(network, in_channels, size, train) for train in modes]
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise NetworkError(
            f"{name} does not accept images of shape ({in_channels}, {size}, {size})",
            next(iter(str(error).splitlines()), type(error).__name__),
            "try another --size, or the size and channels that the network was made for",
        ) from error
    for logits in outputs:
        if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
            shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise NetworkError(
                f"{name} does not return logits",
                f"expected one tensor (N, num_classes), got {shape}",
                "let its forward end in a linear layer on (N, channels) and return only that",
            )
        if num_classes is not None and logits.shape[1] != num_classes:
            raise NetworkError(
                f"{name} has {logits.shape[1]} outputs, but the photos have {num_classes} classes",
                "every output needs a class",
                f"build it with num_classes={num_classes}",
            )


def _forward(network: nn.Module, in_channels: int, size: int, train: bool) -> object:
    """Run images of zeros (2, in_channels, size, size) through the network and return its output.

    Modes, buffers and torch's random state are restored, also after an error, which passes through.

    Args:
        train: run it in train mode instead of eval mode.
    """
    modes = [(module, module.training) for module in network.modules()]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    try:
        network.train(train)
        with torch.no_grad(), torch_seeded(0, "check_input"):
            return network(torch.zeros(2, in_channels, size, size, device=device))
    finally:
        for module, mode in modes:
            module.training = mode
        for name, buffer in network.named_buffers():
            buffer.copy_(buffers[name])


def _build_torchvision(spec: NetworkSpec, zero_init_residual: bool) -> nn.Module:
    import torchvision

    check_name(spec.name)
    name = short_name(spec.name)
    if spec.in_channels != 3 or spec.stem is not None or zero_init_residual:
        raise NetworkError(
            f"{spec.name} is built as torchvision defines it",
            "it has 3 input channels, its own stem and its own initialization",
            f"leave --stem and --zero-init-residual out, or build reslab's own: --network {name}",
        )
    if spec.num_classes < 1:
        raise NetworkError(
            f"a network with num_classes={spec.num_classes} cannot be built",
            "it needs at least one class",
            "give 1 or more",
        )
    # one tensor of logits, in train mode too; images normalized as its weights expect
    auxiliary = {"aux_logits": False, "init_weights": True, "transform_input": True}
    extra = auxiliary if name in AUXILIARY_HEAD else {}
    return torchvision.models.get_model(name, weights=None, num_classes=spec.num_classes, **extra)
