"""Nodes of a block's drawing, read off its anatomy: boxes of layers, additions, gates and joins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from reslab.errors import NetworkError
from reslab.inspection.drawing.stages import ancestors
from reslab.inspection.layers import Layer, Shape
from reslab.inspection.summary import Anatomy
from reslab.inspection.tracer import IMAGE

from .rows import Row, row_of

NodeKind = Literal["input", "output", "box", "add", "multiply", "join"]
MEETINGS: dict[str, NodeKind] = {"add": "add", "mul": "multiply"}
LIGHT = ("norm", "elu", "swish", "silu", "sigmoid", "tanh", "softmax", "dropout", "mish")  # parts of kinds


@dataclass(frozen=True)
class Node:
    """Something that is drawn: layers in one box, or a place where branches meet.

    Attributes:
        kind: "join" is any other operation on several inputs, as a concatenation.
        rows: the layers of a box, or the one operation of a meeting place.
        output: shape without the batch of what leaves it.
        inputs: indices of the nodes whose outputs come in.
    """

    kind: NodeKind
    rows: tuple[Row, ...]
    output: Shape
    inputs: tuple[int, ...] = ()


def block_graph(taken: Anatomy, block: nn.Module) -> tuple[Node, ...]:
    """Return the nodes of a block in the order of the forward pass, the input first and the output last.

    Args:
        taken: the anatomy of the block alone.
        block: the block itself, for the settings of its layers.

    Raises:
        NetworkError: the block computes nothing, or its output is no feature map, as that of a network.
    """
    layers, sources = taken.layers, _sources(taken.layers)
    depends = [i for i in range(len(layers)) if IMAGE in ancestors(sources, i)]
    last = _last_layer(taken, depends)
    used = [i for i in depends if i in ancestors(sources, last)]
    modules = dict(block.named_modules())
    nodes, node_of = [Node("input", (), taken.input)], {IMAGE: 0}
    for box in _boxes(layers, sources, used):
        output = layers[box[-1]].output or ()
        ends = [end for end in dict.fromkeys(sources[box[0]]) if end in node_of]  # without constants
        rows = [row_of(layers[i], modules.get(layers[i].name), _weight_of(i, layers)) for i in box]
        kind = MEETINGS.get(layers[box[0]].kind, "join") if len(ends) > 1 else "box"
        nodes.append(Node(kind, tuple(rows), output, tuple(node_of[end] for end in ends)))
        node_of.update(dict.fromkeys(box, len(nodes) - 1))
    output = nodes[node_of[last]].output
    return (*nodes, Node("output", (), output, (node_of[last],)))


def _last_layer(taken: Anatomy, depends: list[int]) -> int:
    """Return the index of the layer that makes the block's output: the last one with its shape."""
    output = taken.blocks[0].output if taken.blocks else None
    made = [i for i in depends if taken.layers[i].output is not None]
    if not made:
        do = "compute the output from the argument of forward"
        raise NetworkError(f"{taken.network} cannot be drawn", "no layer works on its input", do)
    last = max((i for i in made if taken.layers[i].output == output), default=made[-1])
    shape = taken.layers[last].output or ()
    if len(shape) != 3:
        raise NetworkError(
            f"{taken.network} is a whole network, not a block",
            f"its output {shape} has no height and width",
            "draw it with reslab.draw_network(network, (3, 224, 224), 'network.svg')",
        )
    return last


def _sources(layers: Sequence[Layer]) -> list[tuple[int, ...]]:
    """Return the sources of each layer, with layers that do nothing in inference between their neighbors.

    A dropout returns its own input, so that no later layer refers to it. It is inserted where one later
    layer alone takes that input.
    """
    sources = [layer.sources for layer in layers]
    for i, layer in enumerate(layers):
        passes = len(layer.sources) == 1 and layer.kind != "Identity" and layer.inputs[:1] == (layer.output,)
        takers = [n for n in range(i + 1, len(layers)) if passes and layer.sources[0] in sources[n]]
        if len(takers) == 1 and not any(i in each for each in sources):
            taker = takers[0]
            sources[taker] = tuple(i if s == layer.sources[0] else s for s in sources[taker])
    return sources


def _boxes(layers: Sequence[Layer], sources: Sequence[tuple[int, ...]], used: list[int]) -> list[list[int]]:
    """Group layers into boxes: a convolution with the norms and activations after it, or before it.

    They come before it where the chain of layers begins with one of them, as with pre-activation.
    """
    box_of: dict[int, list[int]] = {}
    weight_first: dict[int, bool] = {}  # of each layer's chain
    for i in used:
        before = sources[i][0] if len(sources[i]) == 1 else IMAGE
        alone = before in box_of and [n for n in used if before in sources[n]] == [i]
        chained = alone and all(_is_light(layers[n]) or _is_weighted(layers[n]) for n in (before, i))
        weight_first[i] = weight_first[before] if chained else not _is_light(layers[i])
        joins = chained and _is_light(layers[i if weight_first[i] else before])
        box_of[i] = box_of[before] if joins else []
        box_of[i].append(i)
    return [box for i, box in box_of.items() if box[0] == i]


def _is_weighted(layer: Layer) -> bool:
    return "conv" in layer.kind.lower() or layer.kind in ("Linear", "addmm")


def _is_light(layer: Layer) -> bool:
    return any(word in layer.kind.lower() for word in LIGHT)


def _weight_of(index: int, layers: Sequence[Layer]) -> str:
    """Return the name of the only parameter of the block around operation `index`, "" if there are more."""
    place = layers[index].name.rpartition(".")[0]
    found = [x.name for x in layers if x.kind == "Parameter" and x.name.rpartition(".")[0] == place]
    return found[0] if len(found) == 1 else ""
