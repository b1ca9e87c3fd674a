"""A network as a picture for a page: stages to scale, shortcuts over their blocks, shapes at the arrows."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from torch import nn

from reslab.errors import NetworkError, UsageError
from reslab.inspection.summary import Anatomy, anatomy
from reslab.plots.figure_file import checked_path, save_figure

from .layout import MARGIN, Layout, place, short
from .paint import SOFT, Lettering, paint_legend, paint_line
from .stages import Chain, chain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, PAGE = 85.0, 170.0  # millimetres
NARROWEST, WIDEST = 80.0, 1000.0


def draw_network(
    network: nn.Module,
    shape: Sequence[int],
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    width: float = COLUMN,
) -> None:
    """Draws `network` for a photo of `shape` (C, H, W) to a .svg, .pdf or .png file, `width` mm wide.

    Every stage is a row of bars to scale, its blocks; over each block its shortcut, read off what the network
    does: an unbroken line for the identity, dashed where it projects, dotted for zeros (shortcut A). Without
    colour it reads the same. Letters are of 6 points and more: 85 mm is a column, 170 the width of a page.
    The same network gives the same bytes. The network comes back unchanged, see `anatomy`.

    Raises UsageError for a path that cannot be written or another width than 80 to 1000, NetworkError for a
    wrong shape.
    """
    checked_path(path)
    draw_anatomy(anatomy(network, shape, name=name), path, width)


def draw_anatomy(taken: Anatomy, path: str | os.PathLike[str], width: float = COLUMN) -> None:
    """`draw_network` for a network that was taken apart before."""
    file = checked_path(path)
    save_figure(network_figure(taken, width), file, taken.network)


def network_figure(taken: Anatomy, width: float = COLUMN) -> Figure:
    """The picture as a matplotlib figure, `width` millimetres wide."""
    from matplotlib.figure import Figure

    if not NARROWEST <= width <= WIDEST:
        raise UsageError(
            f"no picture is {width:g} mm wide", "letters of 6 points need room", "give 80 to 1000"
        )
    shown = chain(taken)
    if not shown.stages:
        raise NetworkError(
            f"{taken.network} cannot be drawn", "no layer has weights or a window", "look at its table"
        )
    points = width * 72 / 25.4
    letters = Lettering(min(max(6.0, 6.0 + (width - COLUMN) / (PAGE - COLUMN) * 1.5), 8.0))
    layout = place(shown, points, letters.width)
    facts = _wrapped(_facts(taken, shown), points, letters)
    caption = _wrapped(_caption(shown, layout), points, letters)
    headroom = 8.0 + (letters.leading if layout.grouped else 0.0) + (6.0 if shown.over else 0.0)
    around = headroom + 4 * letters.leading + 9  # above and below the bars of a line
    height = letters.leading * (2.6 + len(facts) + len(caption)) + 2 * MARGIN
    height += sum(bars + around for bars in layout.heights)
    figure = Figure((points / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, points), ylim=(0, height))
    axes.set_axis_off()
    y = height - MARGIN
    letters.put(axes, MARGIN, y, _title(taken), "left", size=letters.size * 1.17, weight="bold")
    y -= 1.4 * letters.leading
    for text in facts:
        letters.put(axes, MARGIN, y, text, "left")
        y -= letters.leading
    paint_legend(axes, letters, _kinds(shown), MARGIN, y)
    y -= letters.leading
    for line, bars in enumerate(layout.heights):
        middle = y - headroom - bars / 2
        paint_line(axes, letters, shown, layout, line, middle, middle - bars / 2 - 4)
        y -= bars + around
    for i, text in enumerate(caption):
        letters.put(axes, MARGIN, MARGIN + letters.leading * (len(caption) - i), text, "left", color=SOFT)
    return figure


def _title(taken: Anatomy) -> str:
    """The network's name; of a file's way to it the end."""
    name = PurePath(taken.network).name or taken.network
    return name if len(name) <= 44 else f"{name[:43]}…"


def _kinds(shown: Chain) -> set[str]:
    inside = {kind for stage in shown.stages for unit in stage.units for kind in unit.shortcuts}
    return inside | {over.kind for over in shown.over}


def _facts(taken: Anatomy, shown: Chain) -> str:
    blocks = Counter(u.kind for stage in shown.stages for u in stage.units if u.is_block)
    made_of = [f"{count} {kind}" for kind, count in blocks.most_common(2)]
    more = "" if taken.complete else "at least "
    cost = f"{more}{short(taken.multiply_adds)} multiply-adds"
    return " · ".join([*made_of, f"{short(taken.parameters)} parameters", cost])


def _caption(shown: Chain, layout: Layout) -> str:
    said = ["Heights by √ of a picture's side, widths by √ of its channels; vectors stand upright."]
    said += ["Under a stage: parameters. Under an arrow: channels and height×width."]
    said += [f"The shortcut's: {short(shown.beside)}."] if shown.beside else []
    said += ["×n: n equal blocks."] if layout.grouped else []
    hidden = any(not layout.around(over) for over in shown.over)
    said += ["A shortcut around more than one line is not drawn."] if hidden else []
    said += ["Concatenations are not drawn."] if shown.joins else []
    return " ".join(said)


def _wrapped(text: str, points: float, letters: Lettering) -> list[str]:
    """`text` in as few lines as fit."""
    count = len(text)
    lines = [text]
    while count > 10 and any(letters.width(line) > points - 2 * MARGIN for line in lines):
        count -= 1
        lines = textwrap.wrap(text, count, break_on_hyphens=False)
    return lines
