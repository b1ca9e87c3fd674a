"""The residual network as a sequence, and the family as a table. Its blocks are in blocks.py.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (the paper).
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from reslab.errors import NetworkError, nearest
from reslab.networks.weights.load import load_pretrained

from .blocks import BasicBlock, Block, Bottleneck, TextbookBlock, conv3x3

Stem = Literal["imagenet", "small"]


def make_stem(in_channels: int, channels: int, stem: Stem, bias: bool) -> OrderedDict[str, nn.Module]:
    """imagenet: (N, C, H, W) -> (N, channels, H/4, W/4); small: a 3x3 convolution that keeps H and W."""
    if stem not in ("imagenet", "small"):
        raise NetworkError(f"there is no stem '{stem}'", "there are two", "use 'imagenet' or 'small'")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if stem == "imagenet":
        layers["conv1"] = nn.Conv2d(in_channels, channels, kernel_size=7, stride=2, padding=3, bias=bias)
    else:
        layers["conv1"] = conv3x3(in_channels, channels, bias=bias)
    layers["bn1"] = nn.BatchNorm2d(channels)
    layers["relu"] = nn.ReLU()  # not in place: a reader who keeps every output keeps the right ones
    if stem == "imagenet":
        layers["maxpool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    return layers


def make_stage(block: Block, in_channels: int, out_channels: int, stride: int, size: int) -> nn.Sequential:
    """`size` blocks, of which the first changes the shape."""
    first = block(in_channels, out_channels, stride)
    return nn.Sequential(first, *(block(out_channels, out_channels, 1) for _ in range(size - 1)))


class ResNet(nn.Sequential):
    """A residual network as a sequence with torchvision's names: (N, in_channels, H, W) -> (N, num_classes).

    conv1, bn1, relu, maxpool, layer1 ... layer4, avgpool, flatten, fc: `for layer in net: x = layer(x)` is
    the whole forward pass, `net[:-1]` the feature extractor, and the state dict is torchvision's.

    Raises NetworkError for sizes that make no network.
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
        if min(num_classes, in_channels, stem_channels) < 1:
            raise NetworkError(
                f"no network has {num_classes=}, {in_channels=}, {stem_channels=}",
                "it needs at least one of each",
                "give numbers from 1 upwards",
            )
        layers = make_stem(in_channels, stem_channels, stem, stem_bias)
        channels = stem_channels
        for i, (size, out_channels) in enumerate(zip(stage_sizes, stage_channels, strict=True)):
            stride = 1 if i == 0 else 2
            layers[f"layer{i + 1}"] = stage = make_stage(block, channels, out_channels, stride, size)
            channels = out_channels
        if getattr(stage[-1], "leaves_sum_bare", False):  # pre-activation
            layers["bn_last"], layers["relu_last"] = nn.BatchNorm2d(channels), nn.ReLU()
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)  # (N, C, 1, 1)
        layers["flatten"] = nn.Flatten()  # (N, C)
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        # pixels of the picture for one pixel of the last stage
        self.total_stride = (4 if stem == "imagenet" else 1) * 2 ** (len(stage_sizes) - 1)
        initialize(self, zero_init_residual)

    def __getitem__(self, index: slice | int) -> Any:
        if isinstance(index, slice):  # torch would call ResNet's own constructor with the layers
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


def check_sizes(stage_sizes: Sequence[int], stage_channels: Sequence[int]) -> None:
    """Raises NetworkError unless there is at least one stage and each has its size and its channels."""
    if len(stage_sizes) != len(stage_channels) or min([*stage_sizes, *stage_channels], default=0) < 1:
        raise NetworkError(
            f"stages of {[*stage_sizes]} blocks with {[*stage_channels]} channels make no network",
            "every stage needs its number of blocks and its number of channels, both at least 1",
            "give as many of the one as of the other: stage_sizes=(2, 2, 2), stage_channels=(64, 128, 256)",
        )


