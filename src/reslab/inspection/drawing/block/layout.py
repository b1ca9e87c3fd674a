"""Positions of a block's boxes, lines and labels: each path is laid out alone, then put into its split.

Every branch has a part of the page to itself, so that no line crosses a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from reslab.inspection.drawing.paint import SHORTCUTS

from .graph import Node, NodeKind
from .paths import Path
from .rows import Row
from .texts import TextLine, Texts

LABEL_GAP = 3.0  # between a line and its label
LANE_GAP = 10.0  # between branches
LINE_EXTENT = 5.0  # room on each side of a branch that is only a line
ARROW_LENGTH = 8.0
TRACK = 5.0  # height of the line of a fork with its room

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """Node as drawn, y at its top. A circle and the block's ends have no rows."""

    kind: NodeKind
    y: float
    left: float
    right: float
    height: float
    rows: tuple[tuple[Row, tuple[TextLine, ...]], ...] = ()

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Line:
    """Line through `points` with an arrowhead at its end; role and kind are those of its path."""

    points: tuple[Point, ...]
    role: str
    kind: str


@dataclass(frozen=True)
class Label:
    """Text with its left end at x and its top at y."""

    x: float
    y: float
    text: str


@dataclass
class Piece:
    """Drawing of a path in points (1/72 inch): y down from its start, x from its middle line.

    Attributes:
        path: gives the lines their role and kind.
        left: extent on the left of the middle line, at least 0.
        right: extent on its right.
        height: of the piece.
        head: y where the line into the piece ends; None for a path that is only a line.
        tail: y where the line out of it starts.
        at: its start in the piece of the path around it.
        forks: points where a branch leaves.
    """

    path: Path
    left: float = LINE_EXTENT
    right: float = LINE_EXTENT
    height: float = 0.0
    head: float | None = None
    tail: float = 0.0
    at: Point = 0.0, 0.0
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    forks: list[Point] = field(default_factory=list)

    @property
    def width(self) -> float:
        return self.left + self.right

    def put(self, other: Piece) -> None:
        """Add another piece where it starts."""
        x, y = other.at
        self.boxes += [replace(b, y=b.y + y, left=b.left + x, right=b.right + x) for b in other.boxes]
        for line in other.lines:
            self.lines.append(replace(line, points=tuple((a + x, b + y) for a, b in line.points)))
        self.labels += [Label(label.x + x, label.y + y, label.text) for label in other.labels]
        self.forks += [(a + x, b + y) for a, b in other.forks]
        self.left, self.right = max(self.left, other.left - x), max(self.right, other.right + x)

    def write(self, y: float, text: str, texts: Texts) -> None:
        """Add a label on the right of the middle line."""
        self.labels.append(Label(LABEL_GAP, y, text))
        self.right = max(self.right, LABEL_GAP + texts.letters.width(text))

    def line(self, *points: Point) -> Line:
        return Line(points, self.path.role, self.path.kind)

    def reach(self, y: float) -> None:
        """Draw the middle line on down to y. The first line, into the piece, is left to the caller."""
        if self.head is None:
            self.head = y
        else:
            self.lines.append(self.line((0.0, self.tail), (0.0, y)))


