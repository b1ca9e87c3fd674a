"""Residual networks: the blocks, the shortcuts, the network and the family as a table. Read it from the top.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (the paper), and Identity Mappings in
Deep Residual Networks, 2016 (pre-activation). A block is any callable (in_channels, out_channels, stride) ->
module. It decides its own shortcut from these three numbers; nobody has to keep a flag in step with them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from ..errors import NetworkError, nearest

Block = Callable[[int, int, int], nn.Module]
Shortcut = Literal["A", "B", "C"]
Stem = Literal["imagenet", "small"]


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)"""
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=bias)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """(N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)"""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=bias)


class ZeroPad(nn.Module):
    """Shortcut A (the paper, section 3.3): every stride-th pixel, the new channels filled with zeros.

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride), without a parameter.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels < in_channels:
            raise NetworkError(
                f"shortcut A cannot go from {in_channels} to {out_channels} channels",
                "it adds channels of zeros and cannot take any away",
                "use shortcut B or C, which project",
            )
        self.new_channels, self.stride = out_channels - in_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (N, C, H/s, W/s)
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.new_channels))  # (N, C', H/s, W/s)


def make_shortcut(in_channels: int, out_channels: int, stride: int, option: Shortcut) -> nn.Module | None:
    """What runs beside the block; None is the identity. Options of the paper, section 4.1:

    A: identity, padded with zeros where the shape changes; B: projection where the shape changes;
    C: projection everywhere.
    """
    same = in_channels == out_channels and stride == 1
    if option not in ("A", "B", "C"):
        raise NetworkError(f"there is no shortcut '{option}'", "the paper has three", "use A, B or C")
    if same and option != "C":
        return None
    if option == "A":
        return ZeroPad(in_channels, out_channels, stride)
    return nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (the paper, figure 5 left).

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = make_shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        x = self.bn2(self.conv2(x))
        return self.relu(x + identity)

    def zero_init_residual(self) -> None:
        """The block starts as the identity (Goyal 2017, section 5.1)."""
        nn.init.zeros_(self.bn2.weight)


class Bottleneck(nn.Module):
    """1x1 down to a quarter of the channels, 3x3, 1x1 up again (the paper, figure 5 right).

    The stride sits in the 3x3 convolution, as in torchvision ("ResNet v1.5"), not in the first 1x1 as in
    the paper. (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        width = out_channels // 4
        self.conv1 = conv1x1(in_channels, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv1x1(width, out_channels)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C'/4, H, W)
        x = self.relu(self.bn2(self.conv2(x)))  # (N, C'/4, H/s, W/s)
        x = self.bn3(self.conv3(x))  # (N, C', H/s, W/s)
        return self.relu(x + identity)

    def zero_init_residual(self) -> None:
        """The block starts as the identity (Goyal 2017, section 5.1)."""
        nn.init.zeros_(self.bn3.weight)


class PreActivationBlock(nn.Module):
    """Batch norm and ReLU before each convolution, nothing after the sum (He 2016, figure 1b).

    What leaves the last block is not normalised, so ResNet puts a batch norm and a ReLU behind it.
    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    leaves_sum_bare = True

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, shortcut: Shortcut = "B"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.relu = nn.ReLU()
        self.downsample = make_shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)  # (N, C', H/s, W/s)
        x = self.conv1(self.relu(self.bn1(x)))  # (N, C', H/s, W/s)
        x = self.conv2(self.relu(self.bn2(x)))
        return x + identity

    def zero_init_residual(self) -> None:
        """Here the last convolution: behind a batch norm of zeros the ReLU would pass no gradient, ever."""
        nn.init.zeros_(self.conv2.weight)


class PlainBlock(nn.Module):
    """BasicBlock without its shortcut: the network that the paper compares with (section 3.3).

    (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        return self.relu(self.bn2(self.conv2(x)))


class TextbookBlock(nn.Module):
    """The tutorials' dialect (Dive into Deep Learning, section 8.6): convolutions with a bias, and `conv3`
    as a projection without batch norm. (N, in_channels, H, W) -> (N, out_channels, H/stride, W/stride)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        same = in_channels == out_channels and stride == 1
        self.conv1 = conv3x3(in_channels, out_channels, stride, bias=True)
        self.conv2 = conv3x3(out_channels, out_channels, bias=True)
        self.conv3 = None if same else conv1x1(in_channels, out_channels, stride, bias=True)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.conv3 is None else self.conv3(x)  # (N, C', H/s, W/s)
        x = self.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        x = self.bn2(self.conv2(x))
        return self.relu(x + identity)

    def zero_init_residual(self) -> None:
        """The block starts as its shortcut (Goyal 2017, section 5.1)."""
        nn.init.zeros_(self.bn2.weight)


def make_stem(in_channels: int, channels: int, stem: Stem, bias: bool) -> OrderedDict[str, nn.Module]:
    """imagenet: (N, C, H, W) -> (N, channels, H/4, W/4); small: a 3x3 convolution that keeps H and W."""
    if stem not in ("imagenet", "small"):
        raise NetworkError(f"there is no stem '{stem}'", "", "use 'imagenet' or 'small'")
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
        if num_classes < 1 or in_channels < 1:
            raise NetworkError(
                f"num_classes={num_classes}, in_channels={in_channels}", "both must be at least 1", ""
            )
        layers = make_stem(in_channels, stem_channels, stem, stem_bias)
        channels = stem_channels
        for i, (size, out_channels) in enumerate(zip(stage_sizes, stage_channels, strict=True)):
            stride = 1 if i == 0 else 2
            layers[f"layer{i + 1}"] = stage = make_stage(block, channels, out_channels, stride, size)
            channels = out_channels
        if getattr(stage[-1], "leaves_sum_bare", False):
            layers["bn_last"], layers["relu_last"] = nn.BatchNorm2d(channels), nn.ReLU()
        layers["avgpool"] = nn.AdaptiveAvgPool2d(1)  # (N, C, 1, 1)
        layers["flatten"] = nn.Flatten()  # (N, C)
        layers["fc"] = nn.Linear(channels, num_classes)
        super().__init__(layers)
        self.total_stride = (4 if stem == "imagenet" else 1) * 2 ** (len(stage_sizes) - 1)
        initialize(self, zero_init_residual)

    def __getitem__(self, index: slice | int) -> Any:
        if isinstance(index, slice):  # torch would call ResNet's own constructor with the layers
            return nn.Sequential(OrderedDict(list(self.named_children())[index]))
        return super().__getitem__(index)


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
    stem_bias: bool = False
    in_channels: int = 3
    num_classes: int = 1000


_wide = (256, 512, 1024, 2048)
_cifar = partial(
    Architecture, partial(BasicBlock, shortcut="A"), stage_channels=(16, 32, 64), stem="small", num_classes=10
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


def build_resnet(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    *,
    block: Block | None = None,
    stem: Stem | None = None,
    zero_init_residual: bool = False,
    weights: str | None = None,
) -> ResNet:
    """A member of the family by name; what is not given comes from its row in the table.

    `block` puts another block in every place; `stem="small"` is for pictures under about 64 pixels;
    `weights` is "imagenet" or a file, see networks/weights.py. Raises NetworkError and WeightsError.
    """
    if name not in FAMILY:
        raise NetworkError(f"there is no network '{name}'", "", nearest(name, FAMILY))
    row = FAMILY[name]
    network = ResNet(
        block or row.block,
        row.stage_sizes,
        row.stage_channels,
        num_classes=row.num_classes if num_classes is None else num_classes,
        in_channels=row.in_channels if in_channels is None else in_channels,
        stem=stem or row.stem,
        stem_channels=min(row.stage_channels[0], 64),
        stem_bias=row.stem_bias,
        zero_init_residual=zero_init_residual,
    )
    if weights is not None:
        from .weights import load_pretrained

        load_pretrained(network, name, weights)
    return network


resnet18 = partial(build_resnet, "resnet18")
resnet34 = partial(build_resnet, "resnet34")
resnet50 = partial(build_resnet, "resnet50")
resnet101 = partial(build_resnet, "resnet101")
resnet152 = partial(build_resnet, "resnet152")
cifar_resnet20 = partial(build_resnet, "cifar_resnet20")
cifar_resnet32 = partial(build_resnet, "cifar_resnet32")
cifar_resnet44 = partial(build_resnet, "cifar_resnet44")
cifar_resnet56 = partial(build_resnet, "cifar_resnet56")
cifar_resnet110 = partial(build_resnet, "cifar_resnet110")
textbook_resnet18 = partial(build_resnet, "textbook_resnet18")
