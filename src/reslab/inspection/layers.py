"""Layers and blocks of a traced network: shapes, formulas, costs, and weights that no call accounts for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from .arithmetic import ReceptiveField, Window, as_pair
from .formula import formula
from .tracer import IMAGE, LayerCall, ModuleCall, Recorder

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A call of a layer, an operation of a block's forward (`add`), or several folded into their block.

    Weights that no call uses are a layer, too: it has no inputs and no output.

    Args:
        name: path in the network. Two calls of one module have the same name.
        kind: class of the module, or name of the operation.
        inputs: shapes without the batch.
        output: shape without the batch; None for a layer that did not run or returned no tensor.
        windows: kernel, stride and padding along the height and the width; None for a layer without them.
        formula: how the output's size follows from the input's, "" if there is no formula.
        parameters: weights that no earlier call uses.
        multiply_adds: for one image; None if unknown, `notes` says why.
        training_bytes: memory of the output that autograd keeps for the backward pass, for one image.
        inference_bytes: memory of all activations alive while the layer runs, for one image.
        receptive_field: of one output value in the image; None if unknown.
        sources: indices of the layers whose outputs come in; -1 is the image.
        notes: remarks in plain text, as "its weights are counted above".
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
        field = self.receptive_field
        settings = ("kernel_size", "stride", "padding", "dilation")
        return {
            "name": self.name,
            "kind": self.kind,
            "output": None if self.output is None else list(self.output),
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "receptive_field": None if field is None else list(as_pair(field.size)),
            "jump": None if field is None else list(as_pair(field.jump)),
            "start": None if field is None else list(as_pair(field.start)),
            **{s: [getattr(w, s) for w in self.windows] if self.windows else None for s in settings},
            "formula": self.formula or None,
            "training_bytes": self.training_bytes,
            "inference_bytes": self.inference_bytes,
            "sources": list(self.sources),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Block:
    """Call of a module with submodules: layers[first:last] ran in it.

    `input` and `output` are the shapes of its first tensors without the batch, None if there is none.
    """

    name: str
    kind: str
    first: int
    last: int
    input: Shape | None
    output: Shape | None


def layers_of(
    training: Recorder, inference: Recorder, network: nn.Module, counts: dict[int, int]
) -> tuple[tuple[Layer, ...], list[int]]:
    """Return the layers of a network, in the order of the pass.

    Layers that have weights and never ran are inserted after the last layer of their block.

    Args:
        training: a pass with gradients.
        inference: a pass without, for `inference_bytes`.
        network: the copy that ran.
        counts: numbers of weights by the parameter's id. It is empty afterwards.

    Returns:
        The layers; and the index among them of each call of `training`, with their number at the end.
    """
    live_bytes: dict[str, list[int]] = {}
    for call in inference.calls:
        live_bytes.setdefault(call.name, []).append(call.live_bytes)
    layers = []
    for call in training.calls:
        own = list(call.module.parameters(recurse=False)) if call.module else []
        count = sum(counts.pop(id(p), 0) for p in own)
        notes = ("its weights are counted above",) if own and not count else ()
        live = live_bytes.get(call.name)
        layers.append(_layer(call, count, live.pop(0) if live else 0, notes))
    order: list[tuple[float, Layer]] = [(i, layer) for i, layer in enumerate(layers)]
    order += [
        (_place(layer.name, layers), layer)
        for layer in _without_a_call(network, counts, training.used_weights)
    ]
    order.sort(key=lambda item: item[0])
    new = {place: index for index, (place, _) in enumerate(order)}  # a call's place is its old index
    moved = tuple(
        replace(layer, sources=tuple(new.get(s, IMAGE) for s in layer.sources)) for _, layer in order
    )
    return moved, [*(new[i] for i in range(len(layers))), len(moved)]


def blocks_of(calls: list[ModuleCall], places: list[int]) -> tuple[Block, ...]:
    """Return a Block for each call. `places` is the second result of `layers_of`."""
    return tuple(
        Block(
            c.name, c.kind, places[c.first], places[c.last], _without_batch(c.input), _without_batch(c.output)
        )
        for c in calls
    )


def _layer(call: LayerCall, parameters: int, live_bytes: int, notes: tuple[str, ...]) -> Layer:
    both, size = call.windows, call.window_input
    left, right, top, bottom = call.pads or (0, 0, 0, 0)
    if both and left == right and top == bottom:  # padded in the layer's forward: part of its own padding
        size = (size[0] - 2 * top, size[1] - 2 * left)
        height, width = both
        both = replace(height, padding=height.padding + top), replace(width, padding=width.padding + left)
    if both and tuple(w.output_size(n) for w, n in zip(both, size, strict=True)) != (call.output or ())[-2:]:
        both = None  # another operation in the layer changes the shape: no formula rather than a wrong one
    if call.uncounted:
        notes += (f"multiply-adds of {', '.join(sorted(set(call.uncounted)))} are not known",)
    inputs = tuple(shape for s in call.inputs if (shape := _without_batch(s)) is not None)
    output = _without_batch(call.output)
    return Layer(
        name=call.name,
        kind=call.kind,
        inputs=inputs,
        output=output,
        windows=both,
        formula=formula(both, size) if both else _plain_formula(call.kind, inputs, output),
        parameters=parameters,
        multiply_adds=None if call.uncounted else call.multiply_adds,
        training_bytes=call.kept_bytes,
        inference_bytes=live_bytes,
        receptive_field=call.receptive_field,
        sources=tuple(call.sources),
        notes=notes,
    )


def _plain_formula(kind: str, inputs: tuple[Shape, ...], output: Shape | None) -> str:
    """Return the formula of a pooling to 1x1, Flatten, Linear or concatenation, "" for other layers."""
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
    """Return layers for weights without a call: a block's own, and those of layers that never ran.

    `counts` loses these weights. `used` has the ids of parameters that some operation took.
    """
    rest = []
    for name, module in network.named_modules():
        is_layer = next(module.children(), None) is None
        groups: dict[tuple[str, str], list[Tensor]] = {}
        for parameter_name, p in module.named_parameters(recurse=False):
            if id(p) in counts:
                full = f"{name}.{parameter_name}".strip(".")
                key = (name, type(module).__name__) if is_layer else (full, "Parameter")
                groups.setdefault(key, []).append(p)
        for (full, kind), tensors in groups.items():
            in_use = any(id(t) in used for t in tensors)
            note = "weights used by the block around it" if in_use else "not used in inference"
            count = sum(counts.pop(id(t)) for t in tensors)
            rest.append(Layer(full, kind, (), None, None, "", count, 0, 0, 0, None, (), (note,)))
    return rest


def _place(name: str, layers: list[Layer]) -> float:
    """Return a place after the last layer of the innermost block around `name` that has any, else the end.

    A layer's own place is its index in `layers`.
    """
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:depth]) + "."
        inside = [i for i, layer in enumerate(layers) if layer.name.startswith(prefix)]
        if inside:
            return inside[-1] + 0.5
    return len(layers)


def _without_batch(shape: Shape | None) -> Shape | None:
    return shape[1:] if shape and shape[0] == 1 else shape
