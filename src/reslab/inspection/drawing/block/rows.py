"""Text of a layer in the drawing of a block: its kind, settings, channels and name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from reslab.inspection.layers import Layer, Shape

Fill = Literal["conv", "pool", "other"]
MAX_WORD_LENGTH = 22  # characters of a name or kind
WORDS = {
    "Sigmoid": "sigmoid",
    "Hardsigmoid": "hard sigmoid",
    "Hardswish": "hard swish",
    "Softmax": "softmax",
    "Tanh": "tanh",
    "Dropout": "dropout",
    "Dropout2d": "dropout",
    "StochasticDepth": "stochastic depth",
    "BatchNorm2d": "batch norm",
    "LayerNorm": "layer norm",
    "GroupNorm": "group norm",
    "InstanceNorm2d": "instance norm",
    "Flatten": "flatten",
    "Linear": "linear",
    # operations of a forward
    "relu": "ReLU",
    "hardtanh": "ReLU6",
    "silu": "SiLU",
    "gelu": "GELU",
    "hardsigmoid": "hard sigmoid",
    "hardswish": "hard swish",
    "batch_norm": "batch norm",
    "native_batch_norm": "batch norm",
    "native_layer_norm": "layer norm",
    "native_group_norm": "group norm",
    "constant_pad_nd": "zero padding",
    "cat": "concatenate",
    "bmm": "matrix product",
    "mm": "matrix product",
    "addmm": "linear",
    "pow": "power",
    "sub": "subtract",
    "div": "divide",
}
MEANS = {"mean": "avg", "amax": "max", "max": "max"}  # reductions that are poolings


@dataclass(frozen=True)
class Row:
    """A layer or operation in a box, by the index of its layer in the anatomy.

    `words` are its kind and settings, as ("3×3 conv", "64 → 128", "stride 2"). `name` is the module's path,
    "" for an operation of a forward.
    """

    layer: int
    words: tuple[str, ...]
    name: str
    fill: Fill

    @property
    def text(self) -> str:
        return ", ".join(self.words)


def row_of(index: int, layer: Layer, module: nn.Module | None, weight: str = "") -> Row:
    """Return the row of a layer.

    Args:
        index: of the layer in the anatomy.
        layer: the layer.
        module: that ran; None for an operation.
        weight: name of the parameter that an operation takes, "" if it takes none or it is not known.
    """
    kind = layer.kind
    given = layer.inputs[0] if layer.inputs else ()
    words: list[str]
    fill: Fill = "other"
    if re.fullmatch(r"(Lazy)?Conv(Transpose)?\dd|convolution", kind):
        words, fill = _convolution(layer, module), "conv"
    elif kind in ("Linear", "addmm"):
        words, fill = ["linear", _channels(given[-1:], (layer.output or ())[-1:])], "conv"
    elif pooled := _pooling(kind, given, layer.output):
        words, fill = [pooled, *_window(layer)], "pool"
    elif kind == "mul":
        words = [f"multiply by {shortened(weight)}" if weight else "multiply"]
    else:
        plain = kind.replace("_", " ") if kind.islower() else kind
        words = [WORDS.get(kind, shortened(plain)), *_window(layer)]
    words = [word for word in words if word]
    repeats = layer.name.rpartition(".")[2].lower() == words[0].lower()  # as relu, of a ReLU
    name = "" if module is None or repeats else shortened(layer.name)
    return Row(index, tuple(words), name, fill)


def shortened(text: str) -> str:
    """Return a text of at most MAX_WORD_LENGTH characters; of a longer one the end, after `…`."""
    return text if len(text) <= MAX_WORD_LENGTH else "…" + text[1 - MAX_WORD_LENGTH :]


def shape_text(shape: Shape) -> str:
    """Return (64, 56, 56) as `64×56×56`, and a vector (64, 1, 1) as `64`."""
    return "×".join(map(str, shape[:1] if shape[1:] == (1, 1) else shape))


def _convolution(layer: Layer, module: nn.Module | None) -> list[str]:
    kernel: Sequence[int] = [window.kernel_size for window in layer.windows or ()]
    groups, word = 1, "conv"
    if module is not None and isinstance(getattr(module, "kernel_size", None), tuple):
        kernel, groups = module.kernel_size, int(module.groups)  # type: ignore[assignment, arg-type]
        word = "transposed conv" if "Transpose" in layer.kind else "conv"
    (before, after) = (shape[0] if shape else 0 for shape in (layer.inputs[0], layer.output or ()))
    if 1 < groups == before:
        word, groups = f"depthwise {word}", 1
    size = "×".join(map(str, kernel))
    one_axis = len(kernel) == 1
    words = [f"{size} {word}".strip() if not one_axis else f"1-D {word} of {size}"]
    words.append(_channels((before,), (after,)))
    return [*words, *_window(layer)[1:], f"{groups} groups" if groups > 1 else ""]


def _window(layer: Layer) -> list[str]:
    """Return size, stride and dilation of a layer's window: ["2×2", "stride 2"], [] without a window."""
    if not layer.windows:
        return []
    height, width = layer.windows
    words = [f"{height.kernel_size}×{width.kernel_size}"]
    for setting in ("stride", "dilation"):
        one, other = getattr(height, setting), getattr(width, setting)
        if (one, other) != (1, 1):
            words.append(f"{setting} {one}" if one == other else f"{setting} {one}×{other}")
    return words


def _pooling(kind: str, given: Shape, output: Shape | None) -> str:
    """Return the kind of a pooling as text, "" if the layer is no pooling."""
    over_channels = len(given) == 3 and (output or ())[-2:] == given[-2:] and output != given
    over_positions = len(given) == 3 and output is not None and output[1:] in ((), (1, 1))
    if kind in MEANS:
        if over_channels:
            return {"avg": "mean", "max": "max"}[MEANS[kind]] + " over channels"
        return f"global {MEANS[kind]} pool" if over_positions else ""
    match = re.search(r"(avg|max)_?pool", kind.lower())
    if match is None:
        return ""
    reach = "global " if over_positions and given[1:] != (1, 1) and "adaptive" in kind.lower() else ""
    return f"{reach}{match[1]} pool"


def _channels(given: Shape, output: Shape) -> str:
    before, after = (shape[0] if shape else 0 for shape in (given, output))
    return f"{before} → {after}"
