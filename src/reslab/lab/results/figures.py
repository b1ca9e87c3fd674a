"""Figures of a comparison: forest plot, validation curves, and accuracy against step time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.inspection.drawing.paint import BLACK, DARK_GREY, FONT, Lettering
from reslab.text import printable

from .sentences import decimals, difference_text, is_known, margin_text, verdict_text
from .variant_result import VariantResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 482.0  # points: 170 mm, the width of a page
LETTERS = Lettering(7.5)
PAD = 6.0
MAX_NAME_WIDTH, MAX_VERDICT_WIDTH = 150.0, 78.0
AXIS_HEIGHT = 2.6 * LETTERS.leading  # of tick labels and the axis' name
MIN_ROW_HEIGHT = 28.0
CURVES_HEIGHT, COST_HEIGHT = 230.0, 240.0
MAX_NAME_DISTANCE = 9.0  # of a name from its point, in the figure of costs
MAX_REACH = 2.5  # ends of intervals are drawn up to this multiple of the farthest seed
SAMPLE = 17.0  # width of a line in the legend
BAND = "#e3e6ea"
# Okabe and Ito 2008, "Color universal design". Lines differ, too, for print in gray.
COLORS = ("#1a1a1a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))
MARKERS = "osD^vPX"
FAILED: dict[str, Any] = {
    "marker": "x",
    "linestyle": "",
    "markersize": 4,
    "markeredgewidth": 1.2,
    "zorder": 4,
}
VERDICT_COLORS = {"better": "#0072b2", "worse": "#c04a00", "equivalent": "#00795a"}


@dataclass(frozen=True)
class Box:
    """Rectangle in points."""

    left: float
    bottom: float
    right: float
    top: float

    def raised(self, by: float) -> Box:
        return Box(self.left, self.bottom + by, self.right, self.top + by)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the rectangle that is nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


def draw_forest(variants: Sequence[VariantResult], margin: float) -> Figure:
    """Return the forest plot: a row for each variant but the baseline.

    A row has the differences of single seeds as dots, the 95 % interval for new seeds and new photos as a
    thick line, that for these photos as a thin line, and the verdict. A gray band is the margin.

    Args:
        variants: the baseline, then the others.
        margin: difference of accuracy that does not matter, 0 to 1.
    """
    baseline, *others = variants
    places = decimals(variants)
    names = [_lines(name, MAX_NAME_WIDTH) for name in _names(variants)[1:]]
    verdicts = [_wrapped(verdict_text(variant), MAX_VERDICT_WIDTH) for variant in others]
    numbers = [
        difference_text(v.difference, places).replace("-", "−") if v.difference else "" for v in others
    ]
    heights = [
        max(MIN_ROW_HEIGHT, 8 + LETTERS.leading * max(map(len, row)))
        for row in zip(names, verdicts, strict=True)
    ]
    name_width = _widest(line for lines in names for line in lines)
    number_width = _widest([*numbers, "points [95 %]"])
    verdict_width = _widest([*(line for lines in verdicts for line in lines), "verdict"])
    left = PAD + name_width + PAD
    right = WIDTH - PAD - verdict_width - 2 * PAD - number_width - 2 * PAD
    title = _lines(f"points of accuracy gained on {_names(variants)[0]}", right - left)
    legend = _flowed(
        (
            ("95 %, new seeds and new photos", {"linewidth": 3.6}),
            ("95 %, new seeds, these photos", {"linewidth": 0.9}),
            ("one seed", {"linestyle": "", "marker": "o", "markersize": 3, "alpha": 0.6}),
            (f"margin ±{margin_text(margin)}", {"linewidth": 8, "color": BAND}),
        )
    )
    rows = sum(heights) or MIN_ROW_HEIGHT
    below = AXIS_HEIGHT + LETTERS.leading * (len(title) + len(legend)) + PAD
    figure, page = _page(rows + below + 2 * LETTERS.leading)
    axes = _axes(figure, Box(left, below, right, below + rows))
    axes.set(ylim=(rows, 0), yticks=[])
    axes.spines["left"].set_visible(False)
    head = below + rows + 1.5 * LETTERS.leading
    seeds = {v.name: _gains(v, baseline) for v in others}
    low, high = _reach(others, seeds, margin)
    axes.set_xlim(low, high)
    zero = left + (right - left) * -low / (high - low)
    LETTERS.put(page, zero - 4, head, "← worse", "right", color=DARK_GREY)
    LETTERS.put(page, zero + 4, head, "better →", "left", color=DARK_GREY)
    if others:
        LETTERS.put(page, right + 2 * PAD + number_width, head, "points [95 %]", "right", color=DARK_GREY)
        LETTERS.put(page, WIDTH - PAD - verdict_width, head, "verdict", "left", color=DARK_GREY)
    else:
        LETTERS.put(page, (left + right) / 2, below + rows / 2, "no other variant yet")
    axes.axvspan(-100 * margin, 100 * margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=DARK_GREY, linewidth=0.7, zorder=1)
    y = 0.0
    for variant, lines, number, verdict, height in zip(
        others, names, numbers, verdicts, heights, strict=True
    ):
        middle, color = y + height / 2, _verdict_color(variant)
        _draw_row(axes, variant, seeds[variant.name], middle, color)
        if y:
            page.plot([PAD, WIDTH - PAD], [below + rows - y] * 2, color="0.9", linewidth=0.5, zorder=0)
        top = below + rows - middle
        _put_lines(page, PAD, top, lines)
        _put_lines(page, right + 2 * PAD + number_width, top, [number], "right")
        _put_lines(page, WIDTH - PAD - verdict_width, top, verdict, color=color)
        y += height
    _put_lines(
        page, (left + right) / 2, below - AXIS_HEIGHT / 2 - LETTERS.leading * len(title) / 2, title, "center"
    )
    _draw_legend(page, legend, PAD / 2 + LETTERS.leading * len(legend))
    return figure


def draw_curves(variants: Sequence[VariantResult]) -> Figure:
    """Return the validation accuracy after each epoch: a thin line for each seed, a thick one for the mean.

    The mean is over the finished cells. The curve of a failed cell ends in a cross.
    """
    from matplotlib.ticker import MaxNLocator

    failed = [(i, cell) for i, variant in enumerate(variants) for cell in variant.failures]
    entries = [(name, {"linewidth": 2.0, **_line(i)}) for i, name in enumerate(_names(variants))]
    legend = _flowed([*entries, *[("failed", FAILED)][: len(failed)]])
    below = AXIS_HEIGHT + LETTERS.leading * (1 + len(legend)) + PAD
    figure, page = _page(CURVES_HEIGHT + below)
    axes = _axes(figure, Box(38, below, WIDTH - PAD, below + CURVES_HEIGHT - PAD))
    for i, variant in enumerate(variants):
        finished = [cell.val_accuracies for cell in variant.cells if cell.accuracy is not None]
        for cell in variant.cells:
            percents = [100 * accuracy for accuracy in cell.val_accuracies]
            axes.plot(_epochs(percents), percents, color=_color(i), linewidth=0.5, alpha=0.35, zorder=2)
        length = min(map(len, finished), default=0)
        means = [100 * mean(curve[epoch] for curve in finished) for epoch in range(length)]
        marker = "o" if length == 1 else ""
        axes.plot(_epochs(means), means, linewidth=2.0, zorder=3, marker=marker, **_line(i))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    curves = [cell.val_accuracies for variant in variants for cell in variant.cells]
    early = max(map(len, curves), default=0) // 5
    late = [100 * accuracy for curve in curves for accuracy in curve[early:]]
    if late:  # the first epochs would press the others together
        axes.set_ylim(_limits(late, 0.05))
    else:
        _empty(axes, "no epoch is finished yet")
    for i, cell in failed:
        if cell.val_accuracies:
            last = max(100 * cell.val_accuracies[-1], axes.get_ylim()[0])
            axes.plot(len(cell.val_accuracies), last, color=_color(i), clip_on=False, **FAILED)
    _name_axes(page, axes, "epoch", "validation accuracy, %")
    _draw_legend(page, legend, PAD / 2 + LETTERS.leading * len(legend))
    return figure


def draw_cost(variants: Sequence[VariantResult]) -> Figure:
    """Return the accuracy against the measured time of a training step.

    A bar is one standard deviation over seeds in both directions. Each name is at its point. Where names have
    no room, points have numbers and the names are below.
    """
    shown = [(i, v) for i, v in enumerate(variants) if v.accuracies]
    times = [1000 * v.seconds_per_step for _, v in shown]
    means = [100 * mean(v.accuracies) for _, v in shown]
    spreads = [100 * stdev(v.accuracies) if len(v.accuracies) > 1 else 0.0 for _, v in shown]
    ends = [m + sign * s for m, s in zip(means, spreads, strict=True) for sign in (-1, 1)]
    (x_low, x_high), (y_low, y_high) = _limits(times, 0.15), _limits(ends, 0.1)
    area = Box(38, 0, WIDTH - PAD, COST_HEIGHT)
    x_scale = (area.right - area.left) / (x_high - x_low)
    y_scale = COST_HEIGHT / (y_high - y_low)
    points = [
        (area.left + (t - x_low) * x_scale, (m - y_low) * y_scale) for t, m in zip(times, means, strict=True)
    ]
    bars = [s * y_scale for s in spreads]
    names = [_names(variants)[i] for i, _ in shown]
    for labels in ([_lines(name, MAX_NAME_WIDTH) for name in names], [*map(_narrow, names)]):
        placed = _place(labels, points, bars, area, MAX_NAME_DISTANCE)
        if None not in placed:
            break
    styles: list[dict[str, Any]] = [
        {"color": _color(i), "marker": MARKERS[i % len(MARKERS)]} for i, _ in shown
    ]
    legend: list[list[tuple[str, dict[str, Any]]]] = []
    if None in placed:
        labels = [[str(number)] for number in range(1, len(shown) + 1)]
        placed = _place(labels, points, bars, area, math.inf)
        legend = _flowed(
            (f"{number}  {name}", {"linestyle": "", "markersize": 4, **style})
            for number, (name, style) in enumerate(zip(names, styles, strict=True), start=1)
        )
    below = AXIS_HEIGHT + LETTERS.leading * (1 + len(legend)) + PAD
    figure, page = _page(below + COST_HEIGHT + PAD)
    axes = _axes(figure, area.raised(below))
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high))
    if not shown:
        _empty(axes, "no training is finished yet")
    for time, accuracy, spread, style in zip(times, means, spreads, styles, strict=True):
        axes.errorbar(time, accuracy, spread or None, markersize=5, capsize=2, linewidth=0.9, **style)
    for lines, box, (x, y) in zip(labels, placed, points, strict=True):
        if box is not None:
            _put_label(page, lines, box.raised(below), x, y + below)
    _name_axes(
        page, axes, "ms a training step, measured", "test accuracy, % (bar: ± standard deviation over seeds)"
    )
    _draw_legend(page, legend, PAD / 2 + LETTERS.leading * len(legend))
    return figure


def _put_label(page: Axes, lines: Sequence[str], box: Box, x: float, y: float) -> None:
    """Write a name into its box, with a line to its point (x, y) if that is not close."""
    end = box.nearest(x, y)
    if math.dist(end, (x, y)) > MAX_NAME_DISTANCE:
        page.plot(*zip((x, y), end, strict=True), color="0.6", linewidth=0.5, zorder=2)
    align = "right" if box.right < x else "left" if box.left > x else "center"
    at = {"left": box.left, "right": box.right, "center": (box.left + box.right) / 2}[align]
    _put_lines(page, at, (box.bottom + box.top) / 2, lines, align)


def _draw_row(axes: Axes, variant: VariantResult, gains: Sequence[float], y: float, color: str) -> None:
    """Draw the intervals and the seeds of a variant, with the thick line a little above y."""
    difference = variant.difference
    if difference is None:
        return
    axes.plot(
        gains, [y + 6.5] * len(gains), "o", color=color, markersize=3, alpha=0.6, markeredgewidth=0, zorder=3
    )
    for interval, at, width in (
        (difference.interval, y - 4, 3.6),
        (difference.interval_same_photos, y + 1.2, 0.9),
    ):
        if is_known(interval):
            ends = [100 * interval.low, 100 * interval.high]
            axes.plot(ends, [at, at], color=color, linewidth=width, solid_capstyle="butt", zorder=2)
            for end, limit, arrow in zip(ends, axes.get_xlim(), "<>", strict=True):
                if (end < limit) if arrow == "<" else (end > limit):
                    axes.plot(limit, at, arrow, color=color, markersize=width + 1.5, clip_on=False, zorder=4)
    middle = 100 * difference.difference
    axes.plot(middle, y - 4, "D", color="white", markeredgecolor=color, markersize=4.2, zorder=5)


def _gains(variant: VariantResult, baseline: VariantResult) -> list[float]:
    """Return the differences in points of the seeds that both variants have finished."""
    other = {cell.seed: cell.accuracy for cell in baseline.cells if cell.accuracy is not None}
    return [
        100 * (c.accuracy - other[c.seed])
        for c in variant.cells
        if c.accuracy is not None and c.seed in other
    ]


def _reach(
    others: Sequence[VariantResult], seeds: dict[str, list[float]], margin: float
) -> tuple[float, float]:
    """Return the limits of the forest plot, in points. Wide intervals of few seeds are cut."""
    inner = [0.0, 150 * margin, -150 * margin, *(gain for gains in seeds.values() for gain in gains)]
    most = MAX_REACH * max(map(abs, inner)) or 1.0
    ends = [
        end
        for v in others
        if v.difference
        for interval in (v.difference.interval, v.difference.interval_same_photos)
        if is_known(interval)
        for end in (100 * interval.low, 100 * interval.high)
    ]
    inner += [min(max(end, -most), most) for end in ends]
    low, high = min(inner), max(inner)
    pad = 0.04 * (high - low) or 1.0
    return low - pad, high + pad


def _verdict_color(variant: VariantResult) -> str:
    difference = variant.difference
    return VERDICT_COLORS.get(difference.verdict or "", DARK_GREY) if difference else DARK_GREY


def _place(
    labels: Sequence[Sequence[str]],
    points: Sequence[tuple[float, float]],
    bars: Sequence[float],
    area: Box,
    reach: float,
) -> list[Box | None]:
    """Return a free box for each label, as close to its point as others allow; None without room.

    Args:
        labels: lines of each label.
        points: of the labels, in points.
        bars: half the length of the bar through each point; labels do not cover it.
        area: limits of the boxes.
        reach: longest distance of a box from its point.
    """
    taken = [Box(x - 4, y - max(4, b), x + 4, y + max(4, b)) for (x, y), b in zip(points, bars, strict=True)]
    placed: list[Box | None] = [None] * len(labels)
    for row in sorted(range(len(labels)), key=lambda row: -_widest(labels[row])):
        lines, (x, y) = labels[row], points[row]
        width, height = _widest(lines) + 2, LETTERS.leading * len(lines)
        columns, rows = np.arange(area.left, area.right - width, 2), np.arange(0, area.top - height, 2)
        lefts, bottoms = (grid.ravel() for grid in np.meshgrid(columns, rows))
        far_x = np.maximum(0, np.maximum(lefts - x, x - lefts - width))
        far_y = np.maximum(0, np.maximum(bottoms - y, y - bottoms - height))
        distance = np.hypot(far_x, far_y)
        # a label is best level with its point, and to the right of it
        cost = distance + 0.1 * abs(bottoms + height / 2 - y) + 2.0 * (lefts < x)
        cost[distance > reach] = np.inf
        for box in taken:
            aside = (lefts >= box.right) | (lefts + width <= box.left)
            cost[~(aside | (bottoms >= box.top) | (bottoms + height <= box.bottom))] = np.inf
        if not np.isfinite(cost).any():
            continue
        best = int(np.argmin(cost))
        left, bottom = float(lefts[best]), float(bottoms[best])
        found = Box(left, bottom, left + width, bottom + height)
        taken.append(found)
        if distance[best] > MAX_NAME_DISTANCE:
            line = np.linspace((x, y), found.nearest(x, y), 30)
            taken += [Box(u - 1, v - 1, u + 1, v + 1) for u, v in line.tolist()]
        placed[row] = found
    return placed


def _limits(values: Sequence[float], pad: float) -> tuple[float, float]:
    """Return the range of the values with a fraction of it added at both ends."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = pad * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _page(height: float) -> tuple[Figure, Axes]:
    """Return a figure of WIDTH points and axes that cover it, in points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure((WIDTH / 72, height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height), zorder=5)
    page.set_axis_off()
    return figure, page


def _axes(figure: Figure, area: Box) -> Axes:
    """Return axes for data in an area of the page, with a grid and small ticks."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    axes = figure.add_axes(
        (
            area.left / width,
            area.bottom / height,
            (area.right - area.left) / width,
            (area.top - area.bottom) / height,
        )
    )
    axes.set_facecolor("none")
    axes.tick_params(labelsize=LETTERS.size - 0.5, width=0.6, length=2.5, labelfontfamily=FONT)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)
    return axes


