"""Where everything of a network's picture stands, in points (1/72 inch) of the printed page.

Bars are to scale: heights by the square root of the picture's side, widths by the square root of the
channels, one scale for the whole network. What does not fit one line goes on in a second; what would need
thinner bars than can be seen stands for several blocks ("x17").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from reslab.errors import UsageError
from reslab.inspection.layers import Shape

from .stages import Chain, Over, Stage, Unit

MARGIN = 3.0
GAP = 4.4  # between two blocks of a stage: room for the two ends of their shortcuts
ARROW = 11.5  # between two stages, at least
THINNEST = 2.6
WIDEST = 30.0
VECTOR = 3.0  # a vector stands upright; its width says nothing
STACKED = 3.0  # further width of a bar that stands for several
MANY = 4  # equal blocks of a stage that are drawn one by one, if there is not room for all

Measure = Callable[[str], float]


@dataclass(frozen=True)
class Bar:
    unit: Unit
    number: int  # of its first unit in the chain
    count: int  # of units that it stands for
    line: int
    x: float
    width: float
    height: float


@dataclass(frozen=True)
class Arrow:
    """From one stage to the next, with the shape that goes along."""

    line: int
    left: float
    right: float
    label: tuple[str, ...]
    label_x: float


@dataclass(frozen=True)
class Name:
    line: int
    x: float
    text: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    heights: tuple[float, ...]  # of each line's highest bar
    grouped: bool
    bars: tuple[Bar, ...]
    arrows: tuple[Arrow, ...]
    names: tuple[Name, ...]

    def around(self, over: Over) -> list[Bar]:
        """The bars that a shortcut goes around; none if they do not stand one by one in one line."""
        inside = [bar for bar in self.bars if over.first <= bar.number <= over.last]
        whole = len(inside) == over.last - over.first + 1 and len({bar.line for bar in inside}) == 1
        return inside if whole else []


@dataclass
class _Slot:
    """A stage with the room that it needs between the middles of the arrows at its sides."""

    stage: Stage
    parts: list[tuple[Unit, int, int]]  # unit, number, count
    text: tuple[str, ...]
    shape: tuple[str, ...]  # of the arrow behind it
    text_width: float = 0.0
    shape_width: float = 0.0
    offsets: list[float] = field(default_factory=list)

    def widths(self, scale: float) -> list[float]:
        return [_width(u, scale) + (STACKED if count > 1 else 0) for u, _, count in self.parts]

    def inner(self, scale: float) -> float:
        return sum(self.widths(scale)) + GAP * (len(self.parts) - 1)


def place(chain: Chain, width: float, measure: Measure) -> Layout:
    """The layout of a picture `width` points wide; `measure` says how wide a text is.

    Raises UsageError if a stage alone is wider than that.
    """
    room = width - 2 * MARGIN
    whole, grouped = _slots(chain, False, measure), _slots(chain, True, measure)
    thinnest = THINNEST / math.sqrt(min((_channels(s.units[0].output) for s in chain.stages), default=1))
    lines = _break(whole, room, thinnest)
    if len(lines) > 2:
        lines = _break(grouped, room, thinnest)
    scale = min(_largest(line, i > 0, room, thinnest) for i, line in enumerate(lines))
    if not scale:
        raise UsageError(
            "the network is too long for this picture", "a stage needs more room", "make it wider"
        )
    bars: list[Bar] = []
    arrows: list[Arrow] = []
    names: list[Name] = []
    tallest = min(0.27 * width, 84.0)
    for i, line in enumerate(lines):
        _place_line(i, line, room, scale, (bars, arrows, names), tallest, chain.photo)
    heights = tuple(max(bar.height for bar in bars if bar.line == i) for i in range(len(lines)))
    is_grouped = any(bar.count > 1 for bar in bars)
    return Layout(heights, is_grouped, tuple(bars), tuple(arrows), tuple(names))


def side(shape: Shape) -> float:
    """The side of the square that has as many pixels; a vector has one."""
    return math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 1.0


def short(number: int) -> str:
    """1234567 -> 1.2 M"""
    for factor, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= factor * 0.9995:
            value = number / factor
            return f"{value:.0f} {letter}" if value >= 99.5 else f"{value:.3g} {letter}"
    return str(number)


def _channels(shape: Shape) -> int:
    return shape[0] if len(shape) in (1, 3) else shape[-1]  # (T, D): tokens of D numbers


def _is_vector(shape: Shape) -> bool:
    return len(shape) == 1 or math.prod(shape[1:]) == 1


def _width(unit: Unit, scale: float) -> float:
    return VECTOR if _is_vector(unit.output) else max(scale * math.sqrt(_channels(unit.output)), 1.2)


def _label(shape: Shape) -> tuple[str, ...]:
    if len(shape) == 3 and shape[1:] != (1, 1):
        return str(shape[0]), f"{shape[1]}×{shape[2]}"
    return ("×".join(str(n) for n in (shape[:1] if _is_vector(shape) else shape)),)


def _slots(chain: Chain, group: bool, measure: Measure) -> list[_Slot]:
    ends = {n for over in chain.over for n in (over.first, over.last)}
    given = Stage("input", (Unit("input", "input", None, chain.photo, 0),), -1)
    slots = []
    stages = [given, *chain.stages]
    for stage, following in zip(stages, [*stages[1:], None], strict=True):
        numbers = range(stage.first, stage.first + len(stage.units))
        parts = [(unit, n, 1) for unit, n in zip(stage.units, numbers, strict=True)]
        if group and len(parts) > MANY and not ends & set(numbers):
            runs = [list(run) for _, run in groupby(parts, lambda part: part[0].shortcuts)]
            parts = [(run[0][0], run[0][1], len(run)) for run in runs]
        shape = (following.units[0].input if following else None) or stage.units[-1].output
        name = stage.name if len(stage.name) <= 18 else stage.name[:17] + "…"
        text = (name, short(stage.parameters)) if stage.parameters else (name,)
        slot = _Slot(stage, parts, text, _label(shape))
        slot.text_width = max(map(measure, slot.text))
        slot.shape_width = max(map(measure, slot.shape))
        slots.append(slot)
    return slots


def _room(line: Sequence[_Slot], goes_on: bool, scale: float) -> list[float]:
    """What each slot needs, and at the end what the last arrow needs on its right."""
    needs = []
    before = 0.0
    for i, slot in enumerate(line):
        pad = ARROW / 2 if i or goes_on else 0.0
        bars = pad + slot.inner(scale) + ARROW / 2
        texts = (before + slot.shape_width) / 2 + 3.5 if i else slot.shape_width / 2
        needs.append(max(bars, slot.text_width + 3.5, texts))
        before = slot.shape_width
    return [*needs, max(ARROW / 2, before / 2)]


def _break(slots: list[_Slot], room: float, thinnest: float) -> list[list[_Slot]]:
    """As few lines as it takes, filled evenly: the narrowest column that needs no more of them."""
    fewest = len(_fill(slots, room, thinnest))
    low, high = 0.0, room
    for _ in range(20):
        middle = (low + high) / 2
        enough = len(_fill(slots, middle, thinnest)) <= fewest
        low, high = (low, middle) if enough else (middle, high)
    return _fill(slots, high, thinnest)


def _fill(slots: list[_Slot], room: float, thinnest: float) -> list[list[_Slot]]:
    lines: list[list[_Slot]] = [[]]
    for slot in slots:
        if lines[-1] and sum(_room([*lines[-1], slot], len(lines) > 1, thinnest)) > room:
            lines.append([])
        lines[-1].append(slot)
    return lines


def _largest(line: list[_Slot], goes_on: bool, room: float, thinnest: float) -> float:
    """The largest scale at which the line fits, and no bar is wider than WIDEST."""
    widest = max((_width(u, 1.0) for slot in line for u, _, _ in slot.parts), default=1.0)
    low, high = 0.0, max(thinnest, WIDEST / widest)
    for _ in range(40):
        middle = (low + high) / 2
        fits = sum(_room(line, goes_on, middle)) <= room
        low, high = (middle, high) if fits else (low, middle)
    return low if sum(_room(line, goes_on, low)) <= room else 0.0


def _place_line(
    number: int,
    line: list[_Slot],
    room: float,
    scale: float,
    into: tuple[list[Bar], list[Arrow], list[Name]],
    tallest: float,
    photo: Shape,
) -> None:
    bars, arrows, names = into
    needs = _room(line, number > 0, scale)
    spare = max(0.0, room - sum(needs)) / (len(line) + 0.5)
    x = MARGIN
    ends: list[tuple[float, float]] = []  # of each slot's bars
    middles: list[float] = []
    for i, (slot, need) in enumerate(zip(line, needs, strict=False)):
        pad = ARROW / 2 if i or number else 0.0
        free = need + spare - slot.inner(scale)
        left = x + max(pad, (free - ARROW / 2 + pad) / 2)
        if not i:  # a first bar stands at the margin, as far as its name lets it
            left = x + max(pad, (slot.text_width - slot.inner(scale)) / 2)
        at = left
        for (unit, first, count), width in zip(slot.parts, slot.widths(scale), strict=True):
            shown = width - (STACKED if count > 1 else 0)
            bars.append(Bar(unit, first, count, number, at, shown, _height(unit, scale, tallest, photo)))
            at += width + GAP
        names.append(Name(number, (left + at - GAP) / 2, slot.text))
        ends.append((left, at - GAP))
        x += need + spare
        middles.append(x)
    if number:
        arrows.append(Arrow(number, MARGIN, ends[0][0], (), 0.0))
    for i, slot in enumerate(line):
        right = ends[i + 1][0] if i + 1 < len(line) else min(ends[i][1] + ARROW + spare, room + MARGIN)
        arrows.append(Arrow(number, ends[i][1], right, slot.shape, middles[i]))


def _height(unit: Unit, scale: float, tallest: float, photo: Shape) -> float:
    if _is_vector(unit.output):
        return min(max(scale * math.sqrt(_channels(unit.output)), 4.0), tallest)
    return max(tallest * math.sqrt(side(unit.output) / side(photo)), 3.0)
