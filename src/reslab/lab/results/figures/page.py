"""Page of a figure in points: axes and their names, legend, lines of text, colors and line styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from reslab.inspection.drawing.paint import BLACK, DARK_GREY, FONT

from .names import LETTERS, broken

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 482.0  # points: 170 mm, the width of a page
PAD = 6.0
AXIS_HEIGHT = 2.6 * LETTERS.leading  # of tick labels and the axis' name
SAMPLE = 17.0  # width of a line in the legend
# Okabe and Ito 2008, "Color universal design". Lines differ, too, for print in gray.
COLORS = ("#1a1a1a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (5, 1.5, 1, 1.5)))

Entry = tuple[str, dict[str, Any]]  # text and style of a sample in the legend


def new_page(height: float) -> tuple[Figure, Axes]:
    """Return a figure of WIDTH points and axes that cover it, in points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from reslab.plots.notebook_figure import NotebookFigure

    figure = NotebookFigure((WIDTH / 72, height / 72), facecolor="white")
    FigureCanvasAgg(figure)
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height), zorder=5)
    page.set_axis_off()
    return figure, page


def add_axes(figure: Figure, left: float, bottom: float, right: float, top: float) -> Axes:
    """Return axes for data in a rectangle of the page, in points, with a grid and small ticks."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    axes = figure.add_axes((left / width, bottom / height, (right - left) / width, (top - bottom) / height))
    axes.set_facecolor("none")
    axes.tick_params(labelsize=LETTERS.size - 0.5, width=0.6, length=2.5, labelfontfamily=FONT)
    axes.grid(color="0.9", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_linewidth(0.6)
    return axes


def name_axes(page: Axes, axes: Axes, x: str, y: str) -> None:
    """Write the names of both axes below and to the left of them."""
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


def limits(values: Sequence[float], pad: float) -> tuple[float, float]:
    """Return the range of the values with a fraction of it added at both ends."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = pad * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def show_message(axes: Axes, message: str) -> None:
    """Write a message in the middle of axes that have no data."""
    axes.set(xticks=[], yticks=[])
    style: dict[str, Any] = {"family": FONT, "size": LETTERS.size, "color": DARK_GREY}
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", **style)


def color_of(index: int) -> str:
    """Return black for the baseline, else one of six colors."""
    return COLORS[1 + (index - 1) % (len(COLORS) - 1)] if index else COLORS[0]


def line_style(index: int) -> dict[str, Any]:
    """Return color and dashes of a variant's line."""
    return {"color": color_of(index), "linestyle": LINES[(index + index // 12) % len(LINES)]}


def legend_lines(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the entries of a legend in lines that fit the page. A long name goes on in the next line."""
    lines: list[list[Entry]] = [[]]
    x = PAD
    for text, style in entries:
        first, *rest = broken(text, WIDTH - 2 * PAD - SAMPLE - 4)
        width = SAMPLE + 4 + LETTERS.width(first) + 14
        if lines[-1] and (x + width > WIDTH or rest):
            lines.append([])
            x = PAD
        lines[-1].append((first, style))
        x += width
        for line in rest:
            lines.append([(line, {})])
            x = WIDTH
    return lines


def draw_legend(page: Axes, lines: Sequence[Sequence[Entry]]) -> None:
    """Draw the lines of a legend at the bottom of the page."""
    top = PAD / 2 + LETTERS.leading * len(lines)
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
            x += SAMPLE + 4 + LETTERS.width(text) + 14


def put_lines(
    page: Axes, x: float, middle: float, lines: Sequence[str], align: str = "left", color: str = BLACK
) -> None:
    """Write lines of text around the height `middle`; `align` says what is at x, as in Lettering.put."""
    top = middle + LETTERS.leading * len(lines) / 2 - 1
    for row, line in enumerate(lines):
        LETTERS.put(page, x, top - LETTERS.leading * row, line, align, color=color)
