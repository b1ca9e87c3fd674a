"""Drawing of one block from the inside: layers, shortcut, gates, and shapes at the arrows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from torch import nn

from reslab.errors import UsageError
from reslab.inspection.drawing.layout import MARGIN
from reslab.inspection.drawing.paint import DARK_GREY, Lettering
from reslab.inspection.summary import Anatomy, anatomy
from reslab.networks.blocks import Block
from reslab.networks.from_text import DEFAULT_BLOCK_NUMBERS
from reslab.networks.input_channels import input_channels
from reslab.networks.single_block import build_block
from reslab.plots.figure_file import checked_path, save_figure
from reslab.text import short_number

from .graph import BlockGraph, block_graph
from .paint import paint_block
from .place import place_block
from .sizes import Sizes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_MM = 85.0
MIN_WIDTH_MM, MAX_WIDTH_MM = 60.0, 1000.0
FONT_SIZES = (7.0, 6.5, 6.0)  # points; the first that fits
IN_CHANNELS, OUT_CHANNELS, STRIDE = DEFAULT_BLOCK_NUMBERS  # the shape changes, so that a projection shows


def draw_block(
    block: Block | nn.Module,
    path: str | os.PathLike[str],
    in_channels: int | None = None,
    out_channels: int = OUT_CHANNELS,
    stride: int = STRIDE,
    *,
    size: int = 56,
    name: str | None = None,
    width: float | None = None,
) -> None:
    """Draw the inside of a block to a file: its layers, the shortcut, gates, and the shapes between them.

    The main path runs down the page. Other branches run at its sides, from where they leave to where they
    join. Of two branches that an addition joins, the shorter one is the shortcut: an unbroken line is the
    identity, dashes a projection, dots added zeros, as in `draw_network`. Shapes are channels×height×width.
    The graph is that of one forward pass in eval mode, see `anatomy`: operations that run in training alone
    are missing, and views (reshape, transpose, chunk) show in the shapes only. The same block gives the same
    bytes.

    Args:
        block: a callable (in_channels, out_channels, stride) -> module, such as `BasicBlock`. A module is
            drawn as it is; `out_channels` and `stride` then have no effect.
        path: a .svg, .pdf or .png file to write; an existing one is replaced.
        in_channels: channels of the input [64; of a module those of its first convolution].
        out_channels: channels of the output.
        stride: by which the block divides height and width.
        size: height and width of the input in pixels.
        name: title of the drawing [the name of the class or function].
        width: millimeters, 60 to 1000 [85, a column, or more where the branches need it].

    Raises:
        NetworkError: the block cannot be built, the input does not pass through, or the output has no height
            and width, as that of a whole network.
        UsageError: the path cannot be written, or the width is out of range or too small for the block.
    """
    file = checked_path(path)
    title = str(name or getattr(block, "__name__", type(block).__name__))
    if isinstance(block, nn.Module):
        module, channels = block, in_channels or input_channels(block, IN_CHANNELS)
    else:
        channels = in_channels or IN_CHANNELS
        module = build_block(block, title, channels, out_channels, stride)
    taken = anatomy(module, (channels, size, size), name=title)
    save_figure(block_figure(taken, module, width), file, title)


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
    from matplotlib.figure import Figure

    graph = block_graph(taken, block)
    sizes, points = _fitting(graph, width)
    letters, room = sizes.letters, points - 2 * MARGIN
    placed = place_block(sizes, room)
    facts = letters.wrapped(_facts(taken), room)
    caption = letters.wrapped("Shapes: channels×height×width. Italics: names in the module.", room)
    above = letters.leading * (1.5 + len(facts))
    height = above + placed.height + letters.leading * (1.0 + len(caption)) + 2 * MARGIN
    figure = Figure((points / 72, height / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, points), ylim=(0, height))
    axes.set_axis_off()
    y = height - MARGIN
    title = taken.network if len(taken.network) <= 40 else f"{taken.network[:39]}…"
    letters.put(axes, MARGIN, y, title, "left", size=letters.size * 1.17, weight="bold")
    for i, text in enumerate(facts):
        letters.put(axes, MARGIN, y - letters.leading * (1.3 + i), text, "left")
    paint_block(axes, letters, graph, placed, MARGIN, y - above)
    for i, text in enumerate(caption):
        top = MARGIN + letters.leading * (len(caption) - i)
        letters.put(axes, MARGIN, top, text, "left", color=DARK_GREY)
    return figure


def _fitting(graph: BlockGraph, width: float | None) -> tuple[Sizes, float]:
    """Return the sizes with the largest font that fits, and the width of the drawing in points."""
    if width is not None and not MIN_WIDTH_MM <= width <= MAX_WIDTH_MM:
        raise UsageError(f"width {width:g} mm", "letters of 6 points need room", "give 60 to 1000")
    points = (COLUMN_MM if width is None else width) * 72 / 25.4
    for size in FONT_SIZES:
        sizes = Sizes(graph, Lettering(size), points - 2 * MARGIN)
        needed = sizes.needed + 2 * MARGIN
        if needed <= points:
            return sizes, points
    if width is None:
        return sizes, needed
    millimeters = needed * 25.4 / 72
    why = f"its {len(graph.branches)} branches need {millimeters:.0f} mm with letters of 6 points"
    raise UsageError(f"the block does not fit a width of {width:g} mm", why, "leave the width out")


def _facts(taken: Anatomy) -> str:
    least = "" if taken.complete else "at least "
    cost = f"{least}{short_number(taken.multiply_adds)} multiply-adds"
    return f"{short_number(taken.parameters)} parameters · {cost}"
