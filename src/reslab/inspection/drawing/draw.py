"""Drawing of a network for a page: stages to scale, shortcuts over their blocks, shapes at the arrows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from torch import nn

from reslab.errors import NetworkError, UsageError
from reslab.inspection.summary import Anatomy, anatomy
from reslab.plots.figure_file import checked_path, save_figure
from reslab.text import short_number

from .layout import MARGIN, Layout, place
from .paint import DARK_GREY, Lettering, paint_legend, paint_line
from .stages import Chain, chain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_MM, PAGE_MM = 85.0, 170.0
MIN_WIDTH_MM, MAX_WIDTH_MM = 80.0, 1000.0


def draw_network(
    network: nn.Module,
    shape: Sequence[int] | None = None,
    path: str | os.PathLike[str] | None = None,
    *,
    name: str | None = None,
    width: float = COLUMN_MM,
) -> Figure:
    """Draw a network: its blocks as bars to scale, with a shortcut over each residual block.

    Shortcuts are read off what the network computes: an unbroken line is the identity, dashes a projection,
    dots the zeros of shortcut A (He et al. 2015, section 4.2). No meaning depends on color. Letters are of 6
    points and more. The same network gives the same bytes. The network stays unchanged, see `anatomy`.

    Args:
        network: any module that takes a batch of images.
        shape: (C, H, W) of the image [the network's usual image, as in `anatomy`].
        path: a .svg, .pdf or .png file to write; an existing one is replaced. None writes no file.
        name: title of the drawing [the class's name].
        width: millimeters, 80 to 1000. 85 is a column, 170 the width of a page.

    Returns:
        A matplotlib figure, which a notebook shows.

    Raises:
        NetworkError: the image does not pass through, or no layer can be drawn.
        UsageError: the path cannot be written, `shape` is not the shape of an image, or the width is out of
            range or too small for the network.
    """
    file = None if path is None else checked_path(path)
    return draw_anatomy(anatomy(network, shape, name=name), file, width)


def draw_anatomy(
    taken: Anatomy, path: str | os.PathLike[str] | None = None, width: float = COLUMN_MM
) -> Figure:
    """Draw an anatomy, as `draw_network` does, with the same errors."""
    file = None if path is None else checked_path(path)
    figure = network_figure(taken, width)
    if file is not None:
        save_figure(figure, file, taken.network)
    return figure


def network_figure(taken: Anatomy, width: float = COLUMN_MM) -> Figure:
    """Return the drawing as a matplotlib figure, `width` millimeters wide.

    Raises:
        NetworkError: no layer can be drawn.
        UsageError: the width is not 80 to 1000, or too small for the network.
    """
    from reslab.plots.notebook_figure import NotebookFigure

    if not MIN_WIDTH_MM <= width <= MAX_WIDTH_MM:
        raise UsageError(f"width {width:g} mm", "letters of 6 points need room", "give 80 to 1000")
    shown = chain(taken)
    if not shown.stages:
        raise NetworkError(
            f"{taken.network} cannot be drawn",
            "no layer has weights or a window",
            "print its anatomy instead",
        )
    points = width * 72 / 25.4
    letters = Lettering(min(max(6.0, 6.0 + (width - COLUMN_MM) / (PAGE_MM - COLUMN_MM) * 1.5), 8.0))
    layout = place(shown, points, letters.width)
    facts = letters.wrapped(_facts(taken, shown), points - 2 * MARGIN)
    caption = letters.wrapped(_caption(shown, layout), points - 2 * MARGIN)
    headroom = 8.0 + letters.leading * layout.is_grouped + 6.0 * bool(shown.long_shortcuts)
    around = headroom + 4 * letters.leading + 9  # above and below the bars of a line
    height = letters.leading * (2.6 + len(facts) + len(caption)) + 2 * MARGIN
    height += sum(bars + around for bars in layout.heights)
    figure = NotebookFigure((points / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, points), ylim=(0, height))
    axes.set_axis_off()
    y = height - MARGIN
    letters.put(axes, MARGIN, y, _title(taken), "left", size=letters.size * 1.17, weight="bold")
    y -= 1.4 * letters.leading
    for text in facts:
        letters.put(axes, MARGIN, y, text, "left")
        y -= letters.leading
    paint_legend(axes, letters, _shortcut_kinds(shown), MARGIN, y)
    y -= letters.leading
    for line, bars in enumerate(layout.heights):
        middle = y - headroom - bars / 2
        paint_line(axes, letters, shown, layout, line, middle, middle - bars / 2 - 4)
        y -= bars + around
    for i, text in enumerate(caption):
        top = MARGIN + letters.leading * (len(caption) - i)
        letters.put(axes, MARGIN, top, text, "left", color=DARK_GREY)
    return figure


def _title(taken: Anatomy) -> str:
    name = PurePath(taken.network).name or taken.network
    return name if len(name) <= 44 else f"{name[:43]}…"


def _shortcut_kinds(shown: Chain) -> set[str]:
    inside = {kind for stage in shown.stages for unit in stage.units for kind in unit.shortcuts}
    return inside | {shortcut.kind for shortcut in shown.long_shortcuts}


def _facts(taken: Anatomy, shown: Chain) -> str:
    blocks = Counter(unit.kind for stage in shown.stages for unit in stage.units if unit.is_block)
    return " · ".join([*(f"{count} {kind}" for kind, count in blocks.most_common(2)), costs(taken)])


def costs(taken: Anatomy) -> str:
    """Return the numbers of parameters and multiply-adds as text."""
    least = "" if taken.complete else "at least "
    cost = f"{least}{short_number(taken.multiply_adds)} multiply-adds"
    return f"{short_number(taken.parameters)} parameters · {cost}"


def _caption(shown: Chain, layout: Layout) -> str:
    text = ["Heights by √ of a feature map's side, widths by √ of its channels; vectors are upright."]
    text += ["Under a stage: parameters. Under an arrow: channels and height×width."]
    if shown.long_shortcut_parameters:
        text.append(f"The shortcut's: {short_number(shown.long_shortcut_parameters)}.")
    if layout.is_grouped:
        text.append("×n: n equal blocks.")
    if any(not layout.bars_inside(shortcut) for shortcut in shown.long_shortcuts):
        text.append("A shortcut around more than one line is not drawn.")
    if shown.has_concatenations:
        text.append("Concatenations are not drawn.")
    return " ".join(text)
