"""One convolution explained: the formula step by step, what is never seen, where the kernel stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .arithmetic import Window, multiply_adds, parameters
from .formula import left_out, left_side, number, settings

Pair = tuple[int, int]


def explain(
    both: tuple[Window, Window], size: Pair, channels: Pair | None = None, groups: int = 1, width: int = 80
) -> str:
    """The whole answer for people, at most `width` columns wide where that is possible."""
    parts = [_heading(both, size)]
    same = both[0] == both[1] and size[0] == size[1]
    for axis, name in ((0, ""),) if same else ((0, "height"), (1, "width")):
        window, n = both[axis], size[axis]
        steps = _steps(window, n)
        parts.append("\n".join(([f"{name}:"] if name else []) + steps))
        drawn = sketch(window, n, width)
        if drawn:
            parts.append(drawn)
        parts.append("\n".join(_edge(window, n) + _paddings(window, n)))
    if channels:
        parts.append(_channels(both, size, channels, groups))
    return "\n\n".join(parts)


def facts(
    both: tuple[Window, Window], size: Pair, channels: Pair | None = None, groups: int = 1
) -> dict[str, Any]:
    """The same for programs. What there is one of for height and width is a list of two."""
    axes = list(zip(both, size, strict=True))
    sizes = [window.output_size(n) for window, n in axes]
    sliding = both[0].kind != "transposed"
    out: dict[str, Any] = {
        "kind": both[0].kind,
        "input": list(size),
        "output": sizes,
        "formula": f"{left_side(both, size)} = {number(sizes)}",
        "never_seen": [w.seen(n).count(0) for w, n in axes] if sliding else None,
        "padding_same": [padding_for(n, n, w, 1) for w, n in axes] if sliding else None,
        "padding_half": [padding_for(n, -(-n // 2), w, 2) for w, n in axes] if sliding else None,
    }
    if channels:
        out["parameters"] = _parameters(both, channels, groups)
        out["multiply_adds"] = _multiply_adds(both, size, channels, groups)
    return out


def padding_for(size: int, target: int, window: Window, stride: int) -> int | None:
    """The least padding with which this kernel, at `stride`, makes `target` of `size` pixels, if any does."""
    lacking = (target - 1) * stride + window.extent - size
    padding = max(0, -(-lacking // 2))
    too_much = window.kind == "pooling" and padding > window.kernel_size // 2
    fits = (size + 2 * padding - window.extent) // stride + 1 == target
    return padding if fits and not too_much else None


def sketch(window: Window, size: int, width: int = 80) -> str:
    """Where the kernel stands, a row for each position; both ends of it where the axis is too long.

    For a transposed convolution: which outputs each input pixel is added to.
    """
    transposed = window.kind == "transposed"
    positions = size if transposed else window.output_size(size)
    shown = window.output_size(size) if transposed else size
    starts = range(-window.padding, positions * window.stride - window.padding, window.stride)
    end = max(shown + window.both_paddings - window.padding, starts[-1] + window.extent)
    cell = max(2, len(str(shown - 1)) + 1)
    label = len(f"output {positions - 1}") + 2
    room = (width - label) // cell
    rows: Sequence[int] = range(positions)
    columns: Sequence[int | None] = range(-window.padding, end)
    if len(columns) > room or positions > 24:
        rows, columns = _ends(starts, window.extent, end, room - 1)
    if not columns:
        return ""
    lines = [" " * label + "".join(_name(c, shown).rjust(cell) if c is not None else " ⋯" for c in columns)]
    what = "input" if transposed else "output"
    last = -1
    for row in rows:
        if row != last + 1:
            lines.append("⋮")
        drawn = "".join(_tap(window, starts[row], c, cell) for c in columns)
        lines.append((f"{what} {row}".ljust(label) + drawn).rstrip())
        last = row
    seen = bytearray() if transposed else window.seen(size)
    marks = ["✗" if c is not None and 0 <= c < len(seen) and not seen[c] else "" for c in columns]
    if any(marks):
        lines.append(("never".ljust(label) + "".join(m.rjust(cell) for m in marks)).rstrip())
    return "\n".join(lines)


def _ends(starts: Sequence[int], extent: int, end: int, room: int) -> tuple[list[int], list[int | None]]:
    """Some positions at the beginning and some at the end of a long axis, and the pixels under them."""
    for many in (3, 2, 1):
        if len(starts) < 2 * many:
            continue
        left = range(starts[0], starts[many - 1] + extent)
        right = range(starts[-many], end)
        if len(left) + len(right) <= room and left[-1] < right[0]:
            rows = [*range(many), *range(len(starts) - many, len(starts))]
            return rows, [*left, None, *right]
    return [], []


def _name(pixel: int, size: int) -> str:
    return str(pixel) if 0 <= pixel < size else "░"


def _tap(window: Window, start: int, pixel: int | None, cell: int) -> str:
    if pixel is None:
        return "  "
    offset = pixel - start
    if not 0 <= offset < window.extent:
        return " " * cell
    before = " " if offset == 0 else "─"
    return before * (cell - 1) + ("■" if offset % window.dilation == 0 else "─")


def _heading(both: tuple[Window, Window], size: Pair) -> str:
    height, width = both
    what = {"convolution": "convolution", "transposed": "transposed convolution", "pooling": "pooling"}
    sizes = [window.output_size(n) for window, n in zip(both, size, strict=True)]
    return f"{what[height.kind]} {settings(both)}:  {size[0]}x{size[1]} -> {sizes[0]}x{sizes[1]}"


def _steps(window: Window, n: int) -> list[str]:
    """The formula, line by line."""
    k, s, d = window.kernel_size, window.stride, window.dilation
    names = f"n = {n} pixels, k = {k} kernel, s = {s} stride, p = {window.padding} padding"
    names += f", d = {d} dilation" * (d > 1)
    if window.kind == "transposed":
        reach = "d·(k - 1) + 1" if d > 1 else "k"
        extra = window.output_padding
        names += f", o = {extra} output padding" * bool(extra)
        lines = [f"(n - 1)·s - 2·p + {reach}{' + o' * bool(extra)}", left_side((window, window), (n, n))]
        lines.append(f"{(n - 1) * s} - {2 * window.padding} + {window.extent}{f' + {extra}' * bool(extra)}")
        return [f"  {names}", "", *_chain([*lines, str(window.output_size(n))])]
    left, right = "⌈⌉" if window.ceil_mode else "⌊⌋"
    reach = "d·(k - 1) - 1" if d > 1 else "k"
    spare = n + window.both_paddings - window.extent
    one = " + 1 - 1" if left_out(window, n) else " + 1"
    lines = [f"{left}(n + 2·p - {reach})/s{right}{one}", left_side((window, window), (n, n))]
    rounded = -(-spare // s) if window.ceil_mode else spare // s
    if s > 1:
        lines += [f"{left}{spare}/{s}{right}{one}", f"{left}{spare / s:.10g}{right}{one}"]
    lines += [f"{rounded}{one}", str(window.output_size(n))]
    chain = _chain(lines)
    if spare % s:
        rest = spare % s
        word = "ceiling goes one step further" if window.ceil_mode else f"floor leaves {_pixels(rest)} over"
        chain[3] = f"{chain[3]:<36}the {word}"
    if left_out(window, n):
        chain.append("  - 1, since the last window would begin beyond the last pixel")
    return [f"  {names}", "", *chain]


def _chain(lines: Sequence[str]) -> list[str]:
    return [f"  {'output' if i == 0 else '      '} = {line}" for i, line in enumerate(lines)]


def _edge(window: Window, n: int) -> list[str]:
    if window.kind == "transposed":
        cut = window.both_paddings
        if not cut:
            return []
        return [f"padding     cuts {window.padding} off either side (░): here it is a crop, not a border"]
    seen = window.seen(n)
    after = n - 1 - seen.rfind(1)
    between = seen.count(0) - after
    words = [f"{_pixels(after)} at the far edge"] * bool(after)
    words += [f"{_pixels(between)} in between, stepped over"] * bool(between)
    return [f"never seen  {' and '.join(words) or 'no pixel: every one is under the kernel at least once'}"]


def _paddings(window: Window, n: int) -> list[str]:
    """The paddings that keep the size and that halve it."""
    if window.kind == "transposed":
        return []
    lines = []
    for name, stride, target in (("same", 1, n), ("half", 2, -(-n // 2))):
        padding = padding_for(n, target, window, stride)
        if padding is None:
            why = _why_no_padding(window, n, target, stride)
            lines.append(f"{name}        no even padding gives {target} at stride {stride}; {why}")
            continue
        mine = window.stride == stride and window.padding == padding and not window.ceil_mode
        lines.append(
            f"{name}        padding {padding} at stride {stride} makes {n} -> {target}"
            + "   <- this one" * mine
        )
    return lines


def _why_no_padding(window: Window, n: int, target: int, stride: int) -> str:
    if padding_for(n, target, replace(window, kind="convolution"), stride) is not None:
        return "pooling has no more than half its kernel"
    total = window.extent - 1
    return f"{total // 2} before and {total - total // 2} after would do"


def _channels(both: tuple[Window, Window], size: Pair, channels: Pair, groups: int) -> str:
    taps = f"{both[0].kernel_size}·{both[1].kernel_size}"
    into = f"{channels[0]}/{groups}" if groups > 1 else str(channels[0])
    count = _parameters(both, channels, groups)
    transposed = both[0].kind == "transposed"
    height, width = size if transposed else [w.output_size(n) for w, n in zip(both, size, strict=True)]
    cost = _multiply_adds(both, size, channels, groups)
    return "\n".join(
        [
            f"{channels[0]} -> {channels[1]} channels",
            f"  parameters     {taps}·{into}·{channels[1]} = {count:,}, and {channels[1]:,} more with a bias",
            f"  multiply-adds  {height}·{width} places times {count:,} = {cost:,}",
        ]
    )


def _parameters(both: tuple[Window, Window], channels: Pair, groups: int) -> int:
    kernel = (both[0].kernel_size, both[1].kernel_size)
    return parameters(
        in_channels=channels[0], out_channels=channels[1], kernel_size=kernel, groups=groups, bias=False
    )


def _multiply_adds(both: tuple[Window, Window], size: Pair, channels: Pair, groups: int) -> int:
    names = ("kernel_size", "stride", "padding", "dilation", "output_padding")
    pairs: dict[str, Any] = {name: tuple(getattr(w, name) for w in both) for name in names}
    return multiply_adds(
        size,
        in_channels=channels[0],
        out_channels=channels[1],
        groups=groups,
        transposed=both[0].kind == "transposed",
        **pairs,
    )


def _pixels(count: int) -> str:
    return f"{count} pixel{'s' * (count != 1)}"
