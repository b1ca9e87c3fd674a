"""Explanation of one convolution as text: formula step by step, pixels never read, kernel positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .arithmetic import Window, multiply_adds, parameters
from .formula import dropped_windows, formula, left_side, settings

Pair = tuple[int, int]
MAX_DRAWN_POSITIONS = 24  # of the kernel; of more only both ends are drawn


def explain(
    both: tuple[Window, Window], size: Pair, channels: Pair | None = None, groups: int = 1, width: int = 80
) -> str:
    """Return the explanation of a layer: formula step by step, drawn positions, edges and cost.

    Height and width share one part if they are alike.

    Args:
        both: the window along the height and along the width.
        size: (height, width) of the input in pixels.
        channels: (in, out), for parameters and multiply-adds; None leaves them out.
        groups: groups of channels.
        width: columns of the drawn positions; other lines may be longer.

    Raises:
        NetworkError: the layer does not take this size, or the groups do not divide the channels.
    """
    sizes = [window.output_size(n) for window, n in zip(both, size, strict=True)]
    kind = "transposed convolution" if both[0].kind == "transposed" else both[0].kind
    parts = [f"{kind} {settings(both)}:  {size[0]}x{size[1]} -> {sizes[0]}x{sizes[1]}"]
    same = both[0] == both[1] and size[0] == size[1]
    for axis, heading in ((0, ""),) if same else ((0, "height:\n"), (1, "width:\n")):
        window, n = both[axis], size[axis]
        parts += [heading + _steps(window, n), draw_positions(window, n, width), _edges(window, n)]
    if channels:
        parts.append(_channels(both, size, channels, groups))
    return "\n\n".join(part for part in parts if part)


def facts(
    both: tuple[Window, Window], size: Pair, channels: Pair | None = None, groups: int = 1
) -> dict[str, Any]:
    """Return what `explain` says as values for JSON. A list of two holds the values of height and width.

    "never_seen" and the paddings are None for a transposed convolution. "parameters" (without the bias) and
    "multiply_adds" are there if `channels` is given. Arguments and errors are those of `explain`.
    """
    axes = list(zip(both, size, strict=True))
    sliding = both[0].kind != "transposed"
    out: dict[str, Any] = {
        "kind": both[0].kind,
        "input": list(size),
        "output": [window.output_size(n) for window, n in axes],
        "formula": formula(both, size),
        "never_seen": [window.covered(n).count(0) for window, n in axes] if sliding else None,
        "padding_same": [padding_for(n, n, window, 1) for window, n in axes] if sliding else None,
        "padding_half": [padding_for(n, -(-n // 2), window, 2) for window, n in axes] if sliding else None,
    }
    if channels:
        out["parameters"], out["multiply_adds"] = _costs(both, size, channels, groups)
    return out


def padding_for(size: int, target: int, window: Window, stride: int) -> int | None:
    """Return the smallest padding with which the kernel, at `stride`, makes `target` of `size` pixels.

    None if no padding does, or pooling does not allow it. Stride, padding and rounding of `window` itself do
    not matter.
    """
    lacking = (target - 1) * stride + window.extent - size
    padding = max(0, -(-lacking // 2))
    fits = (size + 2 * padding - window.extent) // stride + 1 == target
    allowed = window.kind != "pooling" or padding <= window.kernel_size // 2
    return padding if fits and allowed else None


def draw_positions(window: Window, size: int, width: int = 80) -> str:
    """Return a drawing with a row for each position of the kernel over `size` input pixels.

    Where it would be too long or wide it shows both ends only; "" if those do not fit either. A transposed
    convolution has a row for each input pixel, with the output pixels that it is added to.

    Args:
        window: the kernel along the axis.
        size: pixels of the input.
        width: columns.

    Raises:
        NetworkError: the window does not take this size.
    """
    transposed = window.kind == "transposed"
    positions = size if transposed else window.output_size(size)
    pixels = window.output_size(size) if transposed else size
    starts = range(-window.padding, positions * window.stride - window.padding, window.stride)
    end = max(pixels + window.padding, starts[-1] + window.extent)
    cell = max(2, len(str(pixels - 1)) + 1)
    label = len(f"output {positions - 1}") + 2
    room = (width - label) // cell
    rows: Sequence[int] = range(positions)
    columns: Sequence[int | None] = range(-window.padding, end)
    if len(columns) > room or positions > MAX_DRAWN_POSITIONS:
        rows, columns = _both_ends(starts, window.extent, end, room - 1)
    if not columns:
        return ""
    header = [" ⋯" if c is None else (str(c) if 0 <= c < pixels else "░").rjust(cell) for c in columns]
    lines = [" " * label + "".join(header)]
    last = -1
    for row in rows:
        if row != last + 1:
            lines.append("⋮")
        taps = "".join(_tap(window, starts[row], column, cell) for column in columns)
        lines.append((f"{'input' if transposed else 'output'} {row}".ljust(label) + taps).rstrip())
        last = row
    covered = bytearray() if transposed else window.covered(size)
    marks = ["✗" if c is not None and 0 <= c < len(covered) and not covered[c] else "" for c in columns]
    if any(marks):
        lines.append(("never".ljust(label) + "".join(mark.rjust(cell) for mark in marks)).rstrip())
    return "\n".join(lines)


def _both_ends(starts: Sequence[int], extent: int, end: int, room: int) -> tuple[list[int], list[int | None]]:
    """Return up to three positions at each end of a long axis, and the pixels under them.

    Args:
        starts: first pixel of each position.
        extent: pixels that a position spans.
        end: pixel after the last one to draw.
        room: largest number of pixels.

    Returns:
        Indices of the positions; and the pixels, with None for the gap. Both are [] if not even one position
        at each end fits, or if the ends overlap.
    """
    for many in (3, 2, 1):
        if len(starts) < 2 * many:
            continue
        left = range(starts[0], starts[many - 1] + extent)
        right = range(starts[-many], end)
        if len(left) + len(right) <= room and left[-1] < right[0]:
            rows = [*range(many), *range(len(starts) - many, len(starts))]
            return rows, [*left, None, *right]
    return [], []


def _tap(window: Window, start: int, pixel: int | None, cell: int) -> str:
    if pixel is None:
        return "  "
    offset = pixel - start
    if not 0 <= offset < window.extent:
        return " " * cell
    before = " " if offset == 0 else "─"
    return before * (cell - 1) + ("■" if offset % window.dilation == 0 else "─")


def _steps(window: Window, n: int) -> str:
    """Return the values of the letters, then the formula for n input pixels, step by step to the result."""
    k, s, d, extra = window.kernel_size, window.stride, window.dilation, window.output_padding
    names = f"n = {n} pixels, k = {k} kernel, s = {s} stride, p = {window.padding} padding"
    names += f", d = {d} dilation" * (d > 1) + f", o = {extra} output padding" * (extra > 0)
    filled_in = left_side((window, window), (n, n))
    note = ""
    if window.kind == "transposed":
        reach = "d·(k - 1) + 1" if d > 1 else "k"
        lines = [f"(n - 1)·s - 2·p + {reach}" + " + o" * (extra > 0), filled_in]
        lines.append(f"{(n - 1) * s} - {2 * window.padding} + {window.extent}" + f" + {extra}" * (extra > 0))
    else:
        left, right = "⌈⌉" if window.ceil_mode else "⌊⌋"
        reach = "d·(k - 1) - 1" if d > 1 else "k"
        spare = n + 2 * window.padding - window.extent
        one = " + 1 - 1" if dropped_windows(window, n) else " + 1"
        lines = [f"{left}(n + 2·p - {reach})/s{right}{one}", filled_in]
        if s > 1:
            lines += [f"{left}{spare}/{s}{right}{one}", f"{left}{spare / s:.10g}{right}{one}"]
        if spare % s:
            rest = (
                "ceiling goes one step further"
                if window.ceil_mode
                else f"floor leaves {_pixels(spare % s)} over"
            )
            lines[3] = f"{lines[3]:<25}the {rest}"
        lines.append(f"{-(-spare // s) if window.ceil_mode else spare // s}{one}")
        if dropped_windows(window, n):
            note = "\n  - 1, since the last window would begin beyond the last pixel"
    lines.append(str(window.output_size(n)))
    return f"  {names}\n\n  output = " + "\n         = ".join(lines) + note


def _edges(window: Window, n: int) -> str:
    """Return lines on which of n input pixels are never read, and which paddings keep and halve the size.

    For a transposed convolution: a line on the pixels that the padding cuts off, "" without padding.
    """
    if window.kind == "transposed":
        cut = f"padding     cuts {window.padding} off either side (░): here it is a crop, not a border"
        return cut * bool(window.padding)
    covered = window.covered(n)
    after = n - 1 - covered.rfind(1)
    between = covered.count(0) - after
    words = [f"{_pixels(after)} at the far edge"] * bool(after)
    words += [f"{_pixels(between)} in between, stepped over"] * bool(between)
    lines = [f"never seen  {' and '.join(words) or 'no pixel: every one is under the kernel at least once'}"]
    for name, stride, target in (("same", 1, n), ("half", 2, -(-n // 2))):
        padding = padding_for(n, target, window, stride)
        if padding is None:
            before, rest = divmod(window.extent - 1, 2)
            text = f"no even padding gives {target} at stride {stride}; "
            if padding_for(n, target, replace(window, kind="convolution"), stride) is None:
                text += f"{before} before and {before + rest} after would do"
            else:
                text += "pooling has no more than half its kernel"
        else:
            text = f"padding {padding} at stride {stride} makes {n} -> {target}"
            is_this = window.stride == stride and window.padding == padding and not window.ceil_mode
            text += "   <- this one" * is_this
        lines.append(f"{name}        {text}")
    return "\n".join(lines)


def _channels(both: tuple[Window, Window], size: Pair, channels: Pair, groups: int) -> str:
    taps = f"{both[0].kernel_size}·{both[1].kernel_size}"
    per_group = f"{channels[0]}/{groups}" if groups > 1 else str(channels[0])
    weights, cost = _costs(both, size, channels, groups)
    bias = f"{channels[1]:,} more with a bias"
    transposed = both[0].kind == "transposed"
    height, width = size if transposed else [w.output_size(n) for w, n in zip(both, size, strict=True)]
    return (
        f"{channels[0]} -> {channels[1]} channels\n"
        f"  parameters     {taps}·{per_group}·{channels[1]} = {weights:,}, and {bias}\n"
        f"  multiply-adds  {height}·{width} places times {weights:,} = {cost:,}"
    )


def _costs(both: tuple[Window, Window], size: Pair, channels: Pair, groups: int) -> tuple[int, int]:
    """Return the number of parameters without the bias, and of multiply-adds for one image.

    Args:
        both: windows along height and width.
        size: (height, width) of the input.
        channels: of input and output.
        groups: of channels that are convolved separately.
    """
    names = ("kernel_size", "stride", "padding", "dilation", "output_padding")
    pairs: dict[str, Any] = {name: tuple(getattr(window, name) for window in both) for name in names}
    shared: dict[str, Any] = {"in_channels": channels[0], "out_channels": channels[1], "groups": groups}
    weights = parameters(kernel_size=pairs["kernel_size"], bias=False, **shared)
    return weights, multiply_adds(size, transposed=both[0].kind == "transposed", **pairs, **shared)


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' * (count != 1)}"
