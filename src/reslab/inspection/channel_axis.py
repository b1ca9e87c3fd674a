"""Which axis the channels are, followed through a network: axis 1, until an operation moves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .op_rules import VIEWS, name_of

IN_ORDER = (*VIEWS, "flatten", "squeeze", "unsqueeze")  # other axes, and the numbers as they stood
MATRIX_PRODUCTS = ("mm", "bmm", "addmm", "baddbmm")


def channel_axis(op: Any, args: Sequence[Any], inputs: Sequence[int], out: Tensor) -> int:
    """The axis of the channels in what comes out; `inputs`: that of each input which comes from the photo.

    The last axis of a product of matrices is that of the second. Reshaped, the axis is the one that has the
    same before it or behind it.
    """
    name, last = name_of(op), out.dim() - 1
    if name == "convolution":
        return 1
    before = inputs[-1] if name in MATRIX_PRODUCTS else last if last in inputs else inputs[0]
    if name in ("permute", "transpose") and before <= last:
        return _order(name, args, last + 1).index(before)
    if name in IN_ORDER:
        return _reshaped(before, tuple(args[0].shape), tuple(out.shape))
    return before


def is_last(axis: int, tensor: Tensor) -> bool:
    """Whether the channels of a picture or of a row of tokens are the last axis."""
    return axis == tensor.dim() - 1 > 1


def _order(name: str, args: Sequence[Any], count: int) -> list[int]:
    if name == "permute":
        return [axis % count for axis in args[1]]
    order = list(range(count))
    order[args[1]], order[args[2]] = order[args[2]], order[args[1]]
    return order


def _reshaped(axis: int, shape: tuple[int, ...], new: tuple[int, ...]) -> int:
    if shape[: axis + 1] == new[: axis + 1]:
        return axis
    behind = shape[axis:]
    if len(behind) <= len(new) and behind == new[len(new) - len(behind) :]:
        return len(new) - len(behind)
    return 1
