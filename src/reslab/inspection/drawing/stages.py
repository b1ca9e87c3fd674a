"""Stages, blocks and shortcuts of a network, read off its anatomy: what a drawing shows.

A shortcut is the shorter of the two branches that an addition brings together, so the shortcuts of any block
are found without its help.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from reslab.inspection.layers import Block, Layer, Shape
from reslab.inspection.summary import Anatomy
from reslab.inspection.tracer import IMAGE

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
WORDS = {"Conv2d": "conv", "MaxPool2d": "maxpool", "AvgPool2d": "avgpool", "Linear": "fc"}


@dataclass(frozen=True)
class Unit:
    """Block, or layer outside of blocks: one bar of the drawing.

    `shortcuts` are the kinds of those inside: identity, projection, zeros (shortcut A) or pooled (made
    smaller without weights). `parameters` includes layers after it that have no bar. Shapes have no batch.
    """

    name: str
    kind: str
    input: Shape | None
    output: Shape
    parameters: int
    shortcuts: tuple[str, ...] = ()
    is_block: bool = False


@dataclass(frozen=True)
class Stage:
    """Consecutive units of one kind and one output shape; the first is unit `first` of the chain."""

    name: str
    units: tuple[Unit, ...]
    first: int

    @property
    def parameters(self) -> int:
        return sum(unit.parameters for unit in self.units)


@dataclass(frozen=True)
class LongShortcut:
    """Shortcut around several units, from before unit `first` to after unit `last`, both indices."""

    first: int
    last: int
    kind: str


@dataclass(frozen=True)
class Chain:
    """Stages one after the other, with the shortcuts around several units.

    `image` is (C, H, W). `long_shortcut_parameters` are the weights on those shortcuts, in no unit.
    """

    image: Shape
    stages: tuple[Stage, ...]
    long_shortcuts: tuple[LongShortcut, ...]
    long_shortcut_parameters: int
    has_concatenations: bool  # which a chain does not show


@dataclass
class _Sum:
    """Addition of branches that part at layer `fork`; the layers of the shortest one are `branch`."""

    index: int  # of the addition's layer
    fork: int
    branch: frozenset[int]
    kind: str
    block: int  # index of the innermost block around it


def chain(taken: Anatomy) -> Chain:
    """Return the chain of an anatomy; it has no stages if no layer can be drawn."""
    sums = [found for i in range(len(taken.layers)) if (found := _sum(taken, i))]
    with_sum = {s.block for s in sums}
    is_unit = [_is_unit(i, taken, with_sum) for i in range(len(taken.blocks))]
    shortcut_layers = {i for s in sums if not is_unit[s.block] for i in s.branch}
    units, unit_of = _units(taken, is_unit, sums, shortcut_layers)
    shortcuts = [
        LongShortcut(unit_of.get(s.fork, -1) + 1, unit_of.get(s.index, -1), s.kind)
        for s in sums
        if not is_unit[s.block]
    ]
    return Chain(
        taken.input,
        tuple(_stages(units)),
        tuple(shortcut for shortcut in shortcuts if shortcut.first <= shortcut.last),
        sum(taken.layers[i].parameters for i in shortcut_layers),
        any(layer.kind == "cat" for layer in taken.layers),
    )


def _sum(taken: Anatomy, index: int) -> _Sum | None:
    """Return layer `index` as a sum, None unless it adds branches that come from one layer or the image.

    Branches through the same weights, as in CBAM's gate, are no shortcut and another path: None.
    """
    layers, layer = taken.layers, taken.layers[index]
    around = [i for i, block in enumerate(taken.blocks) if block.first <= index < block.last]
    if layer.kind != "add" or len(layer.sources) < 2 or not around:
        return None
    sources = [each.sources for each in layers]
    branches = [ancestors(sources, source) for source in layer.sources]
    shared = frozenset.intersection(*branches)
    if not shared or _share_weights(layers, [branch - shared for branch in branches]):
        return None
    fork = max(shared)

    def length(branch: frozenset[int]) -> tuple[int, int]:
        return len(branch), sum(layers[i].multiply_adds or 0 for i in branch)

    branch = min((branch - shared for branch in branches), key=length)
    given = taken.input if fork == IMAGE else layers[fork].output
    kind = shortcut_kind([layers[i] for i in branch], given, layer.output)
    return _Sum(index, fork, branch, kind, around[-1])


def _share_weights(layers: Sequence[Layer], branches: Sequence[frozenset[int]]) -> bool:
    with_weights = {layer.name for layer in layers if layer.parameters}
    return bool(with_weights.intersection(*({layers[i].name for i in branch} for branch in branches)))


def ancestors(sources: Sequence[Sequence[int]], index: int) -> frozenset[int]:
    """Return the indices of a layer and of all that it depends on, with IMAGE if it depends on the image.

    `sources` holds the indices of the layers that each layer takes.
    """
    found, open_ends = set(), [index]
    while open_ends:
        end = open_ends.pop()
        if end not in found:
            found.add(end)
            open_ends += sources[end] if end != IMAGE else ()
    return frozenset(found)


def shortcut_kind(branch: Sequence[Layer], given: Shape | None, output: Shape | None) -> str:
    """Return identity, projection, zeros or pooled for a shortcut of these layers between two shapes."""
    if any(layer.parameters or "Conv" in layer.kind or layer.kind == "Linear" for layer in branch):
        return "projection"
    if not branch or given is None or output is None or given == output:
        return "identity"
    return "zeros" if output[0] > given[0] else "pooled"


def _is_unit(index: int, taken: Anatomy, with_sum: set[int]) -> bool:
    """Return True if block `index` is one bar of the drawing.

    It contains no block of `with_sum`, the indices of blocks that add branches. Either it is one itself, or
    its layers have at most two sizes. Containers and the network itself are no bar.
    """
    block = taken.blocks[index]
    if not block.name or block.kind in CONTAINERS:
        return False
    if any(other != index and _contains(block, taken.blocks[other]) for other in with_sum):
        return False
    sizes = {x.output[1:] for x in taken.layers[block.first : block.last] if x.output and len(x.output) == 3}
    return index in with_sum or len(sizes - {(1, 1)}) <= 2


def _contains(outer: Block, inner: Block) -> bool:
    inside = outer.first <= inner.first and inner.last <= outer.last
    return inside and inner.name.startswith(f"{outer.name}.")


def _units(
    taken: Anatomy, is_unit: list[bool], sums: list[_Sum], shortcut_layers: set[int]
) -> tuple[list[Unit], dict[int, int]]:
    """Return the units, and the index of each layer's unit. Layers that are no bar join the unit before them.

    Layers before the first unit have none; their weights count in it. Layers in `shortcut_layers`, those on
    long shortcuts, have none either. `is_unit` holds a bool for each block.
    """
    units: list[Unit] = []
    unit_of: dict[int, int] = {}
    waiting = 0  # parameters of layers before the first unit
    last_owner = None
    for i, layer in enumerate(taken.layers):
        owner = next((n for n, b in enumerate(taken.blocks) if b.first <= i < b.last and is_unit[n]), None)
        unit = None
        if owner is not None and owner != last_owner:
            block = taken.blocks[owner]
            inside = reversed(taken.layers[block.first : block.last])
            output = block.output or next((x.output for x in inside if x.output), (0,))
            kinds = tuple(s.kind for s in sums if s.block == owner)
            unit = Unit(block.name, block.kind, block.input, output, 0, kinds, True)
        elif owner is None and i not in shortcut_layers and layer.output and _is_bar(layer):
            unit = Unit(layer.name, layer.kind, next(iter(layer.inputs), None), layer.output, 0)
        last_owner = owner
        if unit:
            units.append(replace(unit, parameters=waiting))
            waiting = 0
        if i in shortcut_layers:
            continue
        if not units:
            waiting += layer.parameters
            continue
        unit_of[i] = len(units) - 1
        units[-1] = replace(units[-1], parameters=units[-1].parameters + layer.parameters)
    return units, unit_of


def _is_bar(layer: Layer) -> bool:
    """Return True if a layer outside of blocks is a bar: it has a window, pools, or has weights.

    Norm layers and activations are no bar. Nor is a pooling that changes no shape.
    """
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
    return ".".join([*parents, own][-2:]) if own.isdigit() else own
