"""Sizes of a block's boxes and lanes, with texts broken into lines where the lanes would not fit the page."""

from __future__ import annotations

from dataclasses import dataclass

from reslab.inspection.drawing.paint import SHORTCUTS, Lettering

from .graph import BlockGraph
from .lanes import Lanes, lanes_of
from .rows import Row, shape_text

PADDING = 4.0  # between a text and the sides of its box
ROW_PADDING = 3.2  # height of a row without its lines of text
NAME_GAP = 5.0  # between a layer's kind and its name in one line
CIRCLE_RADIUS = 4.0
LABEL_GAP = 3.0  # between a line and its label
LANE_GAP = 6.0
LINE_EXTENT = 5.0  # room on each side of a lane that has only a line
MAX_TEXT_WIDTH = 400.0
CAP_STEPS = 16  # of a bisection


@dataclass(frozen=True)
class TextLine:
    """One line of a row: the layer's kind and settings, then its name."""

    text: str
    name: str

    def width(self, letters: Lettering) -> float:
        gap = NAME_GAP if self.text and self.name else 0.0
        return letters.width(self.text) + gap + letters.width(self.name)


Rows = tuple[tuple[Row, tuple[TextLine, ...]], ...]


class Sizes:
    """Sizes in points, by the indices of nodes, branches and lanes.

    Args:
        graph: the block.
        letters: the font.
        width: room for all lanes. Texts break into more lines until they fit, at the latest at each word.

    Attributes:
        columns: the lanes from left to right.
        extents: of each lane, the room on the left and on the right of its middle.
        needed: width of all lanes with the smallest gaps.
    """

    def __init__(self, graph: BlockGraph, letters: Lettering, width: float) -> None:
        self.graph, self.letters = graph, letters
        self.lanes: Lanes = lanes_of(graph)
        self.columns = sorted({0, *self.lanes.branch_lane})
        self.branch_of = {n: b for b, branch in enumerate(graph.branches) for n in branch.nodes[1:-1]}
        low, self.cap = 0.0, MAX_TEXT_WIDTH  # of a line of text
        if self._total() > width:
            high = self.cap
            for _ in range(CAP_STEPS):
                self.cap = (low + high) / 2
                low, high = (self.cap, high) if self._total() <= width else (low, self.cap)
            self.cap = low
        self.extents = {lane: self._extent(lane) for lane in self.columns}
        self.needed = self._total()

    def rows(self, node: int) -> Rows:
        """Return the rows of a node with their lines of text, () for a circle and for the ends."""
        shown = self.graph.nodes[node]
        return tuple((row, self._broken(row)) for row in shown.rows if shown.kind in ("box", "join"))

    def half_width(self, node: int) -> float:
        """Return half the width of a node; the boxes of a branch have the same."""
        shown = self.graph.nodes[node]
        if shown.kind in ("input", "output"):
            return self.letters.width(self.end_text(node)) / 2
        alike = [node]
        if shown.kind == "box":
            own = self.graph.branches[self.branch_of[node]].nodes[1:-1]
            alike = [n for n in own if self.graph.nodes[n].kind == "box"]
        lines = [line for n in alike for _, broken in self.rows(n) for line in broken]
        widths = [line.width(self.letters) / 2 + PADDING for line in lines]
        return max(widths, default=CIRCLE_RADIUS)

    def height(self, node: int) -> float:
        rows = self.rows(node)
        if rows:
            return sum(ROW_PADDING + self.letters.leading * len(lines) for _, lines in rows)
        is_end = self.graph.nodes[node].kind in ("input", "output")
        return self.letters.leading if is_end else 2 * CIRCLE_RADIUS

    def end_text(self, node: int) -> str:
        """Return the text of the input or output, with its shape."""
        shown = self.graph.nodes[node]
        return f"{shown.kind} {shape_text(shown.output)}"

    def output_label(self, node: int) -> str:
        """Return the shape to write below a node, "" for a circle and where the output's text has it."""
        shown = self.graph.nodes[node]
        takers = [self.graph.nodes[n].kind for n in self.graph.outputs(node)]
        return shape_text(shown.output) if shown.kind in ("box", "join") and takers != ["output"] else ""

    def arrival_label(self, branch: int) -> str:
        """Return the text above the first node of a branch, "" for the main path.

        It is the kind of a shortcut, and the shape if a view changed it.
        """
        if not branch:
            return ""
        shown = self.graph.branches[branch]
        edge = self.graph.edge(*shown.nodes[:2])
        changed = edge.shape != self.graph.nodes[edge.source].output
        words = [SHORTCUTS[shown.kind][1] if shown.kind else "", shape_text(edge.shape) if changed else ""]
        return " ".join(word for word in words if word)

    def _broken(self, row: Row) -> tuple[TextLine, ...]:
        """Break the words of a row into lines of at most `cap` points, the name last."""
        lines = [row.words[0]]
        for word in row.words[1:]:
            longer = f"{lines[-1]}, {word}"
            if self.letters.width(longer) <= self.cap:
                lines[-1] = longer
            else:
                lines.append(word)
        broken = [TextLine(line, "") for line in lines]
        if row.name:
            with_name = TextLine(lines[-1], row.name)
            fits = with_name.width(self.letters) <= self.cap
            broken = [*broken[:-1], with_name] if fits else [*broken, TextLine("", row.name)]
        return tuple(broken)

    def _extent(self, lane: int) -> tuple[float, float]:
        nodes = [n for n, where in enumerate(self.lanes.lane) if where == lane]
        labels = [self.output_label(n) for n in nodes]
        labels += [self.arrival_label(b) for b, where in enumerate(self.lanes.branch_lane) if where == lane]
        halves = [LINE_EXTENT, *(self.half_width(n) for n in nodes)]
        return max(halves), max([*halves, *(LABEL_GAP + self.letters.width(text) for text in labels if text)])

    def _total(self) -> float:
        return sum(sum(self._extent(lane)) for lane in self.columns) + LANE_GAP * (len(self.columns) - 1)
