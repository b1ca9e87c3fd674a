"""Texts in the nodes of a block's drawing, broken into lines, and the sizes of the nodes that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reslab.inspection.drawing.paint import Lettering

from .graph import Node
from .rows import Row, shape_text

PADDING = 4.0  # between a text and the sides of its box
ROW_PADDING = 3.2  # height of a row without its lines of text
NAME_GAP = 5.0  # between a layer's kind and its name in one line
CIRCLE_RADIUS = 4.0

TextLine = tuple[str, str]  # a layer's kind with settings, and its name; one of them may be ""


@dataclass(frozen=True)
class Texts:
    """Texts of a block in one font.

    Attributes:
        nodes: of the block.
        letters: the font.
        cap: width in points at which a text breaks into more lines, between words.
    """

    nodes: Sequence[Node]
    letters: Lettering
    cap: float

    def end(self, index: int) -> str:
        """Return the text of the input or output, with its shape; "" for another node."""
        node = self.nodes[index]
        return f"{node.kind} {shape_text(node.output)}" if node.kind in ("input", "output") else ""

    def shape(self, index: int) -> str:
        """Return the shape to write below a node, "" for a circle and where the output's text has it."""
        node = self.nodes[index]
        shown = node.kind in ("box", "join") and index not in self.nodes[-1].inputs
        return shape_text(node.output) if shown else ""

    def rows(self, index: int) -> tuple[tuple[Row, tuple[TextLine, ...]], ...]:
        """Return the rows of a box or join with their lines, () for a circle and for the ends."""
        node = self.nodes[index]
        return tuple((row, self._broken(row)) for row in node.rows if node.kind in ("box", "join"))

    def width(self, line: TextLine) -> float:
        gap = NAME_GAP if all(line) else 0.0
        return sum(map(self.letters.width, line)) + gap

    def half_width(self, index: int) -> float:
        """Return half the width of a node."""
        if text := self.end(index):
            return self.letters.width(text) / 2
        widths = [self.width(line) / 2 + PADDING for _, lines in self.rows(index) for line in lines]
        return max(widths, default=CIRCLE_RADIUS)

    def height(self, index: int) -> float:
        if self.end(index):
            return self.letters.leading
        return sum(self.row_height(lines) for _, lines in self.rows(index)) or 2 * CIRCLE_RADIUS

    def row_height(self, lines: Sequence[TextLine]) -> float:
        return ROW_PADDING + self.letters.leading * len(lines)

    def _broken(self, row: Row) -> tuple[TextLine, ...]:
        lines = [row.words[0]]
        for word in row.words[1:]:
            if self.letters.width(longer := f"{lines[-1]}, {word}") <= self.cap:
                lines[-1] = longer
            else:
                lines.append(word)
        *above, last = [(line, "") for line in lines]
        if row.name and self.width((last[0], row.name)) > self.cap:
            return (*above, last, ("", row.name))
        return (*above, (last[0], row.name))
