"""Charts of a report as SVG for a page: lines, points with intervals, and grids. Styles are in style.css."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 26, 30, 46  # pixels around the axes
Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """An axis: its title, its ends, and its ticks with their texts."""

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]


def axis(
    title: str, values: Sequence[float], write: Callable[[float], str] = "{:g}".format, *, tight: bool = False
) -> Axis:
    """Return an axis that covers `values`, with about five ticks at round numbers.

    Args:
        title: text at the axis.
        values: at least one finite number.
        write: makes the text of a tick.
        tight: end at the smallest and largest value, else at ticks; all values are then whole numbers.
    """
    low, high = min(values), max(values)
    rough = (high - low or abs(high) or 1.0) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    if tight:
        step = max(1.0, step)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [(n * step, write(round(n * step, 10))) for n in range(first, max(last, first + 1) + 1)]
    if not tight:
        return Axis(title, ticks[0][0], ticks[-1][0], tuple(ticks))
    return Axis(title, low, high, tuple(tick for tick in ticks if low <= tick[0] <= high))


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name for the legend, its points by x, and its CSS class."""

    name: str
    points: tuple[Point, ...]
    style: str


def chart(
    label: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line] = (),
    *,
    mark: tuple[float, str] | None = None,
    bars: Sequence[Sequence[float]] = (),
    diagonal: bool = False,
) -> Markup:
    """Return a chart as an SVG element.

    Args:
        label: text alternative.
        lines: drawn in order, with a legend if they have names.
        mark: x and text of a vertical line.
        bars: (x, y, low, high): points with intervals.
        diagonal: draw the line y = x.
    """
    from markupsafe import Markup

    def at(point: Point) -> Point:
        across = (point[0] - x.low) / (x.high - x.low)
        up = (point[1] - y.low) / (y.high - y.low)
        width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return round(LEFT + width * across, 1), round(HEIGHT - BOTTOM - height * up, 1)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">',
        *(_grid_line(at((x.low, value)), at((x.high, value)), text, "end") for value, text in y.ticks),
        *(_tick(at((value, y.low)), text) for value, text in x.ticks),
    ]
    if diagonal:
        parts.append(_path([at((x.low, y.low)), at((x.high, y.high))], "ideal"))
    if mark is not None:
        foot, top = at((mark[0], y.low)), at((mark[0], y.high))
        anchor = "end" if foot[0] > WIDTH / 2 else "start"
        shift = -6 if anchor == "end" else 6
        parts.append(_path([foot, top], "mark-line"))
        parts.append(_text(foot[0] + shift, foot[1] - 8, mark[1], f"{anchor} strong"))
    for line in lines:
        points = [at(point) for point in line.points if math.isfinite(point[1])]
        parts.append(_path(points, f"line {line.style}"))
        if len(points) <= 30:
            parts += [f'<circle class="{line.style}" cx="{px}" cy="{py}" r="3"/>' for px, py in points]
    for px, py, low, high in bars:
        parts.append(_path([at((px, low)), at((px, high))], "interval"))
        cx, cy = at((px, py))
        parts.append(f'<circle class="first" cx="{cx}" cy="{cy}" r="4.5"/>')
    legend = LEFT
    for line in lines:
        if line.name:
            parts.append(_path([(legend, 12), (legend + 22, 12)], f"line {line.style}"))
            parts.append(_text(legend + 28, 16, line.name, "start"))
            legend += 44 + round(8 * sum(2 if ord(letter) > 0x2E80 else 1 for letter in line.name))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x.title, "middle"))
    parts.append(
        _text(LEFT if legend == LEFT else WIDTH - RIGHT, 16, y.title, "start" if legend == LEFT else "end")
    )
    return Markup("".join([*parts, "</svg>"]))


def grid(
    label: str,
    values: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]] | None = None,
    marked: Point | None = None,
) -> Markup:
    """Return a grid of cells as an SVG element, with a stronger color for larger values.

    Args:
        label: text alternative.
        values: rows of values, 0 to 1, for the color.
        texts: rows of texts in the cells; None for none.
        marked: row and column of a cell with a frame.
    """
    from markupsafe import Markup

    rows, columns = len(values), len(values[0])
    side = 320 / max(rows, columns)
    box = f"-1 -1 {columns * side + 2:g} {rows * side + 2:g}"
    parts = [f'<svg class="grid" viewBox="{box}" role="img" aria-label="{escape(label)}">']
    for row in range(rows):
        for column in range(columns):
            shade = round(8 * min(1.0, max(0.0, values[row][column])))
            parts.append(_cell(f"shade{shade}", row, column, side))
            if texts is not None and texts[row][column]:
                parts.append(
                    _text((column + 0.5) * side, (row + 0.5) * side + 4, texts[row][column], "middle")
                )
    if marked is not None:
        parts.append(_cell("framed", marked[0], marked[1], side))
    return Markup("".join([*parts, "</svg>"]))


def _cell(style: str, row: float, column: float, side: float) -> str:
    corner = f'x="{column * side:.1f}" y="{row * side:.1f}"'
    return f'<rect class="{style}" {corner} width="{side:.1f}" height="{side:.1f}"/>'


def _grid_line(start: Point, end: Point, text: str, anchor: str) -> str:
    return _path([start, end], "rule") + _text(start[0] - 7, start[1] + 4, text, anchor)


def _tick(at: Point, text: str) -> str:
    return _text(at[0], at[1] + 18, text, "middle")


def _path(points: Sequence[Point], style: str) -> str:
    return f'<polyline class="{style}" points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(text)}</text>'
