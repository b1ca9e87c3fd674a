"""Networks and blocks from the text that names them: one notation, everywhere.

resnet18  cifar_resnet20             a network of the family
resnet18:preactivation               with another block of BLOCKS
cifar_resnet20:my_block.py:MyBlock   with a block from your own file, which is run
my_block.py:MyBlock                  resnet18 with this block
my_net.py:build                      a whole network, from a callable with a parameter num_classes
torchvision:vgg16  timm:resnet18     a network of torchvision or timm
TextbookBlock                        a single block, as the first of a stage: 64 to 128 channels, stride 2
TextbookBlock:64,64,1                the same with in_channels, out_channels and stride
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from reslab.errors import NetworkError, UsageError, nearest
from reslab.files import user_path

from .attention_blocks import CBAMBlock, ECABlock, SEBlock
from .block_signature import check_signature, parameters_of
from .block_variants import (
    BlurPoolBlock,
    LayerScaleBlock,
    ResNetDBlock,
    ShortcutABlock,
    ShortcutCBlock,
    StochasticDepthBlock,
)
from .blocks import BasicBlock, Block, Bottleneck, PlainBlock, PreActivationBlock, TextbookBlock
from .libraries import (
    build_from_library,
    check_library_name,
    is_library_name,
    library_with,
    own_definition,
)
from .resnet import FAMILY, Stem, create_resnet
from .user_code import UserCode, errors_of_code, load_code, loaded
from .usual_input import usual_input
from .without_weights import build_without_weights

BLOCKS: dict[str, Block] = {
    "basic": BasicBlock,
    "shortcut_a": ShortcutABlock,
    "shortcut_c": ShortcutCBlock,
    "bottleneck": Bottleneck,
    "plain": PlainBlock,
    "preactivation": PreActivationBlock,
    "textbook": TextbookBlock,
    "se": SEBlock,
    "eca": ECABlock,
    "cbam": CBAMBlock,
    "resnetd": ResNetDBlock,
    "blurpool": BlurPoolBlock,
    "stochastic_depth": StochasticDepthBlock,
    "layerscale": LayerScaleBlock,
}
BLOCK_CLASSES: dict[str, Block] = {block.__name__: block for block in BLOCKS.values()}
DEFAULT_BLOCK_NUMBERS = (64, 128, 2)  # in_channels, out_channels, stride
BLOCK_NUMBERS = re.compile(r"\d{1,20}(, ?\d{1,20}){2}")
MAX_BLOCK_NUMBER = 10_000_000  # torch still counts its parameters
FILE = re.compile(r"(?P<path>.+\.py)(:(?P<attribute>[^:]*))?")
Made = Callable[..., Any] | None  # class or function from a user's file


@dataclass(frozen=True)
class NetworkName:
    """Parts of a network's name, from `parse_name`. Nothing is built or run.

    Attributes:
        text: the whole name.
        base: name in the family, or of a library's network ("torchvision:vgg16"); "" for a file alone.
        block: replaces the family's block; None for the family's own, or a file's.
        file: the user's file; None without one.
        attribute: name of the class or function in the file.
    """

    text: str
    base: str
    block: Block | None = None
    file: Path | None = None
    attribute: str = ""

    @property
    def family(self) -> str:
        """Name in the family that a block is put into: resnet18 for a block from a file alone."""
        return self.base or "resnet18"

    @property
    def pretrained(self) -> str:
        """Name by which torchvision has ImageNet weights, if it has some."""
        return self.family.removeprefix("torchvision:")

    def run_file(self) -> UserCode | None:
        """Run the user's file and return its source; None without a file. Raise NetworkError."""
        return None if self.file is None else load_code(self.file, self.attribute)

    def is_whole_network(self, made: Made) -> bool:
        """Return True if the user's class or function `made` builds a whole network, not a block."""
        return not self.base and made is not None and "num_classes" in _defaults(made)

    def default_in_channels(self, made: Made = None) -> int:
        """Return the number of channels that the network's images have unless another is asked for."""
        if made is not None and self.is_whole_network(made):
            default = _defaults(made).get("in_channels")
            return default if isinstance(default, int) else 3
        return FAMILY[self.family].in_channels if self.family in FAMILY else 3

    def build(
        self,
        made: Made = None,
        num_classes: int | None = None,
        in_channels: int | None = None,
        stem: Stem | None = None,
        width_mult: float = 1.0,
        zero_init_residual: bool = False,
    ) -> nn.Module:
        """Build the network with random weights drawn from torch's random state.

        None stands for the network's own default.

        Args:
            made: class or function from the user's file, for a name with one.

        Raises:
            NetworkError: it cannot be built with these arguments.
        """
        whole, from_library = self.is_whole_network(made), is_library_name(self.base)
        if (whole or from_library) and (stem is not None or width_mult != 1 or zero_init_residual):
            raise own_definition(self.text)
        if from_library:
            return build_from_library(self.base, num_classes, in_channels)
        do = "build(num_classes) returns a module" if whole else "a block takes (in, out, stride)"
        with errors_of_code(f"{self.text} cannot be built", do):
            if made is not None and whole:
                return _call(made, num_classes, in_channels)
            if made is not None:
                check_signature(made, self.text)
            return create_resnet(
                self.family,
                num_classes,
                in_channels,
                block=made or self.block,
                stem=stem,
                width_mult=width_mult,
                zero_init_residual=zero_init_residual,
            )


