"""Graph of a block, read off its anatomy: boxes of layers, additions, gates, and the branches between them.

The main path goes from the input to the output. Every other branch leaves a node that is drawn and ends in
one, so that a block is its main path and a list of branches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from reslab.errors import NetworkError
from reslab.inspection.drawing.stages import ancestors, shortcut_kind
from reslab.inspection.layers import Layer, Shape
from reslab.inspection.summary import Anatomy
from reslab.inspection.tracer import IMAGE

from .rows import Row, row_of

GATE_ENDS = ("sigmoid", "softmax", "tanh")  # parts of the kinds that end a gate

NodeKind = Literal["input", "output", "box", "add", "subtract", "multiply", "join"]
Role = Literal["main", "shortcut", "gate", "branch"]
MEETINGS: dict[str, NodeKind] = {"add": "add", "sub": "subtract", "mul": "multiply"}


@dataclass(frozen=True)
class Node:
    """Something that is drawn: layers in one box, or a place where branches meet.

    `rows` are the layers of a box, or the one operation of a join (a concatenation, a matrix product).
    `output` is the shape without the batch of what leaves it.
    """

    kind: NodeKind
    rows: tuple[Row, ...]
    output: Shape


@dataclass(frozen=True)
class Edge:
    """Arrow between two nodes, by their indices, with the shape that arrives."""

    source: int
    target: int
    shape: Shape


@dataclass(frozen=True)
class Branch:
    """Path of nodes from one that belongs to an earlier branch to another, both included.

    `kind` is that of a shortcut (identity, projection, zeros, pooled), "" for other branches.
    """

    role: Role
    nodes: tuple[int, ...]
    kind: str = ""


@dataclass(frozen=True)
class BlockGraph:
    """Nodes in the order of the forward pass, the input first and the output last.

    The first branch is the main path. Together the branches hold every edge once.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    branches: tuple[Branch, ...]

    def edge(self, source: int, target: int) -> Edge:
        return next(e for e in self.edges if (e.source, e.target) == (source, target))

    def inputs(self, node: int) -> list[int]:
        return [edge.source for edge in self.edges if edge.target == node]

    def outputs(self, node: int) -> list[int]:
        return [edge.target for edge in self.edges if edge.source == node]


def block_graph(taken: Anatomy, block: nn.Module) -> BlockGraph:
    """Return the graph of a block.

    Args:
        taken: the anatomy of the block alone.
        block: the block itself, for the settings of its layers.

    Raises:
        NetworkError: the block computes nothing, or its output is no feature map, as that of a network.
    """
    sources = _sources(taken.layers)
    last = _last_layer(taken)
    used = [i for i in sorted(ancestors(sources, last)) if IMAGE in ancestors(sources, i) and i != IMAGE]
    sources = [tuple(s for s in each if s == IMAGE or s in used) for each in sources]
    boxes = _boxes(taken.layers, sources, used)
    modules = dict(block.named_modules())
    nodes = [Node("input", (), taken.input)]
    node_of = {IMAGE: 0}
    for box in boxes:
        node_of.update(dict.fromkeys(box, len(nodes)))
        nodes.append(_node(box, taken, sources, modules))
    edges = []
    for box in boxes:
        layer, target = taken.layers[box[0]], node_of[box[0]]
        for place, source in enumerate(sources[box[0]]):
            made = taken.input if source == IMAGE else taken.layers[source].output or ()
            edges.append(Edge(node_of[source], target, _arriving(layer, place, made, len(sources[box[0]]))))
    output = taken.layers[last].output or ()
    edges.append(Edge(node_of[last], len(nodes), output))
    nodes.append(Node("output", (), output))
    return BlockGraph(tuple(nodes), tuple(edges), tuple(_branches(nodes, edges, taken)))


def _last_layer(taken: Anatomy) -> int:
    """Return the index of the layer that makes the block's output: the last one with its shape."""
    output = taken.blocks[0].output if taken.blocks else None
    sources = [layer.sources for layer in taken.layers]
    made = [
        i
        for i, layer in enumerate(taken.layers)
        if layer.output is not None and IMAGE in ancestors(sources, i)
    ]
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
        if not passes or any(i in s for s in sources):
            continue
        takers = [n for n in range(i + 1, len(layers)) if layer.sources[0] in sources[n]]
        if len(takers) == 1:
            taker = takers[0]
            sources[taker] = tuple(i if s == layer.sources[0] else s for s in sources[taker])
    return sources


def _boxes(layers: Sequence[Layer], sources: Sequence[tuple[int, ...]], used: list[int]) -> list[list[int]]:
    """Group layers into boxes: a convolution with the norms and activations after it, or before it.

    They come before it where the chain of layers begins with one of them, as with pre-activation.
    """
    takers = {i: [n for n in used if i in sources[n]] for i in [IMAGE, *used]}
    boxes: list[list[int]] = []
    box_of: dict[int, list[int]] = {}
    weight_first: dict[int, bool] = {}  # of each layer's chain
    for i in used:
        before = sources[i][0] if len(sources[i]) == 1 else IMAGE
        chained = before != IMAGE and takers[before] == [i] and len(sources[before]) == 1
        chained = chained and all(_is_light(layers[n]) or _is_weighted(layers[n]) for n in (before, i))
        light = _is_light(layers[i])
        weight_first[i] = weight_first[before] if chained else not light
        if chained and (light if weight_first[i] else _is_light(layers[before])):
            box_of[i] = box_of[before]
            box_of[i].append(i)
        else:
            box_of[i] = [i]
            boxes.append(box_of[i])
    return boxes


