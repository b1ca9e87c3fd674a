"""The strokes of a network's picture: bars, arrows, shortcuts, letters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .layout import GAP, STACKED, Arrow, Bar, Layout
from .stages import Chain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = "DejaVu Sans"  # comes with matplotlib
INK, SOFT, PALE = "#1a1a1a", "#444444", "#8a8a8a"
FILLS = {"input": "#ffffff", "block": "#7fa8cc", "pool": "#ececec", "Linear": "#3f5873"}
CONVOLUTION = "#c9d9e8"
DASHES: dict[str, Any] = {
    "identity": "-",
    "projection": (0, (3.2, 1.5)),
    "zeros": (0, (0.9, 1.1)),
    "pooled": (0, (4, 1.2, 0.9, 1.2)),
}
MEANINGS = {
    "identity": "identity",
    "projection": "projection",
    "zeros": "zeros added",
    "pooled": "pooled",
}


@dataclass(frozen=True)
class Lettering:
    """One size of letters, in points, for the whole picture."""

    size: float

    @property
    def leading(self) -> float:
        """From one line of text to the next."""
        return 1.27 * self.size

    @cached_property
    def _font(self) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=FONT, size=self.size)

    def width(self, text: str) -> float:
        from matplotlib.textpath import TextToPath

        return float(TextToPath().get_text_width_height_descent(text, self._font, ismath=False)[0])

    def put(self, axes: Axes, x: float, y: float, text: str, align: str = "center", **looks: Any) -> None:
        """Its top at y."""
        fonts: dict[str, Any] = {"family": FONT, "size": self.size, "color": INK, **looks}
        axes.text(x, y, text, ha=align, va="top", parse_math=False, zorder=6, **fonts)


def paint_line(
    axes: Axes, letters: Lettering, shown: Chain, layout: Layout, line: int, y: float, under: float
) -> None:
    """One line of bars around height y, its letters from `under` down."""
    bars = [bar for bar in layout.bars if bar.line == line]
    forks = {bar.x for bar in bars if bar.unit.shortcuts or any(o.first == bar.number for o in shown.over)}
    sums = {_end(bar) for bar in bars if bar.unit.shortcuts or any(o.last == bar.number for o in shown.over)}
    for one, other in zip(bars, bars[1:], strict=False):
        axes.plot([_end(one), other.x], [y, y], color=INK, linewidth=0.7, zorder=1)
    for arrow in layout.arrows:
        if arrow.line == line:
            _paint_arrow(axes, letters, arrow, (arrow.left in sums, arrow.right in forks), y, under)
    for bar in bars:
        _paint_bar(axes, letters, bar, y)
    for over in shown.over:
        inside = layout.around(over)
        if inside and inside[0].line == line:
            high = max(bar.height for bar in inside) / 2 + 8
            left, right = inside[0].x - GAP / 2, _end(inside[-1]) + GAP / 2
            _arc(axes, left, right, y, high, over.kind, f"over-{over.first}-{over.last}")
    for name in layout.names:
        if name.line == line:
            for i, text in enumerate(name.text):
                letters.put(axes, name.x, under - letters.leading * i, text, color=SOFT if i else INK)


def paint_legend(axes: Axes, letters: Lettering, kinds: set[str], x: float, y: float) -> None:
    """A sample of each kind of shortcut that the picture has."""
    intro = "shortcut:" if kinds else "no shortcuts"
    letters.put(axes, x, y, intro, "left")
    x += letters.width(intro) + 4
    for kind in MEANINGS:
        if kind in kinds:
            middle = y - letters.size / 2
            axes.plot([x, x + 13], [middle, middle], color=INK, linewidth=0.85, linestyle=DASHES[kind])
            letters.put(axes, x + 16, y, MEANINGS[kind], "left")
            x += 16 + letters.width(MEANINGS[kind]) + 6


def _end(bar: Bar) -> float:
    return bar.x + bar.width + (STACKED if bar.count > 1 else 0)


def _paint_arrow(
    axes: Axes, letters: Lettering, arrow: Arrow, bent: tuple[bool, bool], y: float, under: float
) -> None:
    """From the sum, if one ends there, to where the next shortcut leaves."""
    left, right = arrow.left + bent[0] * GAP / 2, arrow.right - bent[1] * (GAP / 2 - 0.4)
    looks: dict[str, Any] = {"color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0.3}
    looks["arrowstyle"] = "-|>,head_length=0.26,head_width=0.13"
    axes.annotate("", (right, y), xytext=(left, y), arrowprops=looks, zorder=2)
    if arrow.label:
        x, top = arrow.label_x, under - letters.leading * 2 - 1.5
        axes.plot([x, x], [y - 1.5, top + 0.8], color=PALE, linewidth=0.4, zorder=0)
        for i, text in enumerate(arrow.label):
            letters.put(axes, x, top - letters.leading * i, text)


def _paint_bar(axes: Axes, letters: Lettering, bar: Bar, y: float) -> None:
    from matplotlib.patches import Rectangle

    kind = bar.unit.kind
    word = "block" if bar.unit.is_block else "pool" if "Pool" in kind or kind == "mean" else kind
    shifts = (STACKED, STACKED / 2, 0.0) if bar.count > 1 else (0.0,)
    for shift in shifts:
        corner = (bar.x + shift, y - bar.height / 2 + shift)
        looks: dict[str, Any] = {"facecolor": FILLS.get(word, CONVOLUTION), "edgecolor": INK}
        box = Rectangle(corner, bar.width, bar.height, linewidth=0.5, zorder=3, **looks)
        box.set_gid(None if shift else f"bar-{bar.unit.name}")
        axes.add_patch(box)
    high = bar.height / 2 + 3.5 + max(shifts)
    step = (_end(bar) - bar.x + GAP) / max(1, len(bar.unit.shortcuts))
    for i, shortcut in enumerate(bar.unit.shortcuts):
        left = bar.x - GAP / 2 + i * step
        _arc(axes, left, left + step, y, high, shortcut, f"{bar.unit.name}-{i}")
    if bar.count > 1:
        letters.put(axes, (bar.x + _end(bar)) / 2, y + high + letters.leading, f"×{bar.count}")


def _arc(axes: Axes, left: float, right: float, y: float, high: float, kind: str, name: str) -> None:
    """From the line of flow up, across and down to the sum."""
    from matplotlib.patches import Circle, PathPatch
    from matplotlib.path import Path

    apart = 0.75  # two that meet in one gap stay two lines
    left, right, top = left + apart, right - apart, y + high
    bend = min(3.0, (right - left) / 2)
    points = [(left, y), (left, top - bend), (left, top), (left + bend, top)]
    points += [(right - bend, top), (right, top), (right, top - bend), (right, y + 1.1)]
    codes = [Path.MOVETO, Path.LINETO, Path.CURVE3, Path.CURVE3]
    codes += [Path.LINETO, Path.CURVE3, Path.CURVE3, Path.LINETO]
    line: dict[str, Any] = {"linestyle": DASHES[kind], "linewidth": 0.85, "capstyle": "butt"}
    arc = PathPatch(Path(points, codes), facecolor="none", edgecolor=INK, zorder=4, **line)
    arc.set_gid(f"shortcut-{kind}-{name}")
    axes.add_patch(arc)
    axes.add_patch(Circle((right, y), 1.2, facecolor="white", edgecolor=INK, linewidth=0.6, zorder=5))
