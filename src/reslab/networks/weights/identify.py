"""Likely network of a weights file, from the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .conventions import CONVENTIONS

FAMILY_DEPTHS = (18, 34, 50, 101, 152)  # layers of resnet18 and its relatives
CIFAR_DEPTHS = (20, 32, 44, 56, 110)
TORCHVISION = (
    "wide_resnet50_2",
    "wide_resnet101_2",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
)
TIMM = (
    *(f"resnet{depth}d" for depth in (18, 26, 34, *FAMILY_DEPTHS[2:], 200)),
    *(f"resnet{depth}{stem}" for depth in FAMILY_DEPTHS[2:] for stem in "cs"),
    *(f"seresnet{depth}" for depth in FAMILY_DEPTHS[2:]),
    *(f"seresnext{size}" for size in ("50_32x4d", "101_32x4d", "101_32x8d", "101_64x4d")),
    *("resnet26", "resnet50_gn", "resnet200", "ecaresnet50d", "ecaresnet101d", "resnext50d_32x4d"),
    *(f"legacy_seresnet{depth}" for depth in FAMILY_DEPTHS),
)
BLOCK = re.compile(r"layer(\d+)\.(\d+)\.")
GATES = {  # a name in each block
    "se.fc1.weight": "se",
    "eca.conv.weight": "eca",
    "channel_attention.fc1.weight": "cbam",
    "se_module.fc1.weight": "legacy_se",
}


def likely_network(tensors: Mapping[str, Tensor]) -> str | None:
    """Return the name of the residual network that a file is from; None if it is not one with a name.

    Counted are stages, blocks, groups, width and the channels of the stem, known are bottlenecks and gates:
    resnet34, cifar_resnet20, resnet18:se, timm:resnet50d, torchvision:resnext50_32x4d. Other differences,
    such as blurred pooling, are not seen.

    Args:
        tensors: by their names in the file.
    """
    for convention in CONVENTIONS:
        if translation := convention.translate(tensors):
            _, ours = translation
            return _name({ours[name]: tuple(tensor.shape) for name, tensor in tensors.items()})
    return None


def _name(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return the name of a network from torchvision's names of its tensors, and their shapes."""
    blocks = {match.groups() for name in shapes if (match := BLOCK.match(name))}
    first = {name.removeprefix("layer1.0."): shape for name, shape in shapes.items() if "layer1.0." in name}
    width, inputs = [*first.get("conv2.weight", ()), 0, 0][:2]
    if not inputs:
        return None
    is_bottleneck = "conv3.weight" in first
    depth = 2 + len(blocks) * (3 if is_bottleneck else 2)
    if len({stage for stage, _ in blocks}) == 3:
        return f"cifar_resnet{depth}" if depth in CIFAR_DEPTHS and not is_bottleneck else None
    if "conv1.bias" in first:
        return "textbook_resnet18" if depth == 18 else None
    groups = width // inputs
    gate = next((GATES[name] for name in GATES if name in first), "")
    stem = _deep_stem(shapes)
    name = f"resnet{depth}{stem}"
    if is_bottleneck and groups > 1:
        name = f"resnext{depth}{stem}_{groups}x{inputs}d"
    elif is_bottleneck and width > 64:
        name = f"wide_resnet{depth}_{width // 64}"
    elif "bn1.running_mean" not in first:
        name += "_gn"
    if "bn_last.weight" in shapes:
        name += ":preactivation"
    if gate:
        is_ours = not is_bottleneck and gate != "legacy_se"
        name = f"{name}:{gate}" if is_ours else gate + name
    if name in TORCHVISION:
        return f"torchvision:{name}"
    if name in TIMM:
        return f"timm:{name}"
    return name if name.partition(":")[0] in [f"resnet{depth}" for depth in FAMILY_DEPTHS] else None


def _deep_stem(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return timm's letter for a stem of three convolutions; "" for another stem."""
    channels = next(iter(shapes.get("conv1.0.weight", ())), 0)
    if len(shapes.get("layer2.0.downsample.1.weight", ())) == 4:  # after pooling
        return {24: "t", 32: "d", 64: "e"}.get(channels, "")
    return {32: "c", 64: "s"}.get(channels, "")
