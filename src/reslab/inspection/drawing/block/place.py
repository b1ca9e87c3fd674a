"""Positions of a block's boxes, lines and labels, in points (1/72 inch) from the top left.

A horizontal line runs between two bands, or ends in a circle that has its band to itself. So no line crosses
a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .graph import Branch
from .sizes import LABEL_GAP, LANE_GAP, LINE_EXTENT, Rows, Sizes

ARROW_LENGTH = 8.0
TRACK = 5.0  # height of the line of a fork with its room
MAX_LANE_GAP = 18.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Node of the graph as drawn: x is its middle, y its top. A circle and the block's ends have no rows."""

    node: int
    x: float
    y: float
    left: float
    right: float
    height: float
    rows: Rows

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Line:
    """Line through `points` with an arrowhead at its end. `branch` is the index of its branch."""

    points: tuple[Point, ...]
    branch: int


@dataclass(frozen=True)
class Label:
    """Text with its left end at x and its top at y."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Placed:
    """Drawing of a block without its title. `forks` are the points where a branch leaves another."""

    height: float
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    forks: tuple[Point, ...]


@dataclass(frozen=True)
class _Grid:
    """Middles of the lanes, tops and bottoms of the bands, and heights of the fork lines by node."""

    x: dict[int, float]
    tops: list[float]
    bottoms: list[float]
    forks: dict[int, float]


@dataclass(frozen=True)
class _Rail:
    """Horizontal part of a branch's line."""

    branch: int
    y: float
    left: float
    right: float


def place_block(sizes: Sizes, width: float) -> Placed:
    """Return the positions for a drawing `width` points wide, at least what the sizes need."""
    graph = sizes.graph
    grid = _grid(sizes, width)
    boxes = {n: _box(n, sizes, grid) for n in range(len(graph.nodes))}
    rails = [rail for number in range(1, len(graph.branches)) for rail in _rails(number, sizes, grid, boxes)]
    for number in range(1, len(graph.branches)):
        boxes |= _centered(number, sizes, grid, boxes, rails)
    branches = list(enumerate(graph.branches))
    lines = [line for number, branch in branches for line in _lines(number, branch, sizes, grid, boxes)]
    forks = tuple((boxes[n].x, y) for n, y in grid.forks.items())
    return Placed(
        grid.bottoms[-1],
        tuple(boxes.values()),
        tuple(lines),
        tuple(_labels(sizes, grid, boxes, rails)),
        forks,
    )


def _grid(sizes: Sizes, width: float) -> _Grid:
    count = len(sizes.columns) - 1
    gap = min(MAX_LANE_GAP, LANE_GAP + (width - sizes.needed) / count) if count else 0.0
    at = (width - sizes.needed - (gap - LANE_GAP) * count) / 2
    x = {}
    for lane in sizes.columns:
        left, right = sizes.extents[lane]
        x[lane] = at + left
        at += left + right + gap
    tops, bottoms = [], []
    forks: dict[int, float] = {}
    leading, lanes, branches = sizes.letters.leading, sizes.lanes, sizes.graph.branches
    y = 0.0
    for band in range(max(lanes.band) + 1):
        nodes = [n for n, where in enumerate(lanes.band) if where == band]
        tops.append(y)
        y += max(sizes.height(n) for n in nodes)
        bottoms.append(y)
        y += 1.0 + leading * any(sizes.output_label(n) for n in nodes)
        for node in dict.fromkeys(b.nodes[0] for b in branches[1:] if b.nodes[0] in nodes):
            forks[node] = y + TRACK / 2
            y += TRACK
        # branches whose first box is in the next band, with a text above it
        arriving = [
            n for n, b in enumerate(branches) if len(b.nodes) > 2 and lanes.band[b.nodes[1]] == band + 1
        ]
        y += leading * any(sizes.arrival_label(n) for n in arriving) + ARROW_LENGTH
    return _Grid(x, tops, bottoms, forks)


def _box(node: int, sizes: Sizes, grid: _Grid) -> Box:
    lanes, graph = sizes.lanes, sizes.graph
    x, half = grid.x[lanes.lane[node]], sizes.half_width(node)
    left, right = x - half, x + half
    if node in lanes.bars:  # a bar over the lanes that come in
        ends = [grid.x[lanes.branch_lane[n]] for n, b in enumerate(graph.branches) if node in b.nodes[1:]]
        left, right = (
            min(left, *(end - LINE_EXTENT for end in ends)),
            max(right, *(e + LINE_EXTENT for e in ends)),
        )
    return Box(node, x, grid.tops[lanes.band[node]], left, right, sizes.height(node), sizes.rows(node))


