"""What a pass wrote down, as layers: formulas, parameters counted once, weights that no call accounts for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from .arithmetic import ReceptiveField, Window
from .formula import formula
from .op_rules import Field
from .tracer import PHOTO, Recorder, Row, Span

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A call of a layer, an operation of a block's own (`add`), or several of them folded into their block.

    Shapes are without the batch. None stands for what is not known, `notes` says why. `sources` are the
    indices of the layers whose outputs come in, -1 is the photo. `training_bytes` is what autograd keeps of
    the output for the backward pass, `inference_bytes` what is alive at once while the layer runs, both for
    one photo.
    """

    name: str
    kind: str
    inputs: tuple[Shape, ...]
    output: Shape | None
    windows: tuple[Window, Window] | None
    formula: str
    parameters: int
    multiply_adds: int | None
    training_bytes: int
    inference_bytes: int
    receptive_field: ReceptiveField | None
    sources: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        seen = self.receptive_field
        first = self.windows[0] if self.windows else None
        names = ("kernel_size", "stride", "padding", "dilation")
        return {
            "name": self.name,
            "kind": self.kind,
            "output": None if self.output is None else list(self.output),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "receptive_field": None if seen is None else list(both(seen.size)),
            "jump": None if seen is None else list(both(seen.jump)),
            "start": None if seen is None else list(both(seen.start)),
            **{n: [getattr(w, n) for w in self.windows] if self.windows and first else None for n in names},
            "formula": self.formula or None,
            "training_bytes": self.training_bytes,
            "inference_bytes": self.inference_bytes,
            "sources": list(self.sources),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Block:
    """A call of a module with modules inside: layers[first:last] ran in it."""

    name: str
    kind: str
    first: int
    last: int
    input: Shape | None
    output: Shape | None


def layers_of(
    training: Recorder, inference: Recorder, network: nn.Module, counts: dict[int, int]
) -> tuple[tuple[Layer, ...], list[int]]:
    """The rows as layers, those put in between that never ran but have weights; and each row's new place."""
    alive: dict[str, list[int]] = {}
    for row in inference.rows:
        alive.setdefault(row.name, []).append(row.live_bytes)
    layers = []
    seen: set[str] = set()
    for row in training.rows:
        own = list(row.module.parameters(recurse=False)) if row.module else []
        count = sum(counts.pop(id(p), 0) for p in own)
        again = ("runs again; its parameters are counted once",) if own and row.name in seen else ()
        tied = ("shares weights with a layer above",) if own and not again and not count else ()
        live = alive.get(row.name, [])
        layers.append(_layer(row, count, live.pop(0) if live else 0, again + tied))
        seen.add(row.name)
    rest = _without_a_call(network, counts, training.used)
    order: list[tuple[float, Layer, int | None]] = [(float(i), layer, i) for i, layer in enumerate(layers)]
    order += [(_place(layer.name, layers), layer, None) for layer in rest]
    order.sort(key=lambda item: item[0])
    new = {old: place for place, (_, _, old) in enumerate(order) if old is not None}
    moved = [replace(layer, sources=tuple(new.get(s, PHOTO) for s in layer.sources)) for _, layer, _ in order]
    return tuple(moved), [*(new[i] for i in range(len(layers))), len(moved)]


def blocks_of(spans: list[Span], places: list[int]) -> tuple[Block, ...]:
    """The calls of modules with modules inside; `places` says where each row went."""
    return tuple(
        Block(
            s.name,
            s.kind,
            places[s.first],
            places[s.last],
            _photo_shape(s.input),
            _photo_shape(s.output),
        )
        for s in spans
    )


def _layer(row: Row, parameters: int, live: int, notes: tuple[str, ...]) -> Layer:
    pair, size = row.windows, row.window_input
    if pair and row.pads:  # padded by hand inside the layer, as "same" is: part of the layer's own padding
        left, right, top, bottom = (*row.pads, 0, 0, 0, 0)[:4]
        size = (size[0] - top - bottom, size[1] - left - right)
        pair = tuple(
            replace(w, padding=w.padding + before, padding_after=w.padding + after)
            for w, before, after in zip(pair, (top, left), (bottom, right), strict=True)
        )  # type: ignore[assignment]
    if pair and tuple(w.output_size(n) for w, n in zip(pair, size, strict=True)) != (row.output or ())[-2:]:
        pair = None  # something else happens to the shape in there: no formula rather than a wrong one
    if row.uncounted:
        notes += (f"multiply-adds of {', '.join(sorted(set(row.uncounted)))} are not known",)
    inputs = tuple(shape for s in row.inputs if (shape := _photo_shape(s)) is not None)
    output = _photo_shape(row.output)
    return Layer(
        name=row.name,
        kind=row.kind,
        inputs=inputs,
        output=output,
        windows=pair,
        formula=formula(pair, size) if pair else _plain_formula(row.kind, inputs, output),
        parameters=parameters,
        multiply_adds=None if row.uncounted else row.multiply_adds,
        training_bytes=row.kept_bytes,
        inference_bytes=live,
        receptive_field=_public(row.seen),
        sources=tuple(row.sources),
        notes=notes,
    )


def _plain_formula(kind: str, inputs: tuple[Shape, ...], output: Shape | None) -> str:
    """The formula of a layer without a window."""
    if not inputs or output is None:
        return ""
    given = inputs[0]
    if kind in ("AdaptiveAvgPool2d", "mean") and len(given) == 3 and output[1:] in ((1, 1), ()):
        return f"mean of {given[1]}·{given[2]}"
    if kind == "Flatten" and len(output) == 1:
        return f"{'·'.join(map(str, given))} = {output[0]}"
    if kind == "Linear":
        return f"{given[-1]} to {output[-1]}"
    if kind == "cat" and all(len(i) == 3 for i in inputs) and sum(i[0] for i in inputs) == output[0]:
        numbers = [str(i[0]) for i in inputs]
        return " + ".join(numbers[:2] + ["..."] * (len(numbers) > 3) + numbers[2:][-1:]) + f" = {output[0]}"
    return ""


def _without_a_call(network: nn.Module, counts: dict[int, int], used: set[int]) -> list[Layer]:
    """Weights that no layer's call accounts for: a block's own, and those of layers that never ran."""
    rest = []
    for name, module in network.named_modules():
        own = {n: p for n, p in module.named_parameters(recurse=False) if id(p) in counts}
        alone = next(module.children(), None) is None
        groups: dict[tuple[str, str], list[Tensor]] = {}
        for parameter_name, p in own.items():
            full = f"{name}.{parameter_name}".strip(".")
            key = (name, type(module).__name__) if alone else (full, "Parameter")
            groups.setdefault(key, []).append(p)
        for (full, kind), tensors in groups.items():
            in_use = any(id(t) in used for t in tensors)
            note = "weights used by the block around it" if in_use else "not used in inference"
            count = sum(counts.pop(id(t)) for t in tensors)
            rest.append(Layer(full, kind, (), None, None, "", count, 0, 0, 0, None, (), (note,)))
    return rest


def _place(name: str, layers: list[Layer]) -> float:
    """Behind the last layer of the same block."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:depth]) + "."
        inside = [i for i, layer in enumerate(layers) if layer.name.startswith(prefix)]
        if inside:
            return inside[-1] + 0.5
    return len(layers)


def _photo_shape(shape: Shape | None) -> Shape | None:
    return shape[1:] if shape and shape[0] == 1 else shape


def _public(field: Field) -> ReceptiveField | None:
    if field is None:
        return None
    return ReceptiveField(*(tuple(pair) for pair in zip(*field, strict=True)))  # type: ignore[arg-type]


def both(value: Any) -> tuple[int, int]:
    """Height's and width's of a value that may be one for both."""
    return value if isinstance(value, tuple) else (value, value)
