"""The output-size formula of a layer with its numbers filled in, as text."""

from __future__ import annotations

from collections.abc import Sequence

from .arithmetic import Window

Pair = tuple[int, int]


def formula(both: tuple[Window, Window], size: Pair) -> str:
    """Return the filled-in formula with its result, as `⌊(224 + 2·3 - 7)/2⌋ + 1 = 112`.

    Where the axes differ, a number becomes `[height, width]`.

    Args:
        both: the window along the height and along the width.
        size: (height, width) of the input in pixels.

    Raises:
        NetworkError: a window does not take this size.
    """
    sizes = [window.output_size(n) for window, n in zip(both, size, strict=True)]
    return f"{left_side(both, size)} = {number(sizes)}"


def left_side(both: tuple[Window, Window], size: Pair) -> str:
    """Return the filled-in formula up to the equals sign, without it. Arguments as in `formula`."""
    first, second = both
    n, s = number(size), number((first.stride, second.stride))
    k, p, d = (
        number((getattr(first, f), getattr(second, f))) for f in ("kernel_size", "padding", "dilation")
    )
    if first.kind == "transposed":
        extra = number((first.output_padding, second.output_padding))
        reach = f"{d}·({k} - 1) + 1" if d != "1" else k
        return f"({n} - 1)·{s} - 2·{p} + {reach}" + f" + {extra}" * (extra != "0")
    left, right = "⌈⌉" if first.ceil_mode else "⌊⌋"
    reach = f"{d}·({k} - 1) - 1" if d != "1" else k
    dropped = number([dropped_windows(window, n) for window, n in zip(both, size, strict=True)])
    return f"{left}({n} + 2·{p} - {reach})/{s}{right} + 1" + f" - {dropped}" * (dropped != "0")


def dropped_windows(window: Window, size: int) -> int:
    """Return 1 if rounding up makes a last window begin beyond the last pixel, which torch drops, else 0."""
    if not window.ceil_mode:
        return 0
    spare = size + 2 * window.padding - window.extent
    return -(-spare // window.stride) + 1 - window.output_size(size)


def number(values: Sequence[int]) -> str:
    """Return the first of two values as text if both are equal, else `[height, width]`."""
    return str(values[0]) if values[0] == values[1] else f"[{values[0]}, {values[1]}]"


def settings(both: tuple[Window, Window]) -> str:
    """Return a layer's settings as `7x7/2 p3`: kernel, then those that are not at their default.

    /, p, d and op stand before stride, padding, dilation and output padding. "ceil" is the ceil mode.
    """
    height, width = both
    text = f"{height.kernel_size}x{width.kernel_size}"
    parts = [("/", "stride", 1), (" p", "padding", 0), (" d", "dilation", 1), (" op", "output_padding", 0)]
    for sign, name, default in parts:
        value = number((getattr(height, name), getattr(width, name))).replace(" ", "")
        text += f"{sign}{value}" if value != str(default) else ""
    return text + " ceil" * height.ceil_mode
