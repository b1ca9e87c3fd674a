"""A network by its name: a member of the family, or `torchvision:resnet18` and its other classifiers."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from reslab.errors import NetworkError, nearest
from reslab.randomness import torch_seeded

from .resnet import FAMILY, ResNet, Stem, create_resnet

TORCHVISION = "torchvision:"
WITH_SECOND_HEAD = ("googlenet", "inception_v3")


@dataclass(frozen=True)
class NetworkSpec:
    """What it takes to build a network again. As JSON it stands in the header of every model file."""

    name: str
    num_classes: int
    in_channels: int
    stem: Stem | None = None

    def build(self, zero_init_residual: bool = False) -> nn.Module:
        """The network with fresh weights from torch's random state. Raises NetworkError."""
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
    """Raises NetworkError, pointing to the nearest name, unless `name` can be built."""
    if name.startswith(TORCHVISION):
        import torchvision

        known = [f"{TORCHVISION}{n}" for n in torchvision.models.list_models(module=torchvision.models)]
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
    """Channels of the photos that the network is made for: 1 for the textbook's, else 3."""
    return FAMILY[name].in_channels if name in FAMILY else 3


def short_name(name: str) -> str:
    """torchvision's own name of the network, under which it keeps weights."""
    return name.removeprefix(TORCHVISION)


def check_input(
    network: nn.Module, name: str, in_channels: int, size: int, num_classes: int | None = None
) -> None:
    """Raises NetworkError unless images (2, in_channels, size, size) pass through and come out as logits.

    `num_classes`: as many logits, and in train mode as well; None: any number, in eval mode. Modes, buffers
    and random state of the network stay as they were.
    """
    stride = network.total_stride if isinstance(network, ResNet) else 1
    if size < stride:
        smaller = ", or a network for small pictures: cifar_resnet20, or --stem small" if stride > 4 else ""
        raise NetworkError(
            f"pictures of {size} pixels are too small for {name}",
            f"each side is reduced {stride} times, so less than one pixel would be left of them",
            f"use --size {stride} or more{smaller}",
        )
    modes = (False,) if num_classes is None else (False, True)
    try:
        found = [_forward(network, in_channels, size, train) for train in modes]
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        raise NetworkError(
            f"{name} does not take pictures of shape ({in_channels}, {size}, {size})",
            next(iter(str(error).splitlines()), type(error).__name__),
            "try another --size, or the size and the channels that the network was made for",
        ) from error
    for logits in found:
        if not isinstance(logits, torch.Tensor) or logits.dim() != 2:
            shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise NetworkError(
                f"{name} does not return logits",
                f"expected one tensor (N, num_classes), got {shape}",
                "let its forward end in a linear layer on (N, channels) and return only that",
            )
        if num_classes is not None and logits.shape[1] != num_classes:
            raise NetworkError(
                f"{name} has {logits.shape[1]} outputs, and the photos have {num_classes} classes",
                "outputs without a class would only learn to be never right",
                f"build it with num_classes={num_classes}",
            )


def _forward(network: nn.Module, in_channels: int, size: int, train: bool) -> object:
    """What comes out for two black pictures; modes, buffers and random state are put back."""
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
            f"{spec.name} is taken as torchvision made it",
            "it has 3 input channels, its own stem and its own initialisation",
            f"leave --stem and --zero-init-residual alone, or build reslab's own: --network {name}",
        )
    if spec.num_classes < 1:
        raise NetworkError(
            f"no network has num_classes={spec.num_classes}", "it needs at least one", "give 1 or more"
        )
    extra: dict[str, Any] = {}
    if name in WITH_SECOND_HEAD:  # one tensor of logits, in training too; images as their weights expect
        extra = {"aux_logits": False, "init_weights": True, "transform_input": True}
    network: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=spec.num_classes, **extra
    )
    return network
