"""Accuracy against the measured time of a training step, with names placed at their points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.lab.results.variant_result import VariantResult

from .names import LETTERS, MAX_NAME_WIDTH, broken, narrow, short_names, widest
from .page import (
    AXIS_HEIGHT,
    PAD,
    WIDTH,
    Entry,
    add_axes,
    color_of,
    draw_legend,
    legend_lines,
    limits,
    name_axes,
    new_page,
    put_lines,
    show_message,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COST_HEIGHT = 240.0  # points
MAX_NAME_DISTANCE = 9.0  # points from a name to its point
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Box:
    """Rectangle in points."""

    left: float
    bottom: float
    right: float
    top: float

    def raised(self, by: float) -> Box:
        """Return the rectangle higher by that many points."""
        return Box(self.left, self.bottom + by, self.right, self.top + by)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the rectangle that is nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


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
    (x_low, x_high), (y_low, y_high) = limits(times, 0.15), limits(ends, 0.1)
    area = Box(38, 0, WIDTH - PAD, COST_HEIGHT)
    x_scale = (area.right - area.left) / (x_high - x_low)
    y_scale = COST_HEIGHT / (y_high - y_low)
    points = [
        (area.left + (t - x_low) * x_scale, (m - y_low) * y_scale) for t, m in zip(times, means, strict=True)
    ]
    bars = [s * y_scale for s in spreads]
    names = [short_names(variants)[i] for i, _ in shown]
    for labels in ([broken(name, MAX_NAME_WIDTH) for name in names], [*map(narrow, names)]):
        placed = _place(labels, points, bars, area, MAX_NAME_DISTANCE)
        if None not in placed:
            break
    styles: list[dict[str, Any]] = [
        {"color": color_of(i), "marker": MARKERS[i % len(MARKERS)]} for i, _ in shown
    ]
    legend: list[list[Entry]] = []
    if None in placed:
        labels = [[str(number)] for number in range(1, len(shown) + 1)]
        placed = _place(labels, points, bars, area, math.inf)
        legend = legend_lines(
            (f"{number}  {name}", {"linestyle": "", "markersize": 4, **style})
            for number, (name, style) in enumerate(zip(names, styles, strict=True), start=1)
        )
    below = AXIS_HEIGHT + LETTERS.leading * (1 + len(legend)) + PAD
    figure, page = new_page(below + COST_HEIGHT + PAD)
    axes = add_axes(figure, area.left, below, area.right, below + area.top)
    axes.set(xlim=(x_low, x_high), ylim=(y_low, y_high))
    if not shown:
        show_message(axes, "no training is finished yet")
    for time, accuracy, spread, style in zip(times, means, spreads, styles, strict=True):
        axes.errorbar(time, accuracy, spread or None, markersize=5, capsize=2, linewidth=0.9, **style)
    for lines, box, (x, y) in zip(labels, placed, points, strict=True):
        if box is not None:
            _put_label(page, lines, box.raised(below), x, y + below)
    name_axes(
        page, axes, "ms a training step, measured", "test accuracy, % (bar: ± standard deviation over seeds)"
    )
    draw_legend(page, legend)
    return figure


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
    for row in sorted(range(len(labels)), key=lambda row: -widest(labels[row])):
        lines, (x, y) = labels[row], points[row]
        width, height = widest(lines) + 2, LETTERS.leading * len(lines)
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


def _put_label(page: Axes, lines: Sequence[str], box: Box, x: float, y: float) -> None:
    """Write a name into its box, with a line to its point (x, y) if that is not close."""
    end = box.nearest(x, y)
    if math.dist(end, (x, y)) > MAX_NAME_DISTANCE:
        page.plot(*zip((x, y), end, strict=True), color="0.6", linewidth=0.5, zorder=2)
    align = "right" if box.right < x else "left" if box.left > x else "center"
    at = {"left": box.left, "right": box.right, "center": (box.left + box.right) / 2}[align]
    put_lines(page, at, (box.bottom + box.top) / 2, lines, align)