def initialize(network: nn.Module, zero_init_residual: bool = False) -> None:
    """He 2015 ("Delving deep into rectifiers"): convolutions normal with variance 2 / fan-out."""
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
            "zero_init_residual needs blocks that can start as the identity",
            "no block of this network has a method zero_init_residual (a plain block would pass nothing on)",
            "leave zero_init_residual off, or give your block the method",
        )
    for block in blocks:
        block.zero_init_residual()


@dataclass(frozen=True)
class Architecture:
    """A member of the family: sizes are data."""

    block: Block
    stage_sizes: tuple[int, ...]
    stage_channels: tuple[int, ...] = (64, 128, 256, 512)
    stem: Stem = "imagenet"
    stem_channels: int = 64
    stem_bias: bool = False
    in_channels: int = 3
    num_classes: int = 1000


_wide = (256, 512, 1024, 2048)
_cifar = partial(
    Architecture,
    partial(BasicBlock, shortcut="A"),
    stage_channels=(16, 32, 64),
    stem="small",
    stem_channels=16,
    num_classes=10,
)
FAMILY: dict[str, Architecture] = {
    "resnet18": Architecture(BasicBlock, (2, 2, 2, 2)),
    "resnet34": Architecture(BasicBlock, (3, 4, 6, 3)),
    "resnet50": Architecture(Bottleneck, (3, 4, 6, 3), _wide),
    "resnet101": Architecture(Bottleneck, (3, 4, 23, 3), _wide),
    "resnet152": Architecture(Bottleneck, (3, 8, 36, 3), _wide),
    "cifar_resnet20": _cifar(stage_sizes=(3, 3, 3)),
    "cifar_resnet32": _cifar(stage_sizes=(5, 5, 5)),
    "cifar_resnet44": _cifar(stage_sizes=(7, 7, 7)),
    "cifar_resnet56": _cifar(stage_sizes=(9, 9, 9)),
    "cifar_resnet110": _cifar(stage_sizes=(18, 18, 18)),
    "textbook_resnet18": Architecture(
        TextbookBlock, (2, 2, 2, 2), stem_bias=True, in_channels=1, num_classes=10
    ),
}


def create_resnet(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    *,
    block: Block | None = None,
    stem: Stem | None = None,
    zero_init_residual: bool = False,
    weights: str | Path | None = None,
) -> ResNet:
    """A member of the family by name; what is not given comes from its row in the table.

    `block` puts another block in every place; `stem="small"` is for pictures under about 64 pixels;
    `weights` is "imagenet" or a file, see weights.py; what it leaves out beside the head is a warning.
    Raises NetworkError, WeightsError and DownloadError.
    """
    if name not in FAMILY:
        raise NetworkError(f"there is no network '{name}'", "it is not in the table", nearest(name, FAMILY))
    row = FAMILY[name]
    network = ResNet(
        block or row.block,
        row.stage_sizes,
        row.stage_channels,
        num_classes=row.num_classes if num_classes is None else num_classes,
        in_channels=row.in_channels if in_channels is None else in_channels,
        stem=stem or row.stem,
        stem_channels=row.stem_channels,
        stem_bias=row.stem_bias,
        zero_init_residual=zero_init_residual,
    )
    if weights is not None:
        report = load_pretrained(network, name, weights)
        fresh = {*report.missing, *(tensor for tensor, _, _ in report.other_shape)}
        if fresh - {"fc.weight", "fc.bias"} or report.renamed:
            warnings.warn(str(report), stacklevel=2)
    return network


resnet18 = partial(create_resnet, "resnet18")
resnet34 = partial(create_resnet, "resnet34")
resnet50 = partial(create_resnet, "resnet50")
resnet101 = partial(create_resnet, "resnet101")
resnet152 = partial(create_resnet, "resnet152")
cifar_resnet20 = partial(create_resnet, "cifar_resnet20")
cifar_resnet32 = partial(create_resnet, "cifar_resnet32")
cifar_resnet44 = partial(create_resnet, "cifar_resnet44")
cifar_resnet56 = partial(create_resnet, "cifar_resnet56")
cifar_resnet110 = partial(create_resnet, "cifar_resnet110")
textbook_resnet18 = partial(create_resnet, "textbook_resnet18")
