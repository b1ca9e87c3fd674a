"""Drawing of a network's bars, arrows, shortcuts and letters with matplotlib."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .layout import BAR_GAP, STACK_WIDTH, Arrow, Bar, Layout
from .stages import Chain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = "DejaVu Sans"  # comes with matplotlib
BLACK, DARK_GREY, GREY = "#1a1a1a", "#444444", "#8a8a8a"
FILLS = {"input": "#ffffff", "block": "#7fa8cc", "pool": "#ececec", "Linear": "#3f5873"}
CONVOLUTION_FILL = "#c9d9e8"
# kind of shortcut: dashes of its line, and its name in the legend
SHORTCUTS: dict[str, tuple[Any, str]] = {
    "identity": ("-", "identity"),
    "projection": ((0, (3.2, 1.5)), "projection"),
    "zeros": ((0, (0.9, 1.1)), "zeros added"),
    "pooled": ((0, (4, 1.2, 0.9, 1.2)), "pooled"),
}


@dataclass(frozen=True)
class Lettering:
    """Font of one size, in points, for the whole drawing."""

    size: float

    @property
    def leading(self) -> float:
        """Distance from one line of text to the next, in points."""
        return 1.27 * self.size

    @cached_property
    def _font(self) -> Any:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=FONT, size=self.size)

    @cached_property
    def _widths(self) -> dict[str, float]:
        return {}

    def width(self, text: str) -> float:
        """Return the width of a text in points."""
        if text not in self._widths:  # a measurement takes 0.2 ms, and a layout asks for the same texts often
            from matplotlib.textpath import TextToPath

            size = TextToPath().get_text_width_height_descent(text, self._font, ismath=False)
            self._widths[text] = float(size[0])
        return self._widths[text]

    def wrapped(self, text: str, width: float) -> list[str]:
        """Wrap a text into lines of at most `width` points, at the latest at 10 characters."""
        count = len(text)
        lines = [text]
        while count > 10 and any(self.width(line) > width for line in lines):
            count -= 1
            lines = textwrap.wrap(text, count, break_on_hyphens=False)
        return lines

    def put(self, axes: Axes, x: float, y: float, text: str, align: str = "center", **style: Any) -> None:
        """Write a text on `axes` with its top at y; `align` says what is at x: its center, left or right.

        `style` replaces size, color and other properties of the text.
        """
        fonts: dict[str, Any] = {"family": FONT, "size": self.size, "color": BLACK, **style}
        axes.text(x, y, text, ha=align, va="top", parse_math=False, zorder=6, **fonts)


def paint_line(
    axes: Axes, letters: Lettering, shown: Chain, layout: Layout, line: int, y: float, under: float
) -> None:
    """Draw one line of bars on `axes`, with their arrows, shortcuts and names.

    Args:
        axes: in points, y upwards.
        letters: the font.
        shown: the network's stages.
        layout: positions of all lines.
        line: index of the line to draw.
        y: height of the bars' middle.
        under: top of the names; the arrows' labels are below them.
    """
    bars = [bar for bar in layout.bars if bar.line == line]
    firsts, lasts = ({getattr(s, end) for s in shown.long_shortcuts} for end in ("first", "last"))
    forks = {bar.x for bar in bars if bar.unit.shortcuts or bar.number in firsts}
    sums = {bar.end for bar in bars if bar.unit.shortcuts or bar.number in lasts}
    for one, other in zip(bars, bars[1:], strict=False):
        axes.plot([one.end, other.x], [y, y], color=BLACK, linewidth=0.7, zorder=1)
    for arrow in layout.arrows:
        if arrow.line == line:
            _paint_arrow(axes, letters, arrow, (arrow.left in sums, arrow.right in forks), y, under)
    for bar in bars:
        _paint_bar(axes, letters, bar, y)
    for shortcut in shown.long_shortcuts:
        inside = layout.bars_inside(shortcut)
        if inside and inside[0].line == line:
            high = max(bar.height for bar in inside) / 2 + 8
            left, right = inside[0].x - BAR_GAP / 2, inside[-1].end + BAR_GAP / 2
            name = f"over-{shortcut.first}-{shortcut.last}"
            _paint_shortcut(axes, left, right, y, high, shortcut.kind, name)
    for stage_name in layout.names:
        if stage_name.line == line:
            for i, text in enumerate(stage_name.text):
                color = DARK_GREY if i else BLACK
                letters.put(axes, stage_name.x, under - letters.leading * i, text, color=color)


def paint_legend(axes: Axes, letters: Lettering, kinds: set[str], x: float, y: float) -> None:
    """Draw a sample and the name of each of these kinds of shortcut, from x to the right with its top at y.

    Without kinds the text is "no shortcuts".
    """
    intro = "shortcut:" if kinds else "no shortcuts"
    letters.put(axes, x, y, intro, "left")
    x += letters.width(intro) + 4
    for kind, (dashes, meaning) in SHORTCUTS.items():
        if kind in kinds:
            middle = y - letters.size / 2
            axes.plot([x, x + 13], [middle, middle], color=BLACK, linewidth=0.85, linestyle=dashes)
            letters.put(axes, x + 16, y, meaning, "left")
            x += 16 + letters.width(meaning) + 6


def _paint_arrow(
    axes: Axes, letters: Lettering, arrow: Arrow, bent: tuple[bool, bool], y: float, under: float
) -> None:
    """Draw an arrow at height y, with its label two lines below `under`.

    `bent` says if a shortcut ends at its left end, and if one begins at its right end. The arrow then is
    shorter there by about half a BAR_GAP.
    """
    left, right = arrow.left + bent[0] * BAR_GAP / 2, arrow.right - bent[1] * (BAR_GAP / 2 - 0.4)
    style: dict[str, Any] = {"color": BLACK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0.3}
    style["arrowstyle"] = "-|>,head_length=0.26,head_width=0.13"
    axes.annotate("", (right, y), xytext=(left, y), arrowprops=style, zorder=2)
    if arrow.label:
        x, top = arrow.label_x, under - letters.leading * 2 - 1.5
        axes.plot([x, x], [y - 1.5, top + 0.8], color=GREY, linewidth=0.4, zorder=0)
        for i, text in enumerate(arrow.label):
            letters.put(axes, x, top - letters.leading * i, text)


def _paint_bar(axes: Axes, letters: Lettering, bar: Bar, y: float) -> None:
    from matplotlib.patches import Rectangle

    kind = bar.unit.kind
    word = "block" if bar.unit.is_block else "pool" if "Pool" in kind or kind == "mean" else kind
    shifts = (STACK_WIDTH, STACK_WIDTH / 2, 0.0) if bar.count > 1 else (0.0,)
    for shift in shifts:
        corner = (bar.x + shift, y - bar.height / 2 + shift)
        style: dict[str, Any] = {"facecolor": FILLS.get(word, CONVOLUTION_FILL), "edgecolor": BLACK}
        box = Rectangle(corner, bar.width, bar.height, linewidth=0.5, zorder=3, **style)
        box.set_gid(None if shift else f"bar-{bar.unit.name}")
        axes.add_patch(box)
    high = bar.height / 2 + 3.5 + max(shifts)
    step = (bar.end - bar.x + BAR_GAP) / max(1, len(bar.unit.shortcuts))
    for i, shortcut in enumerate(bar.unit.shortcuts):
        left = bar.x - BAR_GAP / 2 + i * step
        _paint_shortcut(axes, left, left + step, y, high, shortcut, f"{bar.unit.name}-{i}")
    if bar.count > 1:
        letters.put(axes, (bar.x + bar.end) / 2, y + high + letters.leading, f"×{bar.count}")


def _paint_shortcut(
    axes: Axes, left: float, right: float, y: float, high: float, kind: str, name: str
) -> None:
    """Draw a shortcut from (left, y) up by `high`, across, and down to a circle, the sum, at (right, y).

    `kind` is a key of SHORTCUTS. An SVG has the id "shortcut-{kind}-{name}".
    """
    from matplotlib.patches import Circle, PathPatch
    from matplotlib.path import Path

    apart = 0.75  # keeps two that meet in one gap apart
    left, right, top = left + apart, right - apart, y + high
    bend = min(3.0, (right - left) / 2)
    points = [(left, y), (left, top - bend), (left, top), (left + bend, top)]
    points += [(right - bend, top), (right, top), (right, top - bend), (right, y + 1.1)]
    codes = [Path.MOVETO, Path.LINETO, Path.CURVE3, Path.CURVE3]
    codes += [Path.LINETO, Path.CURVE3, Path.CURVE3, Path.LINETO]
    style: dict[str, Any] = {"linestyle": SHORTCUTS[kind][0], "linewidth": 0.85, "capstyle": "butt"}
    line = PathPatch(Path(points, codes), facecolor="none", edgecolor=BLACK, zorder=4, **style)
    line.set_gid(f"shortcut-{kind}-{name}")
    axes.add_patch(line)
    axes.add_patch(Circle((right, y), 1.2, facecolor="white", edgecolor=BLACK, linewidth=0.6, zorder=5))