def _rails(number: int, sizes: Sizes, grid: _Grid, boxes: dict[int, Box]) -> list[_Rail]:
    nodes = sizes.graph.branches[number].nodes
    lane, start, end = grid.x[sizes.lanes.branch_lane[number]], boxes[nodes[0]].x, boxes[nodes[-1]].x
    rails = [_Rail(number, grid.forks[nodes[0]], min(start, lane), max(start, lane))]
    if nodes[-1] not in sizes.lanes.bars:
        rails.append(_Rail(number, boxes[nodes[-1]].middle, min(end, lane), max(end, lane)))
    return rails


def _centered(
    number: int, sizes: Sizes, grid: _Grid, boxes: dict[int, Box], rails: list[_Rail]
) -> dict[int, Box]:
    """Return the boxes of a branch in the middle of its line, {} if another line would be in the way."""
    first, *inside, end = sizes.graph.branches[number].nodes
    only_boxes = all(sizes.graph.nodes[n].kind == "box" for n in inside)
    if not inside or not only_boxes or number in sizes.lanes.host:
        return {}
    leading = sizes.letters.leading
    gap = leading + ARROW_LENGTH
    above = leading * bool(sizes.arrival_label(number)) + ARROW_LENGTH
    top = grid.forks[first] + above
    bottom = boxes[end].y - ARROW_LENGTH if end in sizes.lanes.bars else boxes[end].middle - 2.0
    needed = sum(boxes[n].height for n in inside) + gap * (len(inside) - 1) + leading
    y = top + (bottom - top - needed) / 2
    lane = grid.x[sizes.lanes.branch_lane[number]]
    crossing = [r for r in rails if r.branch != number and r.left <= lane <= r.right]
    if y < boxes[inside[0]].y or any(y - above < r.y < y + needed for r in crossing):
        return {}
    moved = {}
    for node in inside:
        moved[node] = replace(boxes[node], y=y)
        y += boxes[node].height + gap
    return moved


def _lines(number: int, branch: Branch, sizes: Sizes, grid: _Grid, boxes: dict[int, Box]) -> list[Line]:
    lines = []
    lane = grid.x[sizes.lanes.branch_lane[number]]
    for source, target in zip(branch.nodes, branch.nodes[1:], strict=False):
        box = boxes[target]
        points: list[Point] = [(lane, boxes[source].bottom)]
        if number and source == branch.nodes[0]:
            points = [(boxes[source].x, grid.forks[source]), (lane, grid.forks[source])]
        if number and target == branch.nodes[-1] and target not in sizes.lanes.bars:
            points += [(lane, box.middle), (box.right if lane > box.x else box.left, box.middle)]
        else:
            points.append((lane, box.y))
        lines.append(Line(tuple(points), number))
    return lines


def _labels(sizes: Sizes, grid: _Grid, boxes: dict[int, Box], rails: Sequence[_Rail]) -> list[Label]:
    labels, leading = [], sizes.letters.leading
    for node, box in boxes.items():
        if sizes.graph.nodes[node].kind in ("input", "output"):
            labels.append(Label(box.left, box.y + 1.0, sizes.end_text(node)))
        if text := sizes.output_label(node):
            labels.append(Label(box.x + LABEL_GAP, box.bottom + 1.0, text))
    for number, branch in enumerate(sizes.graph.branches):
        if text := sizes.arrival_label(number):
            x = grid.x[sizes.lanes.branch_lane[number]] + LABEL_GAP
            y = boxes[branch.nodes[1]].y - ARROW_LENGTH / 2 - leading
            if len(branch.nodes) == 2:
                width = sizes.letters.width(text)
                crossing = [r.y for r in rails if r.left < x + width and r.right > x - LABEL_GAP]
                y = _free_height(
                    grid.forks[branch.nodes[0]], boxes[branch.nodes[1]].middle, leading, crossing
                )
            labels.append(Label(x, y, text))
    return labels


def _free_height(start: float, end: float, leading: float, crossing: Sequence[float]) -> float:
    """Return the top of a label near the middle of a vertical line, where no crossing line is."""
    middle = (start + end - leading) / 2
    heights = (middle + sign * step for step in range(int(end - start) // 2) for sign in (1, -1))
    return next((y for y in heights if not any(y - 1.0 < line < y + leading for line in crossing)), middle)
