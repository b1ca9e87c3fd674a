"""Where the photo is looked at on its way, and what is found there.

Anatomy says what the stations are and which of a sum's two terms is the shortcut; one pass of the network
itself, watched by hooks, brings the maps and the norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reslab.evaluation.inference import evaluating
from reslab.inspection.arithmetic import ReceptiveField
from reslab.inspection.layers import Block, Layer, both
from reslab.inspection.summary import Anatomy
from reslab.randomness import preserve_rng_state

from .feature_maps import FeatureMaps, most_active

Shape = tuple[int, ...]
WORDS = {"ZeroPad": "zero padding", "Conv2d": "convolution", "BatchNorm2d": "batch norm"}
WORDS |= {"AvgPool2d": "average pooling", "MaxPool2d": "pooling"}


@dataclass(frozen=True)
class Sum:
    """What a block adds up: the norms (Euclidean, over every channel and position) of the terms and the sum.

    `way` says what the shortcut passes through; it is empty for the identity.
    """

    way: str
    shortcut_norm: float
    added_norm: float
    sum_norm: float

    @property
    def ratio(self) -> float:
        """How much the block adds for one unit that the shortcut carries."""
        return self.added_norm / self.shortcut_norm if self.shortcut_norm else float("nan")

    @property
    def largest(self) -> float:
        norms = (self.shortcut_norm, self.added_norm, self.sum_norm)
        return max((norm for norm in norms if norm < float("inf")), default=0.0) or 1.0


@dataclass(frozen=True)
class Station:
    """A block, or a run of plain layers with maps of one size. `name` is the module after which it stands.

    `sum` is None where there is none or it cannot be told apart; `sum_note` then says which of the two.
    """

    name: str
    stage: str
    title: str
    kind: str
    shape: Shape
    receptive_field: ReceptiveField | None
    formula: str
    parameters: int
    maps: FeatureMaps
    sum: Sum | None = None
    sum_note: str = ""

    def sees(self, row: int, column: int, photo: Shape) -> tuple[int, int, int, int] | None:
        """(left, top, right, bottom) of what a position sees of a photo (height, width), clipped to it.

        right and bottom are the first pixels that it does not see. None if it is not known.
        """
        if self.receptive_field is None:
            return None
        field = self.receptive_field
        axes = zip((row, column), both(field.size), both(field.jump), both(field.start), photo, strict=True)
        (top, bottom), (left, right) = (
            (min(max(0, start + i * jump), end), max(0, min(end, start + i * jump + size)))
            for i, size, jump, start, end in axes
        )
        return left, top, right, bottom


@dataclass(frozen=True)
class _Stop:
    """Rows of the table that become one station: a block's, or those of a run of layers."""

    stage: str
    rows: tuple[Layer, ...]
    block: Block | None

    @property
    def title(self) -> str:
        names = [row.name for row in self.rows]
        return ", ".join(names) if len(names) <= 3 else f"{names[0]} to {names[-1]}"


def visit(
    network: nn.Module, images: Tensor, taken: Anatomy, count: int
) -> tuple[tuple[Station, ...], object]:
    """Passes images (1, C, H, W) through: the stations with their `count` most active maps, and the output.

    Modes, hooks and random state of the network come back as they were.
    """
    planned = _plan(taken, dict(network.named_modules()))
    watch = _Watch(network, {stop.rows[-1].name for stop in planned}, count)
    with evaluating(network), preserve_rng_state(), watch.hooked(), watch:
        output = network(images)
    return tuple(_station(s, taken, watch) for s in planned if s.rows[-1].name in watch.maps), output


def _plan(taken: Anatomy, modules: Mapping[str, nn.Module]) -> list[_Stop]:
    blocks = {block.name: block for block in taken.blocks}
    begun = False  # whether a stage has been passed: what comes before is the stem, what comes after the head
    seen: set[str] = set()

    def group(row: Layer) -> tuple[Any, ...]:
        nonlocal begun
        stage, _, rest = row.name.partition(".")
        begun |= bool(rest)
        place = stage if rest else "head" if begun else "stem"
        return place, row.output and row.output[1:], row.name if row.name in blocks else ""

    planned = []
    for (stage, size, block), run in groupby(taken.fold(2), group):
        rows = [row for row in run if row.name in modules and row.name not in seen]
        if not rows or not size or len(size) != 2 or (size == (1, 1) and not block):
            continue
        seen |= {row.name for row in rows}
        planned.append(_Stop(stage, tuple(rows), blocks[block] if block else None))
    return planned


