"""Anatomy of a network: one row per layer with formula, shape, cost, memory and receptive field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from reslab.errors import NetworkError, UsageError
from reslab.networks.usual_input import usual_input

from .input_errors import wrong_input
from .layers import Block, Layer, Shape, blocks_of, layers_of
from .meta_copy import copy_with_weights, copy_without_weights
from .table import Totals, network_html, network_table
from .tracer import PassError, Recorder, record


@dataclass(frozen=True)
class Anatomy:
    """Layers and blocks of a network, for one image. `str` gives its table in 80 columns, at depth 2.

    Args:
        network: the network's name.
        input: (C, H, W) of the image.
        layers: every call of a layer and every operation of a block, in the order of the forward pass.
        blocks: every call of a module with submodules, as ranges of `layers`.
        parameters: number of weights, each counted once.
        trainable: number of weights that require a gradient.
        weight_bytes: memory of weights and buffers.
        input_training_bytes: memory of the image, if autograd keeps it for the backward pass, else 0.
    """

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
        """Multiply-adds for one image, of all layers where they are known. See `complete`."""
        return sum(layer.multiply_adds or 0 for layer in self.layers)

    @property
    def complete(self) -> bool:
        """True if the multiply-adds of every layer are known."""
        return all(layer.multiply_adds is not None for layer in self.layers)

    @property
    def training_bytes(self) -> int:
        """Memory of the activations that autograd keeps for the backward pass, for each image of a batch."""
        return self.input_training_bytes + sum(layer.training_bytes for layer in self.layers)

    @property
    def inference_bytes(self) -> int:
        """Largest memory of activations alive at once without gradients, with the image, without weights."""
        return max((layer.inference_bytes for layer in self.layers), default=0)

    def fold(self, depth: int = 2) -> tuple[Layer, ...]:
        """Fold consecutive layers with the same first `depth` parts of their names into one row.

        A folded row has the sum of weights, multiply-adds (None if one is unknown) and training memory, the
        largest inference memory, and the receptive field of its last layer.

        Args:
            depth: 1 gives stages, 2 blocks, 3 the layers of residual blocks.

        Raises:
            UsageError: the depth is under 1.
        """
        if depth < 1:
            raise UsageError(f"depth {depth}", "1 shows the stages, 2 the blocks, 3 what is in them", "")
        kinds = {block.name: block for block in self.blocks}
        runs = groupby(self.layers, lambda layer: ".".join(layer.name.split(".")[:depth]))
        return tuple(_folded(name, list(run), kinds.get(name)) for name, run in runs)

    def table(self, width: int = 80, depth: int = 2) -> str:
        """Return the table of the folded layers as text, with totals and a legend.

        From depth 2 on the share of each stage is shown, if there are several.

        Args:
            width: columns of the terminal, 40 or more. More columns of the table are shown where they fit.
            depth: as in `fold`.

        Raises:
            UsageError: the width is under 40, or the depth under 1.
        """
        stages = self.fold(1) if depth > 1 else ()
        shown = stages if len(stages) > 1 else ()
        return network_table(self.network, self.input, self.fold(depth), shown, self._totals(), width)

    def __str__(self) -> str:
        return self.table()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return network_html(self.network, self.input, self.fold(), self._totals())

    def _totals(self) -> Totals:
        return Totals(
            parameters=self.parameters,
            frozen=self.parameters - self.trainable,
            weight_bytes=self.weight_bytes,
            multiply_adds=self.multiply_adds,
            complete=self.complete,
            training_bytes=self.training_bytes,
            inference_bytes=self.inference_bytes,
            input_training_bytes=self.input_training_bytes,
        )

    def as_json(self) -> dict[str, Any]:
        """Return all figures as values for JSON, with every layer unfolded. Unknown values are None."""
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


def anatomy(network: nn.Module, shape: Sequence[int] | None = None, *, name: str | None = None) -> Anatomy:
    """Take a network apart: formula, shape, cost, memory and receptive field of each layer.

    A copy of the network runs in eval mode, without weights where its forward allows it. Modes, gradients,
    hooks, buffers and random state stay as they are, and the network's own hooks do not run. Receptive
    fields: Araujo, Norris, Sim 2019, Computing Receptive Fields of Convolutional Neural Networks.

    Args:
        network: any module that takes a batch of images.
        shape: (C, H, W) of the image, or (N, C, H, W) [the network's usual image, as `reslab show` takes it:
            224 pixels, 32 for a ResNet with a small stem]. All figures are for one image.
        name: title of the table [the class's name].

    Returns:
        The layers and blocks with their figures.

    Raises:
        NetworkError: the image does not pass through. The error names the layer, and a shape that fits. Or
            the network is scripted, cannot be copied, or has lazy layers that have not run yet.
        UsageError: `shape` is not the shape of an image.
    """
    network = getattr(network, "_orig_mod", network)  # torch.compile wraps
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise NetworkError(
            f"{name or type(network).__name__} is a scripted or traced module",
            "TorchScript hides its layers and operations from hooks",
            "give the module as it was before torch.jit.script or torch.jit.trace",
        )
    shape = usual_input(network) if shape is None else check_shape(shape)
    name = name or type(network).__name__
    with torch.inference_mode(False):  # autograd cannot keep tensors created in that mode
        copied, training, inference = _passes(network, (1, *shape), name)
    counts = {id(p): p.numel() for p in copied.parameters()}
    tensors = [*copied.parameters(), *copied.buffers()]
    layers, places = layers_of(training, inference, copied, dict(counts))
    return Anatomy(
        network=name,
        input=shape,
        layers=layers,
        blocks=blocks_of(training.module_calls, places),
        parameters=sum(counts.values()),
        trainable=sum(p.numel() for p in copied.parameters() if p.requires_grad),
        weight_bytes=sum(t.numel() * t.element_size() for t in tensors),
        input_training_bytes=training.input_kept_bytes,
    )


def check_shape(shape: Sequence[int]) -> Shape:
    """Return (C, H, W) from (C, H, W) or (N, C, H, W).

    Raises:
        UsageError: another number of values, or one that is not an int above 0.
    """
    values = tuple(shape)
    whole = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
    if len(values) not in (3, 4) or not whole:
        raise UsageError(
            f"{values} is no shape of an image",
            "channels, height and width are three whole numbers above 0",
            "give (3, 224, 224), or (1, 3, 224, 224)",
        )
    return values[-3:]


def _passes(network: nn.Module, shape: Shape, name: str) -> tuple[nn.Module, Recorder, Recorder]:
    """Copy the network and record two passes of one image through the copy, on the meta device if that works.

    Args:
        network: the network itself.
        shape: (1, C, H, W).
        name: of the network, for errors.

    Returns:
        The copy, the pass with gradients, and the pass without.

    Raises:
        NetworkError: the image does not pass, a layer is lazy, or the network cannot be copied.
    """
    if any(isinstance(p, UninitializedParameter) for p in network.parameters()):
        raise NetworkError(
            f"{name} has layers that take their size from the first image",
            "before that they have no weights to count",
            f"run one image first: network(torch.zeros{shape})",
        )
    failed: PassError | None = None
    for make_copy in (copy_without_weights, copy_with_weights):
        try:
            copied = make_copy(network)
            return copied, record(copied, shape, gradients=True), record(copied, shape, gradients=False)
        except PassError as error:
            failed = error
    assert failed is not None
    raise wrong_input(failed, network, shape, name) from failed.error


def _folded(name: str, layers: list[Layer], block: Block | None) -> Layer:
    if len(layers) == 1 and layers[0].name == name:
        return layers[0]
    ran = [layer for layer in layers if layer.output is not None] or layers
    known = [layer.multiply_adds for layer in layers if layer.multiply_adds is not None]
    return Layer(
        name=name,
        kind=block.kind if block else layers[0].kind,
        inputs=(block.input,) if block and block.input else ran[0].inputs,
        output=block.output if block and block.output else ran[-1].output,
        windows=None,
        formula=_block_formula(ran),
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(known) if len(known) == len(layers) else None,
        training_bytes=sum(layer.training_bytes for layer in layers),
        inference_bytes=max(layer.inference_bytes for layer in layers),
        receptive_field=ran[-1].receptive_field,
        notes=tuple(dict.fromkeys(f"{layer.name}: {note}" for layer in layers for note in layer.notes)),
    )


def _block_formula(layers: list[Layer]) -> str:
    """Return the formula of the layer that changes the size, preferably one with a large kernel.

    "" if no layer has a window; without a change of size that of the first large kernel, or the first.
    """

    def rank(layer: Layer) -> tuple[bool, bool]:
        changes = bool(layer.inputs and layer.output) and layer.inputs[0][-2:] != (layer.output or ())[-2:]
        return changes, max(window.kernel_size for window in layer.windows or ()) > 1

    with_window = [layer for layer in layers if layer.windows]
    return max(with_window, key=rank).formula if with_window else ""  # the first of the best
