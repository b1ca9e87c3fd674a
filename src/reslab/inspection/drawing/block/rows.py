"""Text of a layer in the drawing of a block: its kind, settings, channels and name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from torch import nn

from reslab.inspection.layers import Layer, Shape

Fill = Literal["conv", "pool", "other"]
MAX_WORD_LENGTH = 22  # characters of a name or kind
WORDS = {"relu": "ReLU", "silu": "SiLU", "gelu": "GELU", "cat": "concatenate", "bmm": "matrix product"}
REDUCTIONS = {"mean": "avg", "amax": "max", "max": "max"}


@dataclass(frozen=True)
class Row:
    """A layer or operation in a box.

    `words` are its kind and settings, as ("3×3 conv", "64 → 128", "stride 2"). `name` is the module's path,
    "" for an operation of a forward.
    """

    layer: Layer
    words: tuple[str, ...]
    name: str
    fill: Fill

    @property
    def text(self) -> str:
        return ", ".join(self.words)


def row_of(layer: Layer, module: nn.Module | None, weight: str = "") -> Row:
    """Return the row of a layer.

    Args:
        layer: the layer.
        module: of the layer's name.
        weight: name of the parameter that an operation takes, "" if it takes none or it is not known.
    """
    kind, module = layer.kind, None if layer.kind.islower() else module
    fill: Fill = "other"
    if re.fullmatch(r"Conv\dd|convolution", kind):
        words, fill = _convolution(layer, module), "conv"
    elif kind in ("Linear", "addmm"):
        words, fill = ["linear", f"{layer.inputs[0][-1]} → {(layer.output or (0,))[-1]}"], "conv"
    elif pooled := _pooling(layer):
        words, fill = [pooled, *_window(layer)], "pool"
    elif kind == "mul" and weight:
        words = [f"multiply by {shortened(weight)}"]
    else:
        words = [WORDS.get(kind, _plain(kind)), *_window(layer)]
    repeats = layer.name.rpartition(".")[2].lower() == words[0].lower()  # as relu, of a ReLU
    return Row(layer, tuple(words), "" if module is None or repeats else shortened(layer.name), fill)


def shortened(text: str) -> str:
    """Return a text of at most MAX_WORD_LENGTH characters; of a longer one the end, after `…`."""
    return text if len(text) <= MAX_WORD_LENGTH else "…" + text[1 - MAX_WORD_LENGTH :]


def shape_text(shape: Shape) -> str:
    """Return (64, 56, 56) as `64×56×56`, and a vector (64, 1, 1) as `64`."""
    return "×".join(map(str, shape[:1] if shape[1:] == (1, 1) else shape))


def _plain(kind: str) -> str:
    """Return BatchNorm2d as `batch norm`; ReLU and the like stay as they are."""
    if not re.search("[A-Z]{2}", kind):
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", re.sub(r"\dd$|^native_|_nd$", "", kind)).lower()
    return shortened(kind)


def _convolution(layer: Layer, module: nn.Module | None) -> list[str]:
    kernel = getattr(module, "kernel_size", [window.kernel_size for window in layer.windows or ()])
    groups, before, after = getattr(module, "groups", 1), layer.inputs[0][0], (layer.output or (0,))[0]
    word = "depthwise conv" if 1 < groups == before else "conv"
    name = f"1-D {word} of {kernel[0]}" if len(kernel) == 1 else f"{'×'.join(map(str, kernel))} {word}"
    words = [name, f"{before} → {after}", *_window(layer)[1:]]
    return [*words, f"{groups} groups"] if 1 < groups < before else words


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


def _pooling(layer: Layer) -> str:
    """Return the kind of a pooling as text, "" if the layer is no pooling."""
    kind, given, output = layer.kind, (*layer.inputs, ())[0], layer.output or ()
    over_positions = len(given) == 3 and output[1:] in ((), (1, 1))
    if found := re.search(r"(adaptive_?)?(avg|max)_?pool", kind.lower()):
        is_global = found[1] and over_positions and given[1:] != (1, 1)
        return f"global {found[2]} pool" if is_global else f"{found[2]} pool"
    if kind in REDUCTIONS and over_positions:
        return f"global {REDUCTIONS[kind]} pool"
    over_channels = kind in REDUCTIONS and len(given) == 3 and output[1:] == given[1:]
    return f"{'mean' if kind == 'mean' else 'max'} over channels" if over_channels else ""