def lay_out(path: Path, texts: Texts, shortcut: str = "") -> Piece:
    """Return the drawing of a path; the kind of a shortcut is written at its start."""
    piece, nodes = Piece(path), texts.nodes
    own = [step for step in path.steps if isinstance(step, int)]
    half = max((texts.half_width(n) for n in own if nodes[n].kind == "box"), default=0.0)
    boxes, arcs = dict[int, Box](), _arcs(path, nodes)
    rails = {path.start: 0.0}  # heights at which arcs leave
    y, fork, sides = 0.0, 0.0, list[Piece]()
    if shortcut:
        piece.write(ARROW_LENGTH / 2, SHORTCUTS[shortcut][1], texts)
        y = texts.letters.leading
    for previous, step in zip((path.start, *path.steps), path.steps, strict=False):
        if isinstance(step, tuple):
            above = 0.0 if not shortcut else ARROW_LENGTH / 2  # the label of the shortcut ends there
            fork = y + (above if piece.head is None else TRACK / 2)
            main = lay_out(replace(step[0], role=path.role, kind=path.kind), texts)
            sides = [lay_out(side, texts, side.kind) for side in step[1:]]
            y = fork + max(each.height for each in (main, *sides))
            _spread(main, sides, fork, y)
            for each in (main, *sides):
                piece.put(each)
            piece.forks.append((0.0, fork))
            if main.head is not None:
                piece.reach(fork + main.head)
                piece.tail = fork + main.tail
            continue
        boxes[step] = box = _box(step, y + ARROW_LENGTH, half, sides, texts)
        if isinstance(previous, tuple) or previous in nodes[step].inputs or not step:
            piece.reach(box.y)
        piece.lines += [line for side in sides for line in _joining(side, fork, box)]
        piece.left, piece.right = max(piece.left, -box.left), max(piece.right, box.right)
        sides, piece.tail = [], box.y + box.height
        y = piece.tail + 1.0
        if text := texts.shape(step):
            piece.write(y, text, texts)
            y += texts.letters.leading
        if text := texts.end(step):
            piece.labels.append(Label(box.left, box.y + 1.0, text))
        rails[step] = y + TRACK / 2
        y += TRACK * bool(arcs)
    for source, target in arcs:
        piece.right += LINE_EXTENT
        x, box = piece.right, boxes[target]
        start = boxes[source].y + boxes[source].height if source in boxes else 0.0
        corners = (0.0, rails[source]), (x, rails[source]), (x, box.middle)
        piece.lines.append(piece.line((0.0, start), *corners, (box.right, box.middle)))
        piece.forks.append(corners[0])
    piece.boxes += boxes.values()
    piece.height = y
    return piece


def _arcs(path: Path, nodes: Sequence[Node]) -> list[tuple[int, int]]:
    """Return the edges (source, target) of crossing branches, the shortest first, see `Path`."""
    pairs = zip((path.start, *path.steps), path.steps, strict=False)
    nodes_in_row = [(one, step) for one, step in pairs if isinstance(one, int) and isinstance(step, int)]
    found = [(source, step) for one, step in nodes_in_row for source in nodes[step].inputs if source != one]
    return sorted(found, key=lambda edge: edge[1] - edge[0])


def _spread(main: Piece, sides: Sequence[Piece], top: float, bottom: float) -> None:
    """Set the starts of the branches of a split: shortcuts right of the first one, others in turn."""
    main.at = 0.0, top
    reach = {-1: main.left, 1: main.right}
    sign = 1
    for piece in sides:
        sign = 1 if piece.path.role == "shortcut" else -sign
        near, far = (piece.right, piece.left) if sign < 0 else (piece.left, piece.right)
        x = reach[sign] + LANE_GAP + near
        reach[sign] = x + far
        piece.at = sign * x, (top + bottom - piece.height) / 2


def _box(index: int, y: float, half: float, sides: Sequence[Piece], texts: Texts) -> Box:
    """Return the box of a node. A join is a bar over the branches that come in."""
    kind = texts.nodes[index].kind
    own = half if kind == "box" else texts.half_width(index)
    ends = [side.at[0] for side in sides if kind == "join"]
    left = min([-own, *(end - LINE_EXTENT for end in ends)])
    right = max([own, *(end + LINE_EXTENT for end in ends)])
    return Box(kind, y, left, right, texts.height(index), texts.rows(index))


def _joining(side: Piece, fork: float, box: Box) -> list[Line]:
    """Return the lines of a branch at the side, from the height of its fork and to the node where it ends."""
    x, y = side.at
    start: tuple[Point, ...] = (0.0, fork), (x, fork)
    end: tuple[Point, ...] = (x, box.middle), (box.right if x > 0 else box.left, box.middle)
    if box.kind == "join":
        end = ((x, box.y),)
    if side.head is None:
        return [side.line(*start, *end)]
    return [side.line(*start, (x, y + side.head)), side.line((x, y + side.tail), *end)]