def parse_name(text: str) -> NetworkName:
    """Return the parts of a network's name. No file is opened.

    Raises:
        NetworkError: there is no such network or block; the nearest names are shown.
    """
    base, _, rest = text.partition(":")
    if is_library_name(text):
        check_library_name(text)
        return NetworkName(text, text)
    if file := FILE.fullmatch(rest if base in FAMILY else text):
        path = user_path(file["path"])
        return NetworkName(text, base if base in FAMILY else "", None, path, file["attribute"] or "")
    if base not in FAMILY:
        why = "it is not in the family, not a block, and not a model file or run folder that can be read"
        do = f"{nearest(base, [*FAMILY, *BLOCK_CLASSES])}, torchvision:NAME, timm:NAME, my_block.py:MyBlock"
        if library := library_with(text):
            why, do = f"{library} has it", f"name the library: {library}:{text}"
        raise NetworkError(f"there is no network '{text}'", why, do)
    if rest and rest not in BLOCKS | BLOCK_CLASSES:
        do = f"{nearest(rest, BLOCKS)}, or a file: {base}:my_block.py:MyBlock"
        raise NetworkError(f"there is no block '{rest}'", "reslab has no block of this name", do)
    return NetworkName(text, base, (BLOCKS | BLOCK_CLASSES).get(rest))


def _defaults(made: Callable[..., Any]) -> dict[str, Any]:
    return {parameter.name: parameter.default for parameter in parameters_of(made)}


def _call(made: Callable[..., Any], num_classes: int | None, in_channels: int | None) -> nn.Module:
    """Return the whole network that a user's class or function builds, with the arguments that it takes."""
    defaults = _defaults(made)
    if num_classes is None and defaults["num_classes"] is inspect.Parameter.empty:
        num_classes = 1000
    given = {"num_classes": num_classes, "in_channels": in_channels}
    network = made(**{name: n for name, n in given.items() if name in defaults and n is not None})
    if not isinstance(network, nn.Module):
        raise TypeError(f"it returned {type(network).__name__}, not a torch.nn.Module")
    return network


@dataclass(frozen=True)
class NamedNetwork:
    """A network or block, the text that names it, and a usual shape (C, H, W) of its input.

    The sides are those of `usual_input`, and 56 pixels for a single block.
    """

    name: str
    network: nn.Module
    input_shape: tuple[int, int, int]


def create_network(name: str, num_classes: int | None = None, in_channels: int | None = None) -> nn.Module:
    """Build a network by name, with random weights drawn from torch's random state.

    Args:
        name: a network of `list_networks()`, such as "resnet18"; one of torchvision's or timm's classifiers
            ("torchvision:resnet50", "timm:resnet18"); a network with another block
            ("resnet18:preactivation", with basic, bottleneck, plain, preactivation or textbook); a network
            with a block from your own file, which is run ("cifar_resnet20:my_block.py:MyBlock", and
            "my_block.py:MyBlock" for resnet18); a whole network from your own file ("my_net.py:build", a
            callable with a parameter `num_classes` and, if it likes, `in_channels`); or a single block
            ("BasicBlock:64,128,2": in_channels, out_channels, stride).
        num_classes: number of logits; by default the network's own, 1000 or 10.
        in_channels: channels of the images; by default the network's own. torchvision's networks take only
            3. It is ignored for a single block, whose name gives them, and for a whole network of your own
            without such a parameter.

    Returns:
        A network (N, in_channels, H, W) -> logits (N, num_classes), or a block.

    Raises:
        NetworkError: the name is unknown, a size is below 1, torchvision's network is to take other than 3
            channels, timm is not installed, the file fails, or the block is not one: it takes other
            arguments than (in_channels, out_channels, stride), or its output has another shape.
        UsageError: num_classes for a single block.
    """
    return network_from_text(name, num_classes, in_channels).network


def network_from_text(
    text: str, num_classes: int | None = None, in_channels: int | None = None, *, meta: bool = False
) -> NamedNetwork:
    """Build the network or block that `text` names. Arguments and errors are those of `create_network`.

    Args:
        meta: build it on device "meta", without weights, and leave the random state as it was. A network
            that cannot be built there is built on the CPU, with weights.
    """
    built = build_without_weights if meta else lambda build: build()
    base, _, rest = text.partition(":")
    if base in BLOCK_CLASSES:
        if num_classes is not None:
            raise UsageError(f"{num_classes=} for a single block", "it has no last layer", "leave it out")
        numbers = _block_numbers(base, rest)
        block = built(lambda: BLOCK_CLASSES[base](*numbers))
        return NamedNetwork(text, block, (numbers[0], 56, 56))
    name = parse_name(text)
    made = loaded(name.run_file())
    network = built(lambda: name.build(made, num_classes, in_channels))
    channels, *sides = usual_input(network)
    if not name.is_whole_network(made):
        channels = in_channels or name.default_in_channels(made)
    return NamedNetwork(text, network, (channels, sides[0], sides[1]))


def _block_numbers(base: str, text: str) -> tuple[int, int, int]:
    numbers = [int(n) for n in text.split(",")] if BLOCK_NUMBERS.fullmatch(text) else [0]
    if not text:
        return DEFAULT_BLOCK_NUMBERS
    if not 1 <= min(numbers) <= max(numbers) <= MAX_BLOCK_NUMBER:
        raise NetworkError(
            f"a block cannot be built from '{text}'",
            f"it needs in_channels, out_channels and stride, each from 1 to {MAX_BLOCK_NUMBER:,}",
            f"give three numbers with commas: {base}:64,128,2",
        )
    in_channels, out_channels, stride = numbers
    return in_channels, out_channels, stride