def _name_axes(page: Axes, axes: Axes, x: str, y: str) -> None:
    box, height = axes.get_position(), page.get_ylim()[1]
    middle, bottom = WIDTH * (box.x0 + box.x1) / 2, height * box.y0
    LETTERS.put(page, middle, bottom - AXIS_HEIGHT / 2 - 2, x)
    style: dict[str, Any] = {"rotation": 90, "va": "center"}
    page.text(
        PAD,
        height * (box.y0 + box.y1) / 2,
        y,
        ha="left",
        family=FONT,
        size=LETTERS.size,
        color=BLACK,
        **style,
    )


def _epochs(curve: Sequence[float]) -> range:
    return range(1, len(curve) + 1)


def _empty(axes: Axes, message: str) -> None:
    axes.set(xticks=[], yticks=[])
    style: dict[str, Any] = {"family": FONT, "size": LETTERS.size, "color": DARK_GREY}
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", **style)


def _color(index: int) -> str:
    """Return black for the baseline, else one of six colors."""
    return COLORS[1 + (index - 1) % (len(COLORS) - 1)] if index else COLORS[0]


def _line(index: int) -> dict[str, Any]:
    return {"color": _color(index), "linestyle": LINES[(index + index // 12) % len(LINES)]}


def _flowed(entries: Iterable[tuple[str, dict[str, Any]]]) -> list[list[tuple[str, dict[str, Any]]]]:
    """Return the entries of a legend in lines that fit the page. A long name goes on in the next line."""
    lines: list[list[tuple[str, dict[str, Any]]]] = [[]]
    x = PAD
    for text, style in entries:
        first, *rest = _lines(text, WIDTH - 2 * PAD - SAMPLE - 4)
        width = SAMPLE + 4 + _width(first) + 14
        if lines[-1] and (x + width > WIDTH or rest):
            lines.append([])
            x = PAD
        lines[-1].append((first, style))
        x += width
        for line in rest:
            lines.append([(line, {})])
            x = WIDTH
    return lines


def _draw_legend(page: Axes, lines: Sequence[Sequence[tuple[str, dict[str, Any]]]], top: float) -> None:
    for row, entries in enumerate(lines):
        x, y = PAD, top - LETTERS.leading * row
        for text, style in entries:
            sample: dict[str, Any] = {
                "color": DARK_GREY,
                "solid_capstyle": "butt",
                "markeredgewidth": 0,
            } | style
            if style:
                middle = y - LETTERS.leading * 0.42
                xs = [x, x + SAMPLE] if not style.get("marker") else [x + SAMPLE / 2]
                page.plot(xs, [middle] * len(xs), **sample)
            LETTERS.put(page, x + SAMPLE + 4, y, text, "left")
            x += SAMPLE + 4 + _width(text) + 14


def _put_lines(
    page: Axes, x: float, middle: float, lines: Sequence[str], align: str = "left", color: str = BLACK
) -> None:
    top = middle + LETTERS.leading * len(lines) / 2 - 1
    for row, line in enumerate(lines):
        LETTERS.put(page, x, top - LETTERS.leading * row, line, align, color=color)


def _names(variants: Sequence[VariantResult]) -> list[str]:
    """Return the names, without folders of files if they differ without."""
    names = [variant.name for variant in variants]
    short = [re.sub(r"[^:]*/", "", name) for name in names]
    return short if len(set(short)) == len(set(names)) else names


@cache
def _width(text: str) -> float:
    return LETTERS.width(text)


def _widest(lines: Iterable[str]) -> float:
    return max(map(_width, lines), default=0.0)


def _wrapped(text: str, width: float) -> list[str]:
    """Return a text in lines of at most `width` points, broken at spaces."""
    return _joined(text.split(" "), width, " ")


def _lines(name: str, width: float) -> list[str]:
    """Return a name in lines of at most `width` points, broken after punctuation, else within a word."""
    parts: list[str] = []
    for part in _parts(name):
        while _width(part) > width:
            fits = next(n for n in range(len(part) - 1, 0, -1) if n == 1 or _width(part[:n]) <= width)
            parts.append(part[:fits])
            part = part[fits:]  # noqa: PLW2901
        parts.append(part)
    return [line.strip() for line in _joined(parts, width, "")]


def _narrow(name: str) -> list[str]:
    """Return a name in lines as short as its words allow."""
    return _lines(name, _widest(_parts(name)))


def _parts(name: str) -> list[str]:
    """Return the words of a name, each with its punctuation."""
    return re.findall(r"[^/:_.,= -]+[/:_.,= -]*|[/:_.,= -]+", _drawable(name))


def _joined(parts: Sequence[str], width: float, between: str) -> list[str]:
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]}{between}{part}"
        if _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def _drawable(name: str) -> str:
    """Return a name with a box for each letter that the font lacks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=FONT)))
    return "".join(c if font.get_char_index(ord(c)) else "□" for c in printable(name))
