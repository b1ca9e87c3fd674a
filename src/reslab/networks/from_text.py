"""Build a network or a block from the text that names it, as the command line and create_network take it.

resnet18  torchvision:vgg16   a network by its name
resnet18:plain                with another block: basic, bottleneck, plain, preactivation, textbook
my_block.py:MyBlock           resnet18 with a block from your own file, which is run
TextbookBlock                 a single block, as the first of a stage: 64 to 128 channels, stride 2
TextbookBlock:64,64,1         the same with in_channels, out_channels and stride
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from reslab.errors import NetworkError, ReslabError, UsageError, nearest
from reslab.randomness import preserve_rng_state

from .attention_blocks import CBAMBlock, ECABlock, SEBlock
from .block_variants import BlurPoolBlock, LayerScaleBlock, ResNetDBlock, StochasticDepthBlock
from .blocks import BasicBlock, Block, Bottleneck, PlainBlock, PreActivationBlock, TextbookBlock
from .registry import TORCHVISION, NetworkSpec, default_in_channels
from .resnet import FAMILY, create_resnet
from .user_code import block_from_file

BLOCKS: dict[str, Block] = {
    "basic": BasicBlock,
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
MAX_BLOCK_NUMBER = 10_000_000  # torch still counts its parameters


@dataclass(frozen=True)
class NamedNetwork:
    """A network or block, the text that names it, and a usual shape (C, H, W) of its input.

    The sides are 224 pixels, 32 with a small stem, 299 for inception_v3, and 56 for a single block.
    """

    name: str
    network: nn.Module
    input_shape: tuple[int, int, int]


def create_network(name: str, num_classes: int | None = None, in_channels: int | None = None) -> nn.Module:
    """Build a network by name, with random weights drawn from torch's random state.

    Args:
        name: a network of `list_networks()`, such as "resnet18"; one of torchvision's classifiers
            ("torchvision:resnet50"); a network with another block ("resnet18:preactivation", with basic,
            bottleneck, plain, preactivation or textbook); resnet18 with a block from your own file, which is
            run ("my_block.py:MyBlock"); or a single block ("BasicBlock:64,128,2": in_channels,
            out_channels, stride).
        num_classes: number of logits; by default the network's own, 1000 or 10.
        in_channels: channels of the images; by default the network's own. torchvision's networks take only
            3. It is ignored for a single block, whose name gives them.

    Returns:
        A network (N, in_channels, H, W) -> logits (N, num_classes), or a block.

    Raises:
        NetworkError: the name is unknown, a size is below 1, torchvision's network is to take other than 3
            channels, or the block or its file fails.
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
    if not meta:
        return _build(text, num_classes, in_channels)
    with preserve_rng_state():
        try:
            with torch.device("meta"):
                return _build(text, num_classes, in_channels)
        except NotImplementedError:  # torchvision's RegNet reads its weights while it is built
            return _build(text, num_classes, in_channels)


def _build(text: str, num_classes: int | None, in_channels: int | None) -> NamedNetwork:
    name, _, rest = text.partition(":")
    if name in BLOCK_CLASSES:
        if num_classes is not None:
            raise UsageError(f"{num_classes=} for a single block", "it has no last layer", "leave it out")
        return _single_block(text, BLOCK_CLASSES[name], rest)
    if name.endswith(".py"):
        return _resnet(text, "resnet18", block_from_file(Path(name), rest), num_classes, in_channels)
    if name in FAMILY:
        blocks = BLOCKS | BLOCK_CLASSES
        if rest and rest not in blocks:
            raise NetworkError(f"there is no block '{rest}'", "", nearest(rest, BLOCKS))
        return _resnet(text, name, blocks.get(rest), num_classes, in_channels)
    if not text.startswith(TORCHVISION):
        raise NetworkError(
            f"there is no network '{text}'",
            "it is not in the family, not a block, and not a model file or run folder that can be read",
            f"{nearest(name, [*FAMILY, *BLOCK_CLASSES])}, or torchvision:NAME",
        )
    network = NetworkSpec(
        text, 1000 if num_classes is None else num_classes, 3 if in_channels is None else in_channels
    ).build()
    side = 299 if text.endswith("inception_v3") else 224
    return NamedNetwork(text, network, (3, side, side))


def _resnet(
    text: str, name: str, block: Block | None, num_classes: int | None, in_channels: int | None
) -> NamedNetwork:
    try:
        network = create_resnet(name, num_classes, in_channels, block=block)
    except ReslabError:
        raise
    except Exception as error:  # a user's block may raise anything
        raise NetworkError(
            f"{text} cannot be built", f"{type(error).__name__}: {error}", "a block takes (in, out, stride)"
        ) from error
    side = 32 if FAMILY[name].stem == "small" else 224
    return NamedNetwork(text, network, (in_channels or default_in_channels(name), side, side))


def _single_block(text: str, block: Block, numbers: str) -> NamedNetwork:
    try:
        chosen = tuple(int(number) for number in numbers.split(",")) if numbers else DEFAULT_BLOCK_NUMBERS
        in_channels, out_channels, stride = chosen
    except ValueError:
        raise NetworkError(
            f"a block cannot be built from '{numbers}'",
            "it needs in_channels, out_channels and stride",
            f"give three numbers with commas: {text.partition(':')[0]}:64,128,2",
        ) from None
    if not 1 <= min(chosen) <= max(chosen) <= MAX_BLOCK_NUMBER:
        raise NetworkError(
            f"'{text}' cannot be built",
            f"channels and stride are at least 1 and at most {MAX_BLOCK_NUMBER:,}",
            f"give three numbers in this range: {text.partition(':')[0]}:64,128,2",
        )
    return NamedNetwork(text, block(in_channels, out_channels, stride), (in_channels, 56, 56))
