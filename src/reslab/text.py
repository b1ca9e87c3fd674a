"""Tables for terminals, pipes and notebooks, short numbers, and file names made printable."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence

MAX_NAMED = 3  # names that a note shows


def text_width(text: str) -> int:
    """Count the terminal columns of `text`: wide characters such as Chinese ones take two, accents none."""
    return sum(
        0 if unicodedata.category(c) in ("Mn", "Me") else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def printable(text: str) -> str:
    """Return `text` with each character that is not printable as an escape: a line break becomes \\n.

    Such characters are control characters, line breaks, and bytes of file names that are not UTF-8.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text
    )


def count_and_names(names: Sequence[str], before: str = "") -> str:
    """Return the number of names and the first three: "4, a.jpg, b.jpg, c.jpg, ...".

    Args:
        names: at least one.
        before: put before each name.
    """
    more = ", ..." if len(names) > MAX_NAMED else ""
    return f"{len(names):,}, {', '.join(before + name for name in names[:MAX_NAMED])}{more}"


def short_number(number: int) -> str:
    """Return 1234567 as `1.23 M`, with k, M or G and about three digits; numbers under 1,000 as they are."""
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor * 0.9995:
            value = number / factor
            return f"{value:.0f} {letter}" if value >= 99.5 else f"{value:.3g} {letter}"
    return str(number)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Format a table as lines without a final line break: header, a rule of dashes, rows.

    Columns are two spaces apart. Characters that are not printable are escaped, line breaks too.

    Args:
        header: titles of the columns.
        rows: one cell for each column.
        align: l (left) or r (right) for each column; missing ones are l.
    """
    align = align.ljust(len(header), "l")
    cells = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(text_width(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "  ".join(_pad(row[i], widths[i], align[i]) for i in range(len(header))).rstrip() for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """Format a table as HTML for a notebook. Texts are escaped, and characters that are not printable, too.

    Arguments are those of `table`.
    """
    align = align.ljust(len(header), "l")

    def line(tag: str, cells: Sequence[str]) -> str:
        # notebooks align cells to the right unless the cell's own style says otherwise
        styles = (f"text-align:{'right' if a == 'r' else 'left'};white-space:nowrap" for a in align)
        texts = (html.escape(printable(cell)) for cell in cells)
        inside = "".join(
            f'<{tag} style="{style}">{text}</{tag}>' for style, text in zip(styles, texts, strict=True)
        )
        return f"<tr>{inside}</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return f"<table>\n<thead>{line('th', header)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _pad(text: str, width: int, align: str) -> str:
    space = " " * (width - text_width(text))
    return space + text if align == "r" else text + space