def _station(stop: _Stop, taken: Anatomy, watch: _Watch) -> Station:
    row = stop.rows[-1]
    total, note = _sum_of(taken, stop.block, watch) if stop.block else (None, "")
    return Station(
        name=row.name,
        stage=stop.stage,
        title=stop.title,
        kind=row.kind if stop.block else "",
        shape=row.output or (),
        receptive_field=row.receptive_field,
        formula=next((r.formula for r in stop.rows if r.formula), ""),
        parameters=sum(r.parameters for r in stop.rows),
        maps=watch.maps[row.name],
        sum=total,
        sum_note=note,
    )


def _sum_of(taken: Anatomy, block: Block, watch: _Watch) -> tuple[Sum | None, str]:
    """The block's sum with its terms told apart, or why there is none."""
    inside = range(block.first, block.last)
    sums = [i for i in inside if taken.layers[i].kind == "add" and len(set(taken.layers[i].inputs)) == 1]
    own = [i for i in sums if taken.layers[i].name.rpartition(".")[0] == block.name]
    if not sums:
        joins = any(taken.layers[i].kind == "cat" for i in inside)
        instead = "puts channels side by side and adds nothing up" if joins else "has no shortcut"
        return None, f"{block.kind} {instead}: there is no sum in it."
    if not own:
        return None, f"{block.kind} adds up inside its parts, which are not shown one by one."
    sources = taken.layers[own[-1]].sources
    depths = [_depth(taken, source, inside) for source in sources]
    if len(sources) != 2 or depths[0] == depths[1] or block.name not in watch.sums:
        return None, f"{block.kind} adds two terms, and which of them is the shortcut is not known."
    shortcut = min((0, 1), key=depths.__getitem__)
    *terms, total = watch.sums[block.name]
    return Sum(_way(taken, sources[shortcut], block), terms[shortcut], terms[1 - shortcut], total), ""


def _depth(taken: Anatomy, index: int, inside: range) -> int:
    """How many layers of the block lie between what came in and this one."""
    if index not in inside:
        return 0
    return 1 + max((_depth(taken, source, inside) for source in taken.layers[index].sources), default=0)


def _way(taken: Anatomy, index: int, block: Block) -> str:
    """The layers that the shortcut passes through: downsample (convolution, batch norm)."""
    name, kinds = "", list[str]()
    while index in range(block.first, block.last):
        layer = taken.layers[index]
        name = layer.name.removeprefix(f"{block.name}.").partition(".")[0]
        kinds.insert(0, WORDS.get(layer.kind, layer.kind))
        index = layer.sources[0] if layer.sources else -1
    return f"{name} ({', '.join(kinds)})" if kinds else ""


class _Watch(TorchDispatchMode):
    """Hooks say which module runs; the mode sees a block's own sums, in place or not, with both terms.

    `wanted` are the modules whose maps are kept.
    """

    def __init__(self, network: nn.Module, wanted: set[str], count: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network, self.wanted, self.count = network, wanted, count
        self.running: list[str] = []
        self.maps: dict[str, FeatureMaps] = {}
        self.sums: dict[str, tuple[float, float, float]] = {}

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handles: list[Any] = []
        try:
            for name, module in self.network.named_modules():
                handles += self._watch(name, module)
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, name: str, module: nn.Module) -> list[Any]:
        def begin(module: nn.Module, args: Any) -> None:
            self.running.append(name)

        def end(module: nn.Module, args: Any, output: Any) -> None:
            self.running.pop()
            if name in self.wanted and isinstance(output, Tensor):
                # at once: an operation in place may come after it
                self.maps[name] = most_active(output[0].float().cpu().numpy(), self.count)  # (C, H, W)

        return [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        terms = [t for t in args[:2] if isinstance(t, Tensor) and t.dim() == 4]
        is_sum = op.overloadpacket.__name__ in ("add", "add_") and len(terms) == 2
        if not is_sum or terms[0].shape != terms[1].shape or not self.running:
            return op(*args, **(kwargs or {}))
        norms = [_norm(term) for term in terms]  # before, since the sum may replace the first
        norms[1] *= abs(float((kwargs or {}).get("alpha", 1)))
        out = op(*args, **(kwargs or {}))
        self.sums[self.running[-1]] = (norms[0], norms[1], _norm(out))
        return out


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.double()))
