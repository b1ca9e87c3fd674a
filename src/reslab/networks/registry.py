"""Networks by name, with what builds them again, and a check that images pass through them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch

import torch
from torch import nn

from reslab.errors import CodeNeededError, NetworkError
from reslab.randomness import torch_seeded

from .from_text import parse_name
from .libraries import TIMM, TORCHVISION, library_networks
from .resnet import FAMILY, ResNet, Stem
from .user_code import UserCode, check_unchanged, loaded


def list_networks(pattern: str = "*") -> list[str]:
    """Return the names of networks that `create_network` builds, sorted; [] if none matches.

    Args:
        pattern: filter with * and ?, as in "cifar*". A pattern that starts with "torchvision:" or "timm:"
            lists the classifiers of this library ("torchvision:resnet*"), any other the family.

    Raises:
        NetworkError: timm is not installed.
    """
    prefix = next((prefix for prefix in (TORCHVISION, TIMM) if pattern.startswith(prefix)), None)
    names = FAMILY if prefix is None else library_networks(prefix)
    return sorted(name for name in names if fnmatch(name, pattern))


@dataclass(frozen=True)
class NetworkSpec:
    """Name and sizes from which a network is built again; JSON in the header of a model file.

    Attributes:
        name: as `create_network` takes it, but for a single block.
        num_classes: number of logits.
        in_channels: channels of the images.
        stem: None for the stem that the network has by default.
        width_mult: multiplies the channels of a network of the family.
        code: source of the user's file that the name names, for reading; None without a file.
    """

    name: str
    num_classes: int
    in_channels: int
    stem: Stem | None = None
    width_mult: float = 1.0
    code: UserCode | None = None

    def build(self, zero_init_residual: bool = False) -> nn.Module:
        """Build the network with random weights drawn from torch's random state. No file is run.

        Raises:
            CodeNeededError: the network is from a user's file that was not run in this process, see
                `use_file`.
            NetworkError: the name or the stem is unknown, a size is below 1, or the network cannot have this
                number of channels, a stem or zero_init_residual.
        """
        name = parse_name(self.name)
        made = None if name.file is None else loaded(self.code)
        if name.file is not None and made is None:
            raise CodeNeededError(
                f"the network {self.name} is from a file of your own",
                "its text was kept for reading, and is never run by itself",
                f"name the file again: network={self.name!r}",
                self.name,
            )
        return name.build(
            made, self.num_classes, self.in_channels, self.stem, self.width_mult, zero_init_residual
        )

    def use_file(self, text: str) -> None:
        """Run the file that `text` names, so that `build` works in this process, if it is the recorded one.

        Args:
            text: the network's name, or only its file: "my_block.py:MyBlock".

        Raises:
            NetworkError: the file fails, is not the recorded one or has changed; or `text` names another
                network.
        """
        name, own = parse_name(text), parse_name(self.name)
        is_same = name.base in ("", own.base) and name.block is own.block
        if not is_same or (name.file is None) != (self.code is None):
            why = f"the weights are those of {self.name}"
            raise NetworkError(f"{text} is not this network", why, "leave the network out, or name this one")
        code = name.run_file()
        if code is not None and self.code is not None:
            check_unchanged(self.code, code)


def make_spec(
    text: str,
    num_classes: int,
    in_channels: int | None = None,
    stem: Stem | None = None,
    width_mult: float = 1.0,
) -> NetworkSpec:
    """Return the spec of the network that `text` names, which is not built. A user's file is run.

    Args:
        text: as `create_network` takes it, but for a single block.
        num_classes: number of logits.
        in_channels: channels of the images; None for the network's own default.
        stem: None for the network's own.
        width_mult: multiplies the channels of a network of the family.

    Raises:
        NetworkError: the name is unknown, or the file fails.
    """
    name = parse_name(text)
    code = name.run_file()
    if in_channels is None:
        in_channels = name.default_in_channels(loaded(code))
    return NetworkSpec(text, num_classes, in_channels, stem, width_mult, code)


def default_in_channels(name: str) -> int:
    """Return the number of channels of the images of a network that is not from a user's file."""
    return parse_name(name).default_in_channels()


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
