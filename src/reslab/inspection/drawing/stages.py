"""A network as a chain of stages with its shortcuts: what a picture of it shows.

Everything is read off the anatomy: which layer's output goes where. A shortcut is the shorter of the two ways
that an addition brings together, so that a block of anybody's shows its own without saying a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from reslab.inspection.layers import Block, Layer, Shape
from reslab.inspection.summary import Anatomy
from reslab.inspection.tracer import PHOTO

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
WORDS = {"Conv2d": "conv", "MaxPool2d": "maxpool", "AvgPool2d": "avgpool", "Linear": "fc"}


@dataclass(frozen=True)
class Unit:
    """A block, or a layer that stands alone. `shortcuts` are the kinds of those inside: identity, projection,
    zeros (shortcut A) or pooled (made smaller without weights)."""

    name: str
    kind: str
    input: Shape | None
    output: Shape
    parameters: int
    shortcuts: tuple[str, ...] = ()
    is_block: bool = False


@dataclass(frozen=True)
class Stage:
    """Units one after the other that are alike; the first is number `first` of the chain."""

    name: str
    units: tuple[Unit, ...]
    first: int

    @property
    def parameters(self) -> int:
        return sum(unit.parameters for unit in self.units)


@dataclass(frozen=True)
class Over:
    """A shortcut around several units: from before unit `first` to behind unit `last`."""

    first: int
    last: int
    kind: str


@dataclass(frozen=True)
class Chain:
    photo: Shape
    stages: tuple[Stage, ...]
    over: tuple[Over, ...]
    beside: int  # parameters of the shortcuts around several units
    joins: bool  # there are concatenations, which a chain does not show


@dataclass
class _Sum:
    """An addition of two ways that part at layer `fork`; the shorter way is `branch`."""

    index: int
    fork: int
    branch: frozenset[int]
    kind: str
    home: int  # the innermost block around it


@dataclass
class _Growing:
    """Units as they are found, and where in the chain each layer of the network went."""

    units: list[Unit] = field(default_factory=list)
    unit_of: dict[int, int] = field(default_factory=dict)
    waiting: int = 0  # parameters of layers that the chain does not show, for the next unit


def chain(taken: Anatomy) -> Chain:
    """The chain of a network that was taken apart."""
    sums = [found for i in range(len(taken.layers)) if (found := _sum(taken, i))]
    homes = {s.home for s in sums}
    whole = [_is_unit(i, taken, homes) for i in range(len(taken.blocks))]
    beside = {i for s in sums if not whole[s.home] for i in s.branch}
    grown = _grow(taken, whole, sums, beside)
    over = [
        Over(grown.unit_of.get(s.fork, -1) + 1, grown.unit_of.get(s.index, -1), s.kind)
        for s in sums
        if not whole[s.home]
    ]
    return Chain(
        taken.input,
        tuple(_stages(grown.units)),
        tuple(o for o in over if o.first <= o.last),
        sum(taken.layers[i].parameters for i in beside),
        any(layer.kind == "cat" for layer in taken.layers),
    )


def _sum(taken: Anatomy, index: int) -> _Sum | None:
    """What layer `index` adds up, if that is two ways from one place."""
    layers, layer = taken.layers, taken.layers[index]
    if layer.kind != "add" or len(layer.sources) < 2:
        return None
    ways = [_behind(layers, source) for source in layer.sources]
    shared = frozenset.intersection(*ways)
    if not shared:
        return None
    fork = max(shared)
    branch = min((way - shared for way in ways), key=lambda way: (len(way), _cost(layers, way)))
    given = taken.input if fork == PHOTO else layers[fork].output
    inside = [i for i, block in enumerate(taken.blocks) if block.first <= index < block.last]
    kind = _shortcut_kind([layers[i] for i in branch], given, layer.output)
    return _Sum(index, fork, branch, kind, inside[-1]) if inside else None


def _behind(layers: Sequence[Layer], index: int) -> frozenset[int]:
    """The layer and all whose outputs it depends on."""
    found, open_ends = set(), [index]
    while open_ends:
        end = open_ends.pop()
        if end not in found:
            found.add(end)
            open_ends += layers[end].sources if end != PHOTO else ()
    return frozenset(found)


def _cost(layers: Sequence[Layer], way: frozenset[int]) -> int:
    return sum(layers[i].multiply_adds or 0 for i in way)


def _shortcut_kind(way: list[Layer], given: Shape | None, output: Shape | None) -> str:
    if any(layer.parameters or "Conv" in layer.kind or layer.kind == "Linear" for layer in way):
        return "projection"
    if not way or given is None or output is None or given == output:
        return "identity"
    return "zeros" if output[0] > given[0] else "pooled"


def _is_unit(index: int, taken: Anatomy, homes: set[int]) -> bool:
    """Whether the block is one bar: what adds up, or what holds nothing that does and two sizes at most."""
    block = taken.blocks[index]
    if not block.name or block.kind in CONTAINERS:
        return False
    if any(h != index and _holds(block, taken.blocks[h]) for h in homes):
        return False
    if index in homes:
        return True
    sizes = {layer.output[1:] for layer in taken.layers[block.first : block.last] if layer.output}
    return len({size for size in sizes if len(size) == 2 and size != (1, 1)}) <= 2


def _holds(outer: Block, inner: Block) -> bool:
    inside = outer.first <= inner.first and inner.last <= outer.last
    return inside and inner.name.startswith(f"{outer.name}.")


def _grow(taken: Anatomy, whole: list[bool], sums: list[_Sum], beside: set[int]) -> _Growing:
    """Layers become units; those beside the chain, and those that keep a shape, join the one before."""
    grown = _Growing()
    last_owner = None
    for i, layer in enumerate(taken.layers):
        around = [n for n, b in enumerate(taken.blocks) if b.first <= i < b.last and whole[n]]
        owner = around[0] if around else None
        if owner is not None and owner != last_owner:
            block = taken.blocks[owner]
            layers = taken.layers[block.first : block.last]
            kinds = tuple(s.kind for s in sums if s.home == owner)
            output = block.output or next((x.output for x in reversed(layers) if x.output), None) or (0,)
            given = block.input
            unit = Unit(block.name, block.kind, given, output, grown.waiting, kinds, True)
            grown.units.append(unit)
            grown.waiting = 0
        elif owner is None and i not in beside and layer.output and _shows(layer):
            given = layer.inputs[0] if layer.inputs else None
            grown.units.append(Unit(layer.name, layer.kind, given, layer.output, grown.waiting))
            grown.waiting = 0
        last_owner = owner
        if i in beside:
            continue
        if not grown.units:
            grown.waiting += layer.parameters
            continue
        grown.unit_of[i] = len(grown.units) - 1
        grown.units[-1] = _with(grown.units[-1], layer.parameters)
    if grown.units and grown.waiting:
        grown.units[-1] = _with(grown.units[-1], grown.waiting)
    return grown


def _with(unit: Unit, parameters: int) -> Unit:
    total = unit.parameters + parameters
    return Unit(unit.name, unit.kind, unit.input, unit.output, total, unit.shortcuts, unit.is_block)


def _shows(layer: Layer) -> bool:
    """Whether a layer alone is worth a bar: it has a window or weights of its own, or pools."""
    if layer.windows or (layer.parameters and "Norm" not in layer.kind and "ReLU" not in layer.kind):
        return True
    pools = "Pool" in layer.kind or layer.kind == "mean"
    return pools and layer.inputs[:1] != (layer.output,)


def _stages(units: list[Unit]) -> list[Stage]:
    def alike(numbered: tuple[int, Unit]) -> tuple[str, str, Shape]:
        unit = numbered[1]
        return unit.name.rpartition(".")[0], unit.kind, unit.output

    runs = [list(run) for _, run in groupby(enumerate(units), alike)]
    return [Stage(_stage_name([u for _, u in run]), tuple(u for _, u in run), run[0][0]) for run in runs]


def _stage_name(units: list[Unit]) -> str:
    first = units[0]
    *parents, own = first.name.split(".")
    if first.is_block and parents and (len(units) > 1 or parents[-1].isdigit()):
        return ".".join(parents[-2:] if parents[-1].isdigit() else parents[-1:])
    if own.isdigit() and not first.is_block:
        return WORDS.get(first.kind, first.kind.removeprefix("Adaptive").removesuffix("2d").lower())
    if len(units) > 1:
        return f"{own}–{units[-1].name.rpartition('.')[2]}"
    return ".".join(first.name.split(".")[-2:]) if own.isdigit() else own
