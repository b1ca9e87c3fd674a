"""ResNet as an nn.Sequential, and the family resnet18 ... cifar_resnet110 as a table.

The paper: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015. Blocks are in blocks.py.
"""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import nn

from reslab.errors import NetworkError, nearest
from reslab.networks.weights.load import load_pretrained

from .block_signature import check_output, check_signature, is_own
from .blocks import BasicBlock, Block, Bottleneck, TextbookBlock, conv3x3

Stem = Literal["imagenet", "small"]


def make_stem(in_channels: int, channels: int, stem: Stem, bias: bool) -> OrderedDict[str, nn.Module]:
    """Return the layers before the first stage by name: conv1, bn1, relu, and maxpool for "imagenet".

    "imagenet": 7x7 convolution and max pooling, (N, in_channels, H, W) -> (N, channels, H/4, W/4).
    "small": 3x3 convolution, (N, in_channels, H, W) -> (N, channels, H, W).

    Raises:
        NetworkError: another stem.
    """
    if stem not in ("imagenet", "small"):
        raise NetworkError(f"there is no stem '{stem}'", "there are two", "use 'imagenet' or 'small'")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stem == "imagenet":
        layers["conv1"] = nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=bias)
    else:
        layers["conv1"] = conv3x3(in_channels, channels, bias=bias)
    layers["bn1"] = nn.BatchNorm2d(channels)
    layers["relu"] = nn.ReLU()  # not in place, so that hooks can keep the output of bn1
    if stem == "imagenet":
        layers["maxpool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    return layers


def make_stage(
    block: Block, in_channels: int, out_channels: int, stride: int, size: int, name: str
) -> nn.Sequential:
    """Return a stage of `size` blocks. The first one has `stride`, the others keep the shape.

    Raises:
        NetworkError: a block gives an output of another shape; reslab's own are not tried.
    """
    blocks = [block(in_channels, out_channels, stride)]
    blocks += [block(out_channels, out_channels, 1) for _ in range(size - 1)]
    numbers = [(in_channels, out_channels, stride), (out_channels, out_channels, 1)]
    for i, each in enumerate(numbers[:size] if not is_own(block) else []):
        check_output(blocks[i], block_name(block), f"{name}.{i}", *each)
    return nn.Sequential(*blocks)


def block_name(block: Block) -> str:
    """Return the name of a block for messages."""
    name: str = getattr(block, "__name__", f"the {type(block).__name__} given as block")
    return name


class ResNet(nn.Sequential):
    """Residual network of any size: (N, in_channels, H, W) -> logits (N, num_classes). He et al. 2015.

    A sequence of layers with torchvision's names: conv1, bn1, relu, maxpool, layer1 ... layer4, avgpool,
    flatten, fc. `for layer in network: x = layer(x)` is the whole forward pass, `network[:-1]` the feature
    extractor, and the state dict is torchvision's. Blocks that end without an activation add bn_last and
    relu_last. `total_stride` is the side in pixels of the image for one position of the last stage.

    Args:
        block: any callable (in_channels, out_channels, stride) -> module, used in every place.
        stage_sizes: number of blocks of each stage; every stage but the first halves the resolution.
        stage_channels: output channels of each stage, as many numbers as `stage_sizes`.
        num_classes: number of logits.
        in_channels: channels of the images.
        stem: "imagenet" (7x7, stride 2, max pooling) or "small" (3x3), for images under 64 pixels.
        stem_channels: output channels of the stem.
        stem_bias: give the stem's convolution a bias.
        zero_init_residual: start every block as its shortcut (Goyal et al. 2017, section 5.1).

    Raises:
        NetworkError: a size is below 1, the numbers of sizes and channels differ, the stem is unknown, no
            block has the method for zero_init_residual, or `block` takes other arguments or gives an output
            of another shape than a block does.
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    layer1: nn.Sequential
    fc: nn.Linear

    def __init__(
        self,
        block: Block,
        stage_sizes: Sequence[int],
        stage_channels: Sequence[int] = (64, 128, 256, 512),
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: Stem = "imagenet",
        stem_channels: int = 64,
        stem_bias: bool = False,
        zero_init_residual: bool = False,
    ) -> None:
        check_sizes(stage_sizes, stage_channels)
        check_signature(block, block_name(block))
        if min(num_classes, in_channels, stem_channels) < 1:
            raise NetworkError(
                f"a network with {num_classes=}, {in_channels=}, {stem_channels=} cannot be built",
                "it needs at least one of each",
                "give numbers of 1 or more",
            )
        layers = make_stem(in_channels, stem_channels, stem, stem_bias)  # (N, stem_channels, H/4, W/4)
        channels = stem_channels
        for i, (size, out_channels) in enumerate(zip(stage_sizes, stage_channels, strict=True)):
            stride = 1 if i == 0 else 2  # (N, 64, H/4, W/4), (N, 128, H/8, W/8), (N, 256, H/16, W/16), ...
            stage = make_stage(block, channels, out_channels, stride, size, f"layer{i + 1}")
            layers[f"layer{i + 1}"] = stage
            channels = out_channels
        if getattr(stage[-1], "ends_without_activation", False):
            layers["bn_last"], layers["relu_last"] = nn.BatchNorm2d(channels), nn.ReLU()
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)  # (N, C, 1, 1)
        layers["flatten"] = nn.Flatten()  # (N, C)
        layers["fc"] = nn.Linear(channels, num_classes)  # (N, num_classes)
        super().__init__(layers)
        # side of the image in pixels for one pixel of the last stage
        self.total_stride = (4 if stem == "imagenet" else 1) * 2 ** (len(stage_sizes) - 1)
        initialize(self, zero_init_residual)

    def __getitem__(self, index: slice | int) -> Any:
        if isinstance(index, slice):  # nn.Sequential would call ResNet(layers)
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


def check_sizes(stage_sizes: Sequence[int], stage_channels: Sequence[int]) -> None:
    """Raise NetworkError unless there is at least one stage, each with its size and its channels."""
    if len(stage_sizes) != len(stage_channels) or min([*stage_sizes, *stage_channels], default=0) < 1:
        raise NetworkError(
            f"stages of {[*stage_sizes]} blocks with {[*stage_channels]} channels cannot be built",
            "every stage needs a number of blocks and a number of channels, both at least 1",
            "give as many sizes as channels: stage_sizes=(2, 2, 2), stage_channels=(64, 128, 256)",
        )


def initialize(network: nn.Module, zero_init_residual: bool = False) -> None:
    """Draw the weights of all convolutions from a normal distribution of variance 2 / fan-out; zero biases.

    He et al., "Delving Deep into Rectifiers", 2015, section 2.2.

    Args:
        zero_init_residual: also call the method of this name of each module that has it.

    Raises:
        NetworkError: zero_init_residual is set, and no module has the method.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    if not zero_init_residual:
        return
    blocks: list[Any] = [module for module in network.modules() if hasattr(module, "zero_init_residual")]
    if not blocks:
        raise NetworkError(
            "zero_init_residual needs blocks that can start as their shortcut",
            "no block of this network has a method zero_init_residual (a plain block has no shortcut)",
            "leave zero_init_residual out, or give your block the method",
        )
    for block in blocks:
        block.zero_init_residual()


@dataclass(frozen=True)
class Architecture:
    """A row of the family's table: title, source in the literature, sizes and defaults of one network."""

    title: str
    source: str
    block: Block
    stage_sizes: tuple[int, ...]
    stage_channels: tuple[int, ...] = (64, 128, 256, 512)
    stem: Stem = "imagenet"
    stem_channels: int = 64
    stem_bias: bool = False
    in_channels: int = 3
    num_classes: int = 1000


TABLE_1 = "He et al. 2015, table 1"
WIDE = (256, 512, 1024, 2048)
_cifar = partial(
    Architecture,
    source="He et al. 2015, section 4.2",
    block=partial(BasicBlock, shortcut="A"),
    stage_channels=(16, 32, 64),
    stem="small",
    stem_channels=16,
    num_classes=10,
)
FAMILY: dict[str, Architecture] = {
    "resnet18": Architecture("ResNet-18", TABLE_1, BasicBlock, (2, 2, 2, 2)),
    "resnet34": Architecture("ResNet-34", TABLE_1, BasicBlock, (3, 4, 6, 3)),
    "resnet50": Architecture("ResNet-50", TABLE_1, Bottleneck, (3, 4, 6, 3), WIDE),
    "resnet101": Architecture("ResNet-101", TABLE_1, Bottleneck, (3, 4, 23, 3), WIDE),
    "resnet152": Architecture("ResNet-152", TABLE_1, Bottleneck, (3, 8, 36, 3), WIDE),
    "cifar_resnet20": _cifar("ResNet-20 for CIFAR", stage_sizes=(3, 3, 3)),
    "cifar_resnet32": _cifar("ResNet-32 for CIFAR", stage_sizes=(5, 5, 5)),
    "cifar_resnet44": _cifar("ResNet-44 for CIFAR", stage_sizes=(7, 7, 7)),
    "cifar_resnet56": _cifar("ResNet-56 for CIFAR", stage_sizes=(9, 9, 9)),
    "cifar_resnet110": _cifar("ResNet-110 for CIFAR", stage_sizes=(18, 18, 18)),
    "textbook_resnet18": Architecture(
        "ResNet-18 of a textbook",
        "Dive into Deep Learning, section 8.6",
        TextbookBlock,
        (2, 2, 2, 2),
        stem_bias=True,
        in_channels=1,
        num_classes=10,
    ),
}


def create_resnet(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    *,
    block: Block | None = None,
    stem: Stem | None = None,
    width_mult: float = 1.0,
    zero_init_residual: bool = False,
    weights: str | Path | None = None,
) -> ResNet:
    """Build a network of the family by name: (N, in_channels, H, W) -> logits (N, num_classes).

    None stands for the network's own default.

    Args:
        name: "resnet18", "cifar_resnet20" or another name of `reslab.list_networks()`.
        num_classes: number of logits.
        in_channels: channels of the images.
        block: any callable (in_channels, out_channels, stride) -> module, used in every place.
        stem: "imagenet" (7x7, stride 2, max pooling) or "small" (3x3), for images under 64 pixels.
        width_mult: multiplies the channels of stem and stages, which are rounded to multiples of 4.
        zero_init_residual: start every block as its shortcut (Goyal et al. 2017, section 5.1).
        weights: "imagenet", or a .safetensors or .pth file, see `load_pretrained`; random by default. A
            warning reports renamed tensors and those that stay as initialized, except in the last layer.

    Raises:
        NetworkError: the name or the stem is unknown, a size is below 1, or no block has the method for
            zero_init_residual.
        WeightsError: the file cannot be read or does not fit.
        DownloadError: the ImageNet weights cannot be downloaded.
    """
    if name not in FAMILY:
        raise NetworkError(f"there is no network '{name}'", "it is not in the table", nearest(name, FAMILY))
    row = FAMILY[name]
    network = ResNet(
        block or row.block,
        row.stage_sizes,
        [_scaled(channels, width_mult) for channels in row.stage_channels],
        num_classes=row.num_classes if num_classes is None else num_classes,
        in_channels=row.in_channels if in_channels is None else in_channels,
        stem=stem or row.stem,
        stem_channels=_scaled(row.stem_channels, width_mult),
        stem_bias=row.stem_bias,
        zero_init_residual=zero_init_residual,
    )
    return _with_weights(network, name, weights)


def _with_weights(network: ResNet, name: str, weights: str | Path | None) -> ResNet:
    if weights is not None:
        report = load_pretrained(network, name, weights)
        initialized = {*report.missing, *(tensor for tensor, _, _ in report.other_shape)}
        if initialized - {"fc.weight", "fc.bias"} or report.renamed:
            warnings.warn(str(report), stacklevel=3)  # the caller of the public function
    return network


def _scaled(channels: int, width_mult: float) -> int:
    """Return channels * width_mult, rounded to a multiple of 4, at least 4; unchanged at 1."""
    return channels if width_mult == 1 else max(4, 4 * round(channels * width_mult / 4))


class NetworkFunction(Protocol):
    """Signature of resnet18 and the other functions of the family, for type checkers and editors."""

    def __call__(
        self,
        num_classes: int = ...,
        in_channels: int = ...,
        *,
        block: Block = ...,
        stem: Stem = ...,
        width_mult: float = ...,
        zero_init_residual: bool = ...,
        weights: str | Path | None = ...,
    ) -> ResNet: ...


def _function(name: str) -> NetworkFunction:
    """Return a function that builds network `name` of FAMILY, with the table's values as its defaults."""
    row = FAMILY[name]

    def function(
        num_classes: int = row.num_classes,
        in_channels: int = row.in_channels,
        *,
        block: Block = row.block,
        stem: Stem = row.stem,
        width_mult: float = 1.0,
        zero_init_residual: bool = False,
        weights: str | Path | None = None,
    ) -> ResNet:
        network = create_resnet(
            name,
            num_classes,
            in_channels,
            block=block,
            stem=stem,
            width_mult=width_mult,
            zero_init_residual=zero_init_residual,
        )
        return _with_weights(network, name, weights)

    title = f"{row.title}: (N, in_channels, H, W) -> logits (N, num_classes). {row.source}."
    _, _, arguments = str(inspect.getdoc(create_resnet)).partition("`reslab.list_networks()`.\n")
    function.__doc__ = f"{title}\n\nArgs:\n{arguments}"
    function.__name__ = function.__qualname__ = name
    return function


resnet18 = _function("resnet18")
resnet34 = _function("resnet34")
resnet50 = _function("resnet50")
resnet101 = _function("resnet101")
resnet152 = _function("resnet152")
cifar_resnet20 = _function("cifar_resnet20")
cifar_resnet32 = _function("cifar_resnet32")
cifar_resnet44 = _function("cifar_resnet44")
cifar_resnet56 = _function("cifar_resnet56")
cifar_resnet110 = _function("cifar_resnet110")
textbook_resnet18 = _function("textbook_resnet18")
