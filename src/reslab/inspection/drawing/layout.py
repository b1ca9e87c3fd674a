"""Positions of bars, arrows and names in the drawing of a network, in points (1/72 inch).

Bars are to scale: heights by the square root of the feature map's side, widths by the square root of the
channels, one scale for the whole network. A long network continues in a second line. Where bars would be
thinner than MIN_BAR_WIDTH, one bar stands for several equal blocks ("×17").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from reslab.errors import UsageError
from reslab.inspection.layers import Shape
from reslab.text import short_number

from .stages import Chain, LongShortcut, Stage, Unit

MARGIN = 3.0
BAR_GAP = 4.4  # between two blocks of a stage: room for the ends of their shortcuts
MIN_ARROW_LENGTH = 11.5  # between two stages
MIN_BAR_WIDTH, MAX_BAR_WIDTH = 2.6, 30.0
VECTOR_WIDTH = 3.0  # a vector is a thin bar, whose height shows its length
STACK_WIDTH = 3.0  # added to a bar that stands for several blocks
MAX_SEPARATE_BLOCKS = 4  # of a stage, where there is no room for all

Measure = Callable[[str], float]


@dataclass(frozen=True)
class Bar:
    unit: Unit
    number: int  # of its first unit in the chain
    count: int  # units that it stands for
    line: int
    x: float
    width: float
    height: float

    @property
    def end(self) -> float:
        return self.x + self.width + (STACK_WIDTH if self.count > 1 else 0)


@dataclass(frozen=True)
class Arrow:
    """Arrow from `left` to `right`, from one stage to the next, labelled with the shape that goes along.

    `label` is () for an arrow that only begins a continued line. `line` is the index of the line.
    """

    line: int
    left: float
    right: float
    label: tuple[str, ...]
    label_x: float


@dataclass(frozen=True)
class Name:
    """Lines of text under a stage, centered at x; `line` is the index of the line of bars."""

    line: int
    x: float
    text: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    heights: tuple[float, ...]  # of each line's highest bar
    bars: tuple[Bar, ...]
    arrows: tuple[Arrow, ...]
    names: tuple[Name, ...]

    @property
    def is_grouped(self) -> bool:
        return any(bar.count > 1 for bar in self.bars)

    def bars_inside(self, shortcut: LongShortcut) -> list[Bar]:
        """Return the bars that a shortcut goes around, [] if some are grouped or they are in two lines."""
        inside = [bar for bar in self.bars if shortcut.first <= bar.number <= shortcut.last]
        whole = len(inside) == shortcut.last - shortcut.first + 1 and len({bar.line for bar in inside}) == 1
        return inside if whole else []


@dataclass
class _Slot:
    """Bars and texts of a stage, to be placed; `text_width` and `shape_width` are their widths in points."""

    parts: list[tuple[Unit, int, int]]  # unit, number, count
    text: tuple[str, ...]
    shape: tuple[str, ...]  # of the arrow after it
    text_width: float
    shape_width: float

    def widths(self, scale: float) -> list[float]:
        return [_width(u, scale) + (STACK_WIDTH if count > 1 else 0) for u, _, count in self.parts]

    def bars_width(self, scale: float) -> float:
        return sum(self.widths(scale)) + BAR_GAP * (len(self.parts) - 1)


@dataclass
class _Page:
    """Page that lines are placed on, with the bars, arrows and names placed so far.

    Attributes:
        room: width between the margins, in points.
        scale: points of width for the square root of one channel.
        max_height: points, the height of the image's bar.
        image: (C, H, W) of the image.
    """

    room: float
    scale: float
    max_height: float
    image: Shape
    bars: list[Bar] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    names: list[Name] = field(default_factory=list)

    def place_line(self, number: int, line: list[_Slot]) -> None:
        needs = _room_needed(line, number > 0, self.scale)
        spare = max(0.0, self.room - sum(needs)) / (len(line) + 0.5)
        x = MARGIN
        ends: list[tuple[float, float]] = []  # of each slot's bars
        middles: list[float] = []  # between the slots
        for i, (slot, need) in enumerate(zip(line, needs, strict=False)):
            pad = MIN_ARROW_LENGTH / 2 if i or number else 0.0
            free = need + spare - slot.bars_width(self.scale)
            left = x + max(pad, (free - MIN_ARROW_LENGTH / 2 + pad) / 2)
            if not i:  # the first bar is at the margin, as far as its name allows
                left = x + max(pad, (slot.text_width - slot.bars_width(self.scale)) / 2)
            at = left
            for (unit, first, count), width in zip(slot.parts, slot.widths(self.scale), strict=True):
                shown = width - (STACK_WIDTH if count > 1 else 0)
                self.bars.append(Bar(unit, first, count, number, at, shown, self._height(unit)))
                at += width + BAR_GAP
            self.names.append(Name(number, (left + at - BAR_GAP) / 2, slot.text))
            ends.append((left, at - BAR_GAP))
            x += need + spare
            middles.append(x)
        if number:
            self.arrows.append(Arrow(number, MARGIN, ends[0][0], (), 0.0))
        last = min(ends[-1][1] + MIN_ARROW_LENGTH + spare, self.room + MARGIN)
        rights = [*(left for left, _ in ends[1:]), last]
        for slot, (_, left), right, middle in zip(line, ends, rights, middles, strict=True):
            self.arrows.append(Arrow(number, left, right, slot.shape, middle))

    def _height(self, unit: Unit) -> float:
        if _is_vector(unit.output):
            return min(max(self.scale * math.sqrt(_channels(unit.output)), 4.0), self.max_height)
        return max(self.max_height * math.sqrt(_side(unit.output) / _side(self.image)), 3.0)


def place(chain: Chain, width: float, measure: Measure) -> Layout:
    """Return the layout of a drawing, in as few lines as possible.

    If separate bars need more than two lines, equal blocks of a long stage become one bar.

    Args:
        chain: the network's stages, one or more.
        width: of the drawing, in points.
        measure: returns the width of a text in points.

    Raises:
        UsageError: a single stage is wider than the drawing.
    """
    room = width - 2 * MARGIN
    min_scale = MIN_BAR_WIDTH / math.sqrt(min(_channels(s.units[0].output) for s in chain.stages))
    lines = _break(_slots(chain, False, measure), room, min_scale)
    if len(lines) > 2:
        lines = _break(_slots(chain, True, measure), room, min_scale)
    scale = min(_largest_scale(line, i > 0, room, min_scale) for i, line in enumerate(lines))
    if not scale:
        raise UsageError(
            "the network is too long for this drawing", "a stage needs more room", "make it wider"
        )
    page = _Page(room, scale, min(0.27 * width, 84.0), chain.image)
    for i, line in enumerate(lines):
        page.place_line(i, line)
    heights = tuple(max(bar.height for bar in page.bars if bar.line == i) for i in range(len(lines)))
    return Layout(heights, tuple(page.bars), tuple(page.arrows), tuple(page.names))


def _side(shape: Shape) -> float:
    """Return the side of a square with as many pixels, 1.0 for a vector."""
    return math.sqrt(math.prod(shape[1:]))


def _channels(shape: Shape) -> int:
    return shape[0] if len(shape) in (1, 3) else shape[-1]  # (T, D): tokens of D numbers


def _is_vector(shape: Shape) -> bool:
    return math.prod(shape[1:]) == 1


def _width(unit: Unit, scale: float) -> float:
    return VECTOR_WIDTH if _is_vector(unit.output) else max(scale * math.sqrt(_channels(unit.output)), 1.2)


def _label(shape: Shape) -> tuple[str, ...]:
    if len(shape) == 3 and shape[1:] != (1, 1):
        return str(shape[0]), f"{shape[1]}×{shape[2]}"
    return ("×".join(str(n) for n in (shape[:1] if _is_vector(shape) else shape)),)


def _slots(chain: Chain, group: bool, measure: Measure) -> list[_Slot]:
    ends = {n for shortcut in chain.long_shortcuts for n in (shortcut.first, shortcut.last)}
    image = Stage("input", (Unit("input", "input", None, chain.image, 0),), -1)
    slots = []
    stages = [image, *chain.stages]
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        parts = [(unit, n, 1) for n, unit in enumerate(stage.units, stage.first)]
        if group and len(parts) > MAX_SEPARATE_BLOCKS and not ends & {n for _, n, _ in parts}:
            runs = [list(run) for _, run in groupby(parts, lambda part: part[0].shortcuts)]
            parts = [(run[0][0], run[0][1], len(run)) for run in runs]
        shape = _label((following.units[0].input if following else None) or stage.units[-1].output)
        name = stage.name if len(stage.name) <= 18 else stage.name[:17] + "…"
        text = (name, short_number(stage.parameters)) if stage.parameters else (name,)
        slots.append(_Slot(parts, text, shape, max(map(measure, text)), max(map(measure, shape))))
    return slots


def _room_needed(line: Sequence[_Slot], continued: bool, scale: float) -> list[float]:
    """Return the width in points of each slot of a line, and of the room right of the last arrow's middle.

    A slot reaches from the middle of the arrow before it to that of the arrow after it. The first one of a
    line that is not `continued` from another has no arrow before it.
    """
    needs = []
    before = 0.0
    for i, slot in enumerate(line):
        pad = MIN_ARROW_LENGTH / 2 if i or continued else 0.0
        bars = pad + slot.bars_width(scale) + MIN_ARROW_LENGTH / 2
        texts = (before + slot.shape_width) / 2 + 3.5 if i else slot.shape_width / 2
        needs.append(max(bars, slot.text_width + 3.5, texts))
        before = slot.shape_width
    return [*needs, max(MIN_ARROW_LENGTH / 2, before / 2)]


def _break(slots: list[_Slot], room: float, scale: float) -> list[list[_Slot]]:
    """Break slots into as few lines as `room` allows, about equally wide.

    A slot wider than the room has its own line.
    """
    fewest = len(_fill(slots, room, scale))
    low, high = 0.0, room
    for _ in range(20):
        middle = (low + high) / 2
        enough = len(_fill(slots, middle, scale)) <= fewest
        low, high = (low, middle) if enough else (middle, high)
    return _fill(slots, high, scale)


def _fill(slots: list[_Slot], room: float, scale: float) -> list[list[_Slot]]:
    lines: list[list[_Slot]] = [[]]
    for slot in slots:
        if lines[-1] and sum(_room_needed([*lines[-1], slot], len(lines) > 1, scale)) > room:
            lines.append([])
        lines[-1].append(slot)
    return lines


def _largest_scale(line: list[_Slot], continued: bool, room: float, min_scale: float) -> float:
    """Return the largest scale at which the line fits and no bar is wider than MAX_BAR_WIDTH, 0.0 if none.

    Up to `min_scale` bars may be wider than that. `continued` is as in `_room_needed`.
    """
    widest = max(_width(u, 1.0) for slot in line for u, _, _ in slot.parts)
    low, high = 0.0, max(min_scale, MAX_BAR_WIDTH / widest)
    for _ in range(40):
        middle = (low + high) / 2
        fits = sum(_room_needed(line, continued, middle)) <= room
        low, high = (middle, high) if fits else (low, middle)
    return low if sum(_room_needed(line, continued, low)) <= room else 0.0
