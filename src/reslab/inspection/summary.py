"""One row per layer: formula, shape, parameters, multiply-adds, memory, receptive field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import nn

from reslab.errors import NetworkError, UsageError

from .input_errors import explain
from .layers import Block, Layer, Shape, blocks_of, layers_of
from .meta_copy import copy_with_weights, copy_without_weights
from .tracer import PassError, Recorder, record


@dataclass(frozen=True)
class Anatomy:
    """A network taken apart, for one photo. `str` is its table in 80 columns."""

    network: str
    input: Shape
    layers: tuple[Layer, ...]
    blocks: tuple[Block, ...]
    parameters: int
    trainable: int
    weight_bytes: int
    input_training_bytes: int

    @property
    def multiply_adds(self) -> int:
        """All that are known; `complete` says whether that is all."""
        return sum(layer.multiply_adds or 0 for layer in self.layers)

    @property
    def complete(self) -> bool:
        return all(layer.multiply_adds is not None for layer in self.layers)

    @property
    def training_bytes(self) -> int:
        """Activations that autograd keeps for the backward pass, for each photo of the batch."""
        return self.input_training_bytes + sum(layer.training_bytes for layer in self.layers)

    @property
    def inference_bytes(self) -> int:
        """The most that is alive at once in a pass without gradients, photo included, weights not."""
        return max((layer.inference_bytes for layer in self.layers), default=0)

    def fold(self, depth: int = 2) -> tuple[Layer, ...]:
        """Layers with the same first `depth` parts of their names, one after the other, become one."""
        if depth < 1:
            raise UsageError(f"depth {depth}", "1 shows the stages, 2 the blocks, 3 what is in them", "")
        kinds = {block.name: block for block in self.blocks}
        runs = groupby(self.layers, lambda layer: ".".join(layer.name.split(".")[:depth]))
        return tuple(_folded(name, list(run), kinds.get(name)) for name, run in runs)

    def table(self, width: int = 80, depth: int = 2) -> str:
        """The table, with as many columns as `width` holds."""
        from .table import table_of

        return table_of(self, width, depth)

    def __str__(self) -> str:
        return self.table()

    def as_json(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "input": list(self.input),
            "parameters": self.parameters,
            "trainable_parameters": self.trainable,
            "multiply_adds": self.multiply_adds,
            "multiply_adds_complete": self.complete,
            "weight_bytes": self.weight_bytes,
            "training_bytes": self.training_bytes,
            "inference_bytes": self.inference_bytes,
            "layers": [layer.as_json() for layer in self.layers],
        }


def anatomy(network: nn.Module, shape: Sequence[int], *, name: str | None = None) -> Anatomy:
    """Takes `network` apart for a photo of `shape` (C, H, W), or (N, C, H, W): the figures are for one photo.

    It works on a copy in eval mode: modes, gradients, hooks, buffers and random state of the network and of
    the process stay as they are, and hooks of yours do not run. Raises NetworkError that names the layer at
    which a wrong shape fails, and what would fit.
    """
    shape = check_shape(shape)
    network = getattr(network, "_orig_mod", network)  # torch.compile wraps
    name = name or type(network).__name__
    with torch.inference_mode(False):  # what is made in that mode cannot tell what training keeps
        copied, training, inference = _passes(network, (1, *shape), name)
    counts = {id(p): p.numel() for p in copied.parameters()}
    tensors = [*copied.parameters(), *copied.buffers()]
    layers, places = layers_of(training, inference, copied, dict(counts))
    return Anatomy(
        network=name,
        input=shape,
        layers=layers,
        blocks=blocks_of(training.spans, places),
        parameters=sum(counts.values()),
        trainable=sum(p.numel() for p in copied.parameters() if p.requires_grad),
        weight_bytes=sum(t.numel() * t.element_size() for t in tensors),
        input_training_bytes=training.input_kept,
    )


def check_shape(shape: Sequence[int]) -> Shape:
    """(C, H, W) of either form. Raises UsageError."""
    values = tuple(shape)
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
    if len(values) not in (3, 4) or not whole:
        raise UsageError(
            f"{values} is no shape of a photo",
            "channels, height and width are three whole numbers above 0",
            "give (3, 224, 224), or (1, 3, 224, 224)",
        )
    return values[-3:]


def _passes(network: nn.Module, shape: Shape, name: str) -> tuple[nn.Module, Recorder, Recorder]:
    """A copy, a pass with gradients and one without: first without weights, and if that fails with them."""
    from torch.nn.parameter import UninitializedParameter

    if any(isinstance(p, UninitializedParameter) for p in network.parameters()):
        raise NetworkError(
            f"{name} has layers that take their size from the first picture",
            "before that they have no weights to count",
            f"run one picture first: network(torch.zeros{shape})",
        )
    failed: PassError | None = None
    for make_copy in (copy_without_weights, copy_with_weights):
        try:
            copied = make_copy(network)
            return copied, record(copied, shape, gradients=True), record(copied, shape, gradients=False)
        except PassError as error:
            failed = error
    assert failed is not None
    raise explain(failed, network, shape, name) from failed.error


def _folded(name: str, layers: list[Layer], block: Block | None) -> Layer:
    """Several layers as one row."""
    if len(layers) == 1 and layers[0].name == name:
        return layers[0]
    ran = [layer for layer in layers if layer.output is not None] or layers
    shown = _telling(ran)
    known = [layer.multiply_adds for layer in layers if layer.multiply_adds is not None]
    whole = block if block and block.output else ran[-1]
    return Layer(
        name=name,
        kind=block.kind if block else layers[0].kind,
        inputs=(block.input,) if block and block.input else ran[0].inputs,
        output=whole.output,
        windows=None,
        formula=shown.formula if shown else "",
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(known) if len(known) == len(layers) else None,
        training_bytes=sum(layer.training_bytes for layer in layers),
        inference_bytes=max(layer.inference_bytes for layer in layers),
        receptive_field=ran[-1].receptive_field,
        notes=tuple(dict.fromkeys(f"{layer.name}: {note}" for layer in layers for note in layer.notes)),
    )


def _telling(layers: list[Layer]) -> Layer | None:
    """The layer whose formula stands for the block's: one that changes the size, rather by a large kernel."""
    passed = [layer for layer in layers if layer.windows and layer.output]

    def telling(layer: Layer) -> tuple[bool, bool]:
        changes = bool(layer.inputs) and layer.inputs[0][-2:] != (layer.output or ())[-2:]
        return changes, bool(layer.windows) and max(w.kernel_size for w in layer.windows or ()) > 1

    return max(passed, key=telling, default=None)  # the first of the best
