"""Build a single block, from the text that names it or from a callable and its three numbers."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from reslab.randomness import preserve_rng_state

from .block_signature import check_signature
from .blocks import Block
from .from_text import (
    BLOCK_CLASSES,
    DEFAULT_BLOCK_NUMBERS,
    FILE,
    NamedNetwork,
    network_from_text,
    parse_name,
)
from .resnet import FAMILY
from .user_code import errors_of_code, loaded


def block_from_text(text: str, in_channels: int | None = None) -> NamedNetwork | None:
    """Build the block that `text` names, with 56 pixels as its usual side; None for a network's name.

    Args:
        text: SEBlock, SEBlock:64,128,2 or my_block.py:MyBlock. The file is run.
        in_channels: channels of the input of a file's block [64]. It makes twice as many, with stride 2.

    Raises:
        NetworkError: the file fails, has no such block, or the block cannot be built.
    """
    base = text.partition(":")[0]
    if base in BLOCK_CLASSES:
        return replace(network_from_text(text, meta=True), name=base)
    if not FILE.fullmatch(text) or base in FAMILY:
        return None
    name = parse_name(text)
    made = loaded(name.run_file())
    if made is None or name.is_whole_network(made):
        return None
    numbers = DEFAULT_BLOCK_NUMBERS if in_channels is None else (in_channels, 2 * in_channels, 2)
    return NamedNetwork(name.attribute, build_block(made, text, *numbers), (numbers[0], 56, 56))


def build_block(block: Block, name: str, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Build a block; torch's random state stays as it was.

    Args:
        block: the callable.
        name: for messages.
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: by which it divides height and width.

    Raises:
        NetworkError: it takes other arguments, or raises an error of its own.
    """
    check_signature(block, name)
    what = f"{name} with {in_channels}, {out_channels} and {stride} cannot be built"
    with preserve_rng_state(), errors_of_code(what, "a block takes (in_channels, out_channels, stride)"):
        return block(in_channels, out_channels, stride)
