"""Rows -> text for a terminal, a pipe, Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence


def text_width(text: str) -> int:
    """Columns that `text` takes in a terminal: Chinese letters take two, combining marks none."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def printable(text: str) -> str:
    """`text` without what would move the cursor or cannot be encoded: a file name may hold anything."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Columns side by side, two spaces apart, a rule under the header. `align`: l or r for each column."""
    align = align.ljust(len(header), "l")
    cells = [[printable(cell) for cell in header], *([printable(cell) for cell in row] for row in rows)]
    widths = [max(text_width(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(_pad(row[i], widths[i], align[i]) for i in range(len(header))).rstrip() for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _pad(text: str, width: int, align: str) -> str:
    space = " " * (width - text_width(text))
    return space + text if align == "r" else text + space
