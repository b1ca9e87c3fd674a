"""Forest plot: the difference of each variant to the baseline, with its intervals and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reslab.inspection.drawing.paint import DARK_GREY
from reslab.lab.results.sentences import decimals, difference_text, is_known, margin_text, verdict_text
from reslab.lab.results.variant_result import VariantResult

from .names import LETTERS, MAX_NAME_WIDTH, broken, short_names, widest
from .page import AXIS_HEIGHT, PAD, WIDTH, add_axes, draw_legend, legend_lines, new_page, put_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_VERDICT_WIDTH = 78.0  # points
MIN_ROW_HEIGHT = 28.0
MAX_REACH = 2.5  # ends of intervals are drawn up to this multiple of the farthest seed
BAND = "#e3e6ea"
VERDICT_COLORS = {"better": "#0072b2", "worse": "#c04a00", "equivalent": "#00795a"}


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
    names = [broken(name, MAX_NAME_WIDTH) for name in short_names(variants)[1:]]
    verdicts = [LETTERS.wrapped(verdict_text(variant), MAX_VERDICT_WIDTH) for variant in others]
    numbers = [
        difference_text(v.difference, places).replace("-", "−") if v.difference else "" for v in others
    ]
    heights = [
        max(MIN_ROW_HEIGHT, 8 + LETTERS.leading * max(map(len, row)))
        for row in zip(names, verdicts, strict=True)
    ]
    name_width = widest(line for lines in names for line in lines)
    number_width = widest([*numbers, "points [95 %]"])
    verdict_width = widest([*(line for lines in verdicts for line in lines), "verdict"])
    left = PAD + name_width + PAD
    right = WIDTH - PAD - verdict_width - 2 * PAD - number_width - 2 * PAD
    title = broken(f"points of accuracy gained on {short_names(variants)[0]}", right - left)
    legend = legend_lines(
        (
            ("95 %, new seeds and new photos", {"linewidth": 3.6}),
            ("95 %, new seeds, these photos", {"linewidth": 0.9}),
            ("one seed", {"linestyle": "", "marker": "o", "markersize": 3, "alpha": 0.6}),
            (f"margin ±{margin_text(margin)}", {"linewidth": 8, "color": BAND}),
        )
    )
    rows = sum(heights) or MIN_ROW_HEIGHT
    below = AXIS_HEIGHT + LETTERS.leading * (len(title) + len(legend)) + PAD
    figure, page = new_page(rows + below + 2 * LETTERS.leading)
    axes = add_axes(figure, left, below, right, below + rows)
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
        put_lines(page, PAD, top, lines)
        put_lines(page, right + 2 * PAD + number_width, top, [number], "right")
        put_lines(page, WIDTH - PAD - verdict_width, top, verdict, color=color)
        y += height
    put_lines(
        page, (left + right) / 2, below - AXIS_HEIGHT / 2 - LETTERS.leading * len(title) / 2, title, "center"
    )
    draw_legend(page, legend)
    return figure


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
