"""Drawing of a placed block with matplotlib: boxes with their layers, lines, circles and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reslab.inspection.drawing.paint import (
    BLACK,
    CONVOLUTION_FILL,
    DARK_GREY,
    FILLS,
    SHORTCUTS,
    Lettering,
)

from .graph import BlockGraph
from .place import Box, Line, Placed
from .sizes import CIRCLE_RADIUS, NAME_GAP, ROW_PADDING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW_FILLS = {"conv": CONVOLUTION_FILL, "pool": FILLS["pool"], "other": "#ffffff"}
LINE_WIDTH = 0.7
_REACH, _SLANTED = CIRCLE_RADIUS * 0.6, CIRCLE_RADIUS * 0.45
# ends of the strokes in a circle, from its middle
STROKES = {
    "add": [((-_REACH, 0.0), (_REACH, 0.0)), ((0.0, -_REACH), (0.0, _REACH))],
    "subtract": [((-_REACH, 0.0), (_REACH, 0.0))],
    "multiply": [
        ((-_SLANTED, -_SLANTED), (_SLANTED, _SLANTED)),
        ((-_SLANTED, _SLANTED), (_SLANTED, -_SLANTED)),
    ],
}


def paint_block(
    axes: Axes, letters: Lettering, graph: BlockGraph, placed: Placed, left: float, top: float
) -> None:
    """Draw a block on `axes`, which are in points, y upwards. Its top left is at (left, top)."""
    from matplotlib.patches import Circle

    for line in placed.lines:
        _paint_line(axes, graph, line, left, top)
    for x, y in placed.forks:
        axes.add_patch(Circle((left + x, top - y), 1.1, facecolor=BLACK, edgecolor="none", zorder=2))
    for box in placed.boxes:
        kind = graph.nodes[box.node].kind
        if box.rows:
            _paint_rows(axes, letters, box, left, top)
        elif kind in STROKES:
            _paint_circle(axes, box, kind, left, top)
    for label in placed.labels:
        letters.put(axes, left + label.x, top - label.y, label.text, "left")


def _paint_line(axes: Axes, graph: BlockGraph, line: Line, left: float, top: float) -> None:
    branch = graph.branches[line.branch]
    points = [(left + x, top - y) for x, y in line.points]
    style: dict[str, Any] = {"color": BLACK, "linewidth": LINE_WIDTH}
    if branch.role == "shortcut":
        style = {"color": BLACK, "linewidth": 0.85, "linestyle": SHORTCUTS[branch.kind][0]}
    name = f"{branch.role}-{branch.kind}-{line.branch}" if branch.kind else f"{branch.role}-{line.branch}"
    drawn = axes.plot(*zip(*points, strict=True), zorder=1, solid_capstyle="butt", **style)
    drawn[0].set_gid(name)
    (x0, y0), (x1, y1) = points[-2:]
    length = max(abs(x1 - x0), abs(y1 - y0))
    near = (x1 + (x0 - x1) / length * min(4.0, length), y1 + (y0 - y1) / length * min(4.0, length))
    head: dict[str, Any] = {"color": BLACK, "linewidth": LINE_WIDTH, "shrinkA": 0, "shrinkB": 0.3}
    head["arrowstyle"] = "-|>,head_length=0.3,head_width=0.14"
    axes.annotate("", (x1, y1), xytext=near, arrowprops=head, zorder=2)


def _paint_rows(axes: Axes, letters: Lettering, box: Box, left: float, top: float) -> None:
    from matplotlib.patches import Rectangle

    y = top - box.y
    for row, lines in box.rows:
        height = ROW_PADDING + letters.leading * len(lines)
        style: dict[str, Any] = {"facecolor": ROW_FILLS[row.fill], "edgecolor": BLACK, "linewidth": 0.5}
        patch = Rectangle((left + box.left, y - height), box.right - box.left, height, zorder=3, **style)
        patch.set_gid(f"layer-{row.layer}")
        axes.add_patch(patch)
        middle = left + (box.left + box.right) / 2
        for i, line in enumerate(lines):
            at = y - ROW_PADDING / 2 - 0.6 - letters.leading * i
            text, name = letters.width(line.text), letters.width(line.name)
            gap = NAME_GAP if line.text and line.name else 0.0
            start = middle - (text + gap + name) / 2
            if line.text:
                letters.put(axes, start, at, line.text, "left")
            if line.name:
                letters.put(axes, start + text + gap, at, line.name, "left", color=DARK_GREY, style="italic")
        y -= height


def _paint_circle(axes: Axes, box: Box, kind: str, left: float, top: float) -> None:
    from matplotlib.patches import Circle

    x, y = left + box.x, top - box.y - CIRCLE_RADIUS
    circle = Circle((x, y), CIRCLE_RADIUS, facecolor="white", edgecolor=BLACK, linewidth=0.6, zorder=3)
    circle.set_gid(f"{kind}-{box.node}")
    axes.add_patch(circle)
    for (x0, y0), (x1, y1) in STROKES[kind]:
        axes.plot([x + x0, x + x1], [y + y0, y + y1], color=BLACK, linewidth=0.8, zorder=4)
