"""Validation accuracy after each epoch, for every seed and in the mean."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

from reslab.lab.results.variant_result import VariantResult

from .names import LETTERS, short_names
from .page import (
    AXIS_HEIGHT,
    PAD,
    WIDTH,
    add_axes,
    color_of,
    draw_legend,
    legend_lines,
    limits,
    line_style,
    name_axes,
    new_page,
    show_message,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CURVES_HEIGHT = 230.0  # points
FAILED: dict[str, Any] = {
    "marker": "x",
    "linestyle": "",
    "markersize": 4,
    "markeredgewidth": 1.2,
    "zorder": 4,
}


def draw_curves(variants: Sequence[VariantResult]) -> Figure:
    """Return the validation accuracy after each epoch: a thin line for each seed, a thick one for the mean.

    The mean is over the finished cells. The curve of a failed cell ends in a cross.
    """
    from matplotlib.ticker import MaxNLocator

    failed = [(i, cell) for i, variant in enumerate(variants) for cell in variant.failures]
    entries = [(name, {"linewidth": 2.0, **line_style(i)}) for i, name in enumerate(short_names(variants))]
    legend = legend_lines([*entries, *[("failed", FAILED)][: len(failed)]])
    below = AXIS_HEIGHT + LETTERS.leading * (1 + len(legend)) + PAD
    figure, page = new_page(CURVES_HEIGHT + below)
    axes = add_axes(figure, 38, below, WIDTH - PAD, below + CURVES_HEIGHT - PAD)
    for i, variant in enumerate(variants):
        finished = [cell.val_accuracies for cell in variant.cells if cell.accuracy is not None]
        for cell in variant.cells:
            percents = [100 * accuracy for accuracy in cell.val_accuracies]
            axes.plot(_epochs(percents), percents, color=color_of(i), linewidth=0.5, alpha=0.35, zorder=2)
        length = min(map(len, finished), default=0)
        means = [100 * mean(curve[epoch] for curve in finished) for epoch in range(length)]
        marker = "o" if length == 1 else ""
        axes.plot(_epochs(means), means, linewidth=2.0, zorder=3, marker=marker, **line_style(i))
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    curves = [cell.val_accuracies for variant in variants for cell in variant.cells]
    early = max(map(len, curves), default=0) // 5
    late = [100 * accuracy for curve in curves for accuracy in curve[early:]]
    if late:  # the first epochs would press the others together
        axes.set_ylim(limits(late, 0.05))
    else:
        show_message(axes, "no epoch is finished yet")
    for i, cell in failed:
        if cell.val_accuracies:
            last = max(100 * cell.val_accuracies[-1], axes.get_ylim()[0])
            axes.plot(len(cell.val_accuracies), last, color=color_of(i), clip_on=False, **FAILED)
    name_axes(page, axes, "epoch", "validation accuracy, %")
    draw_legend(page, legend)
    return figure


def _epochs(curve: Sequence[float]) -> range:
    return range(1, len(curve) + 1)
