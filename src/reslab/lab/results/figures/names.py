"""Names of variants for a figure: shortened, and broken into lines that fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from reslab.inspection.drawing.paint import FONT, Lettering
from reslab.lab.results.variant_result import VariantResult
from reslab.text import printable

LETTERS = Lettering(7.5)
MAX_NAME_WIDTH = 150.0  # points


def short_names(variants: Sequence[VariantResult]) -> list[str]:
    """Return the names, without folders of files if they differ without."""
    names = [variant.name for variant in variants]
    short = [re.sub(r"[^:]*/", "", name) for name in names]
    return short if len(set(short)) == len(set(names)) else names


def broken(name: str, width: float) -> list[str]:
    """Return a name in lines of at most `width` points, broken after punctuation, else within a word."""
    first, *rest = (piece for word in _words(name) for piece in _pieces(word, width))
    lines = [first]
    for piece in rest:
        if LETTERS.width(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.strip() for line in lines]


def narrow(name: str) -> list[str]:
    """Return a name in lines as short as its words allow."""
    return broken(name, widest(_words(name)))


def widest(lines: Iterable[str]) -> float:
    """Return the width of the longest line in points, 0 without lines."""
    return max(map(LETTERS.width, lines), default=0.0)


def _words(name: str) -> list[str]:
    """Return the words of a name, each with its punctuation."""
    return re.findall(r"[^/:_.,= -]+[/:_.,= -]*|[/:_.,= -]+", _drawable(name))


def _pieces(word: str, width: float) -> Iterator[str]:
    """Iterate over a word's pieces of at most `width` points, each as long as possible."""
    while LETTERS.width(word) > width:
        fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or LETTERS.width(word[:n]) <= width)
        yield word[:fits]
        word = word[fits:]
    yield word


def _drawable(name: str) -> str:
    """Return a name with a box for each letter that the font lacks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties(family=FONT)))
    return "".join(c if font.get_char_index(ord(c)) else "□" for c in printable(name))