def _is_weighted(layer: Layer) -> bool:
    return "conv" in layer.kind.lower() or layer.kind in ("Linear", "addmm")


def _is_light(layer: Layer) -> bool:
    """Return True for norms, activations and dropout, which share a box with a convolution."""
    kind = layer.kind.lower()
    words = ("norm", "elu", "swish", "silu", "sigmoid", "tanh", "softmax", "dropout", "mish")
    return any(word in kind for word in words)


def _node(
    box: list[int], taken: Anatomy, sources: Sequence[tuple[int, ...]], modules: dict[str, nn.Module]
) -> Node:
    layers = taken.layers
    first, output = layers[box[0]], layers[box[-1]].output or ()
    kind: NodeKind = "box"
    if len(sources[box[0]]) > 1:
        kind = MEETINGS.get(first.kind, "join")
    rows = []
    for i in box:
        module = None if layers[i].kind.islower() else modules.get(layers[i].name)
        rows.append(row_of(i, layers[i], module, _weight_of(i, layers)))
    return Node(kind, tuple(rows), output)


def _weight_of(index: int, layers: Sequence[Layer]) -> str:
    """Return the name of the only parameter of the block around operation `index`, "" if there are more."""
    place = layers[index].name.rpartition(".")[0]
    found = [x.name for x in layers if x.kind == "Parameter" and x.name.rpartition(".")[0] == place]
    return found[0] if len(found) == 1 else ""


def _arriving(layer: Layer, place: int, made: Shape, count: int) -> Shape:
    """Return the shape in which a layer takes its source `place`, which made the shape `made`.

    They differ after a view, as of half the channels.
    """
    if made in layer.inputs or not layer.inputs:
        return made
    return layer.inputs[place] if len(layer.inputs) == count else layer.inputs[0]


def _branches(nodes: Sequence[Node], edges: Sequence[Edge], taken: Anatomy) -> list[Branch]:
    """Return the main path, then each other branch, walked upwards from where it ends."""
    inputs: list[tuple[int, ...]] = [()] * len(nodes)
    for edge in edges:
        inputs[edge.target] = (*inputs[edge.target], edge.source)
    costs = [sum(taken.layers[row.layer].multiply_adds or 0 for row in node.rows) for node in nodes]
    up = _Upwards(nodes, edges, inputs, costs)
    main = up.walk(len(nodes) - 1, up.first_input(len(nodes) - 1), {0})
    branches = [Branch("main", main)]
    placed, open_nodes = set(main), [*reversed(main)]
    taken_edges = {*zip(main, main[1:], strict=False)}
    while open_nodes:
        node = open_nodes.pop(0)
        for source in sorted(inputs[node], key=lambda s: -up.length(node, s)[0]):
            if (source, node) in taken_edges:
                continue
            path = up.walk(node, source, placed)
            taken_edges |= {*zip(path, path[1:], strict=False)}
            placed |= set(path)
            open_nodes += reversed(path[1:-1])
            branches.append(_with_role(path, nodes, branches, up, taken))
    return branches


def _with_role(
    path: tuple[int, ...], nodes: Sequence[Node], known: list[Branch], up: _Upwards, taken: Anatomy
) -> Branch:
    kind = nodes[path[-1]].kind
    if kind == "multiply":
        return Branch("gate", path)
    host = next(branch for branch in known if path[-1] in branch.nodes[1:])
    other = host.nodes[host.nodes.index(path[-1]) - 1]
    rows = [row for n in path[1:-1] for row in nodes[n].rows]
    if kind == "add" and up.length(path[-1], other)[0] > up.length(path[-1], path[-2])[0]:
        given, output = nodes[path[0]].output, nodes[path[-1]].output
        kind_of = shortcut_kind([taken.layers[row.layer] for row in rows], given, output)
        return Branch("shortcut", path, "pooled" if not rows and given != output else kind_of)
    return Branch("branch", path)


@dataclass(frozen=True)
class _Upwards:
    """Walks from a node towards the input, along the longest of several branches that meet.

    `inputs` and `costs` (multiply-adds) are by node.
    """

    nodes: Sequence[Node]
    edges: Sequence[Edge]
    inputs: Sequence[tuple[int, ...]]
    costs: Sequence[int]

    def walk(self, end: int, source: int, placed: set[int]) -> tuple[int, ...]:
        """Return the path from the first node of `placed` through `source` to `end`."""
        path = [end, source]
        while path[-1] not in placed:
            path.append(self.first_input(path[-1]))
        return tuple(reversed(path))

    def first_input(self, node: int) -> int:
        """Return the input of a node that belongs to its own branch, which is drawn straight above it."""
        sources = self.inputs[node]
        if self.nodes[node].kind == "multiply":
            open_ways = [s for s in sources if not self._is_gate(s, node)]
            sources = tuple(open_ways) or sources
        return max(sources, key=lambda source: self.length(node, source))

    def length(self, node: int, source: int) -> tuple[int, int]:
        """Return the layers and multiply-adds of the branch that comes into `node` from `source` alone."""
        branches = [ancestors(self.inputs, s) for s in self.inputs[node]]
        own = ancestors(self.inputs, source) - frozenset.intersection(*branches)
        return sum(len(self.nodes[n].rows) for n in own), sum(self.costs[n] for n in own)

    def _is_gate(self, source: int, node: int) -> bool:
        """Return True if the factor `source` is broadcast, or ends with an activation from 0 to 1."""
        edge = next(e for e in self.edges if (e.source, e.target) == (source, node))
        last = self.nodes[source].rows[-1:]
        ends = bool(last) and any(end in last[0].text.lower() for end in GATE_ENDS)
        return edge.shape != self.nodes[node].output or ends
