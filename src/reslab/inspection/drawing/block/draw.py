"""Drawing of one block from the inside: layers, shortcut, gates, and shapes at the arrows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from reslab.errors import UsageError
from reslab.inspection.drawing.draw import COLUMN_MM, MAX_WIDTH_MM, costs
from reslab.inspection.drawing.layout import MARGIN
from reslab.inspection.drawing.paint import DARK_GREY, Lettering
from reslab.inspection.summary import Anatomy, anatomy
from reslab.networks.blocks import Block
from reslab.networks.from_text import DEFAULT_BLOCK_NUMBERS
from reslab.networks.input_channels import input_channels
from reslab.networks.single_block import build_block
from reslab.plots.figure_file import checked_path, save_figure

from .graph import Node, block_graph
from .layout import ARROW_LENGTH, Piece, lay_out
from .paint import paint_block
from .paths import block_path
from .texts import Texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS_PER_MM = 72 / 25.4
MIN_WIDTH_MM = 60.0
FONT_SIZES = (7.0, 6.5, 6.0)  # points; the first that fits
TEXT_WIDTHS = range(0, 400, 8)  # points at which a text breaks into lines
CAPTION = "Shapes: channels×height×width. Italics: names in the module."
IN_CHANNELS, OUT_CHANNELS, STRIDE = DEFAULT_BLOCK_NUMBERS  # the shape changes, so that a projection shows


def draw_block(
    block: Block | nn.Module,
    path: str | os.PathLike[str] | None = None,
    in_channels: int | None = None,
    out_channels: int = OUT_CHANNELS,
    stride: int = STRIDE,
    *,
    size: int = 56,
    name: str | None = None,
    width: float | None = None,
) -> Figure:
    """Draw the inside of a block: its layers, the shortcut, gates, and the shapes between them.

    The main path runs down the page. Other branches run at its sides, from where they leave to where they
    join. Of two branches that an addition joins, the shorter one is the shortcut: an unbroken line is the
    identity, dashes a projection, dots added zeros, as in `draw_network`. Layers of branches that cross stand
    in one column. Shapes are channels×height×width. The graph is that of one forward pass in eval mode, see
    `anatomy`: operations that run in training alone are missing, and views (reshape, transpose, chunk) show
    in the shapes only. The same block gives the same bytes.

    Args:
        block: a callable (in_channels, out_channels, stride) -> module, such as `BasicBlock`. A module is
            drawn as it is; `out_channels` and `stride` then have no effect.
        path: a .svg, .pdf or .png file to write; an existing one is replaced. None writes no file.
        in_channels: channels of the input [64; of a module those of its first convolution].
        out_channels: channels of the output.
        stride: by which the block divides height and width.
        size: height and width of the input in pixels.
        name: title of the drawing [the name of the class or function].
        width: millimeters, 60 to 1000 [85, a column, or more where the branches need it].

    Returns:
        A matplotlib figure, which a notebook shows.

    Raises:
        NetworkError: the block cannot be built, the input does not pass through, or the output has no height
            and width, as that of a whole network.
        UsageError: the path cannot be written, or the width is out of range or too small for the block.
    """
    file = None if path is None else checked_path(path)
    title = str(name or getattr(block, "__name__", type(block).__name__))
    if isinstance(block, nn.Module):
        module, channels = block, in_channels or input_channels(block, IN_CHANNELS)
    else:
        channels = in_channels or IN_CHANNELS
        module = build_block(block, title, channels, out_channels, stride)
    taken = anatomy(module, (channels, size, size), name=title)
    figure = block_figure(taken, module, width)
    if file is not None:
        save_figure(figure, file, title)
    return figure


def block_figure(taken: Anatomy, block: nn.Module, width: float | None = None) -> Figure:
    """Return the drawing as a matplotlib figure.

    Args:
        taken: the anatomy of the block alone.
        block: the block, for the settings of its layers.
        width: millimeters, 60 to 1000 [85, or more where the branches need it].

    Raises:
        NetworkError: the output has no height and width, as that of a whole network.
        UsageError: the width is out of range, or too small for the block.
    """
    from reslab.plots.notebook_figure import NotebookFigure

    if width is not None and not MIN_WIDTH_MM <= width <= MAX_WIDTH_MM:
        raise UsageError(f"width {width:g} mm", "letters of 6 points need room", "give 60 to 1000")
    points = (COLUMN_MM if width is None else width) * POINTS_PER_MM
    texts, piece = _fitting(block_graph(taken, block), points - 2 * MARGIN)
    needed = piece.width + 2 * MARGIN
    if width is not None and needed > points:
        why = f"it needs {needed / POINTS_PER_MM:.0f} mm with letters of 6 points"
        raise UsageError(f"the block does not fit a width of {width:g} mm", why, "leave the width out")
    points, letters = max(points, needed), texts.letters
    title = taken.network if len(taken.network) <= 40 else f"{taken.network[:39]}…"
    facts = letters.wrapped(costs(taken), points - 2 * MARGIN)
    caption = letters.wrapped(CAPTION, points - 2 * MARGIN)
    top = MARGIN + letters.leading * (1.5 + len(facts)) - ARROW_LENGTH
    bottom = top + piece.height + letters.leading
    height = bottom + letters.leading * len(caption) + MARGIN
    figure = NotebookFigure((points / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, points), ylim=(height, 0))
    axes.set_axis_off()
    letters.put(axes, MARGIN, MARGIN, title, "left", size=letters.size * 1.17, weight="bold")
    for i, text in enumerate(facts):
        letters.put(axes, MARGIN, MARGIN + letters.leading * (1.3 + i), text, "left")
    page = Piece(piece.path)
    piece.at = (points - piece.width) / 2 + piece.left, top
    page.put(piece)
    paint_block(axes, texts, page)
    for i, text in enumerate(caption):
        letters.put(axes, MARGIN, bottom + letters.leading * i, text, "left", color=DARK_GREY)
    return figure


def _fitting(nodes: Sequence[Node], room: float) -> tuple[Texts, Piece]:
    """Return the texts and their layout, in the largest font that fits, broken into as few lines as fit."""
    path = block_path(nodes)
    for size in FONT_SIZES:
        texts = Texts(nodes, Lettering(size), 0)
        fits = [cap for cap in TEXT_WIDTHS if lay_out(path, replace(texts, cap=cap)).width <= room]
        if fits:
            texts = replace(texts, cap=fits[-1])
            break
    return texts, lay_out(path, texts)
