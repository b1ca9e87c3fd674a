"""What a person writes to name something to look at: a network, a network with another block, a block.

resnet18  torchvision:vgg16   a network by its name
resnet18:plain                with another block: basic, bottleneck, plain, preactivation, textbook
TextbookBlock                 a block alone, as the first of a stage: 64 to 128 channels, stride 2
TextbookBlock:64,64,1         the same with its three numbers: in_channels, out_channels, stride
my_block.py:MyBlock           resnet18 with the block from a file of your own
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from reslab.errors import NetworkError, ReslabError, UsageError, nearest
from reslab.randomness import preserve_rng_state

from .blocks import BasicBlock, Block, Bottleneck, PlainBlock, PreActivationBlock, TextbookBlock
from .registry import TORCHVISION, NetworkSpec, check_name, default_in_channels
from .resnet import FAMILY, create_resnet
from .user_code import block_from_file

BLOCKS: dict[str, Block] = {
    "basic": BasicBlock,
    "bottleneck": Bottleneck,
    "plain": PlainBlock,
    "preactivation": PreActivationBlock,
    "textbook": TextbookBlock,
}
CLASSES: dict[str, Block] = {block.__name__: block for block in BLOCKS.values()}
ALONE = (64, 128, 2)
MOST = 10_000_000  # channels, and pixels of a stride; far beyond any network, and torch still counts them


@dataclass(frozen=True)
class Named:
    """A network, and the photo (C, H, W) that it is usually given."""

    name: str
    network: nn.Module
    input: tuple[int, int, int]


def build_named(
    text: str, num_classes: int | None = None, in_channels: int | None = None, *, device: str = "meta"
) -> Named:
    """Builds what `text` names: without weights, or with fresh ones on a `device` such as "cpu".

    Raises NetworkError for what it does not know, pointing to the nearest; UsageError for classes of a block.
    """
    name, _, rest = text.partition(":")
    if name in CLASSES:
        if num_classes is not None:
            raise UsageError("--num-classes with a block alone", "it has no last layer", "leave it out")
        return _alone(text, CLASSES[name], rest, device)
    if name.endswith(".py"):
        return _family(text, "resnet18", block_from_file(Path(name), rest), num_classes, in_channels, device)
    if name in FAMILY:
        return _family(text, name, _block(rest) if rest else None, num_classes, in_channels, device)
    if not text.startswith(TORCHVISION):
        raise NetworkError(
            f"there is no network '{text}'",
            "it is no member of the family, no block, and no model file or run folder that can be read",
            f"{nearest(name, [*FAMILY, *CLASSES])}, or torchvision:NAME",
        )
    return _from_torchvision(text, num_classes, device)


def _from_torchvision(text: str, num_classes: int | None, device: str) -> Named:
    check_name(text)
    spec = NetworkSpec(text, 1000 if num_classes is None else num_classes, 3)
    side = 299 if text.endswith("inception_v3") else 224
    with preserve_rng_state():
        try:
            with torch.device(device):
                network = spec.build()
        except NotImplementedError:  # some look at their own numbers while they are built
            network = spec.build()
    return Named(text, network, (3, side, side))


def _family(
    text: str, name: str, block: Block | None, num_classes: int | None, in_channels: int | None, device: str
) -> Named:
    try:
        with preserve_rng_state(), torch.device(device):
            network = create_resnet(name, num_classes, in_channels, block=block)
    except ReslabError:
        raise
    except Exception as error:
        raise NetworkError(
            f"{text} cannot be built", f"{type(error).__name__}: {error}", "a block takes (in, out, stride)"
        ) from error
    side = 32 if FAMILY[name].stem == "small" else 224
    return Named(text, network, (in_channels or default_in_channels(name), side, side))


def _block(name: str) -> Block:
    known = {**BLOCKS, **CLASSES}
    if name not in known:
        raise NetworkError(f"there is no block '{name}'", "", nearest(name, BLOCKS))
    return known[name]


def _alone(text: str, block: Block, numbers: str, device: str) -> Named:
    try:
        given = tuple(int(number) for number in numbers.split(",")) if numbers else ALONE
        in_channels, out_channels, stride = given
    except ValueError:
        raise NetworkError(
            f"'{numbers}' does not say how to build a block",
            "a block is built from in_channels, out_channels and stride",
            f"three numbers with commas: {text.partition(':')[0]}:64,128,2",
        ) from None
    if min(given) < 1:
        raise NetworkError(f"'{text}'", "channels and stride are at least 1", "give three numbers above 0")
    if max(given) > MOST:
        raise UsageError(f"'{text}'", f"channels and stride are at most {MOST:,}", "give smaller numbers")
    with torch.device(device):
        alone = block(in_channels, out_channels, stride)
    return Named(text, alone, (in_channels, 56, 56))
