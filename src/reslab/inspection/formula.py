"""The formula with its numbers put in, as text."""

from __future__ import annotations

from collections.abc import Sequence

from .arithmetic import Window

Pair = tuple[int, int]


def formula(both: tuple[Window, Window], size: Pair) -> str:
    """`⌊(224 + 2·3 - 7)/2⌋ + 1 = 112`; `[height, width]` for a number where the two differ."""
    return f"{left_side(both, size)} = {number([w.output_size(n) for w, n in zip(both, size, strict=True)])}"


def left_side(both: tuple[Window, Window], size: Pair) -> str:
    """The formula up to the sign of equality."""
    first, second = both
    n, s = number(size), number((first.stride, second.stride))
    k, d = (number((getattr(first, f), getattr(second, f))) for f in ("kernel_size", "dilation"))
    dilated = d != "1"
    if first.kind == "transposed":
        extra = number((first.output_padding, second.output_padding))
        reach = f"{d}·({k} - 1) + 1" if dilated else k
        return f"({n} - 1)·{s} - {_padding(both)} + {reach}" + (f" + {extra}" if extra != "0" else "")
    left, right = "⌈⌉" if first.ceil_mode else "⌊⌋"
    reach = f"{d}·({k} - 1) - 1" if dilated else k
    dropped = number([left_out(window, pixels) for window, pixels in zip(both, size, strict=True)])
    rest = f" - {dropped}" if dropped != "0" else ""
    return f"{left}({n} + {_padding(both)} - {reach})/{s}{right} + 1{rest}"


def left_out(window: Window, size: int) -> int:
    """1 where rounding up makes room for a window that would begin beyond the last pixel, else 0.

    torch leaves that window out, and so does Window.output_size.
    """
    if not window.ceil_mode:
        return 0
    spare = size + window.both_paddings - window.extent
    return -(-spare // window.stride) + 1 - window.output_size(size)


def number(values: Sequence[int]) -> str:
    """One number if height and width agree, else `[height, width]`."""
    return str(values[0]) if values[0] == values[1] else f"[{values[0]}, {values[1]}]"


def settings(both: tuple[Window, Window]) -> str:
    """`7x7 /2 p3`: kernel, stride, padding and what else is not at its default."""
    height, width = both
    text = f"{height.kernel_size}x{width.kernel_size}"
    parts = [("/", "stride", 1), (" p", "padding", 0), (" d", "dilation", 1), (" op", "output_padding", 0)]
    for sign, name, default in parts:
        value = number((getattr(height, name), getattr(width, name))).replace(" ", "")
        text += f"{sign}{value}" if value != str(default) else ""
    return text + (" ceil" if height.ceil_mode else "")


def _padding(both: tuple[Window, Window]) -> str:
    before, after = ([w.padding, w.both_paddings - w.padding] for w in both)
    if before[0] != before[1] or after[0] != after[1]:
        return f"{number((before[0], after[0]))} + {number((before[1], after[1]))}"
    return f"2·{number((before[0], after[0]))}"
