"""Drawing of a block's layout with matplotlib: boxes with their layers, lines, circles and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reslab.inspection.drawing.paint import BLACK, CONVOLUTION_FILL, DARK_GREY, FILLS, SHORTCUTS

from .layout import Box, Line, Piece
from .texts import CIRCLE_RADIUS, NAME_GAP, ROW_PADDING, Texts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_FILLS = {"conv": CONVOLUTION_FILL, "pool": FILLS["pool"], "other": "#ffffff"}
LINE_WIDTH = 0.7
# strokes in a circle from (-x, -y) to (x, y), in radii
STROKES = {
    "add": [(0.6, 0.0), (0.0, 0.6)],
    "multiply": [(0.45, 0.45), (0.45, -0.45)],
}


def paint_block(axes: Axes, texts: Texts, piece: Piece) -> None:
    """Draw a block on `axes`, which are in points with y downwards.

    In an SVG the lines have the ids "{role}-{kind}-{n}", the rows "layer-{n}", the circles "{kind}-{n}".
    """
    from matplotlib.patches import Circle

    for i, line in enumerate(piece.lines):
        _paint_line(axes, line, i)
    for point in piece.forks:
        axes.add_patch(Circle(point, 1.1, facecolor=BLACK, edgecolor="none", zorder=2))
    for i, box in enumerate(piece.boxes):
        if box.kind in STROKES:
            _paint_circle(axes, box, i)
        _paint_rows(axes, texts, box, i)
    for label in piece.labels:
        texts.letters.put(axes, label.x, label.y, label.text, "left")


def _paint_line(axes: Axes, line: Line, number: int) -> None:
    style: dict[str, Any] = {"color": BLACK, "linewidth": LINE_WIDTH}
    if line.kind:
        style |= {"linewidth": 0.85, "linestyle": SHORTCUTS[line.kind][0]}
    (drawn,) = axes.plot(*zip(*line.points, strict=True), zorder=1, solid_capstyle="butt", **style)
    drawn.set_gid("-".join(word for word in (line.role, line.kind, str(number)) if word))
    (x0, y0), (x1, y1) = line.points[-2:]
    near = x1 - 4.0 * ((x1 > x0) - (x1 < x0)), y1 - 4.0 * ((y1 > y0) - (y1 < y0))
    head: dict[str, Any] = {"color": BLACK, "linewidth": LINE_WIDTH, "shrinkA": 0, "shrinkB": 0.3}
    head["arrowstyle"] = "-|>,head_length=0.3,head_width=0.14"
    axes.annotate("", (x1, y1), xytext=near, arrowprops=head, zorder=2)


def _paint_rows(axes: Axes, texts: Texts, box: Box, number: int) -> None:
    from matplotlib.patches import Rectangle

    y, letters = box.y, texts.letters
    for i, (row, lines) in enumerate(box.rows):
        height = texts.row_height(lines)
        style: dict[str, Any] = {"facecolor": ROW_FILLS[row.fill], "edgecolor": BLACK, "linewidth": 0.5}
        patch = Rectangle((box.left, y), box.right - box.left, height, zorder=3, **style)
        patch.set_gid(f"layer-{number}-{i}")
        axes.add_patch(patch)
        top = y + ROW_PADDING / 2 + 0.6
        for text, name in lines:
            x = (box.left + box.right - texts.width((text, name))) / 2
            letters.put(axes, x, top, text, "left")
            x += letters.width(text) + NAME_GAP * bool(text)
            letters.put(axes, x, top, name, "left", color=DARK_GREY, style="italic")
            top += letters.leading
        y += height


def _paint_circle(axes: Axes, box: Box, number: int) -> None:
    from matplotlib.patches import Circle

    x, y, r = (box.left + box.right) / 2, box.middle, CIRCLE_RADIUS
    circle = Circle((x, y), r, facecolor="white", edgecolor=BLACK, linewidth=0.6, zorder=3)
    circle.set_gid(f"{box.kind}-{number}")
    axes.add_patch(circle)
    for a, b in STROKES[box.kind]:
        axes.plot([x - a * r, x + a * r], [y - b * r, y + b * r], color=BLACK, linewidth=0.8, zorder=4)
