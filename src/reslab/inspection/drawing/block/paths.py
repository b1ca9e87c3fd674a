"""Paths of a block: the main one, and at each split the branches that meet again in a later node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reslab.inspection.drawing.stages import ancestors, shortcut_kind

from .graph import Node

GATE_ENDS = ("sigmoid", "softmax", "tanh")  # parts of the kinds that end a gate
Role = Literal["main", "shortcut", "gate", "branch"]
Split = tuple["Path", ...]


@dataclass(frozen=True)
class Path:
    """Nodes, by index, and splits from the top to the bottom.

    A split is the branches between the node before and the node after it, the straight one first.

    Attributes:
        start: node that the path leaves; it is not among the steps, nor is the one where the path ends.
        steps: () for a path that is only a line. A node may take inputs from other nodes above it than the
            one before it, where branches cross so that no split can show them.
        role: of the branch.
        kind: that of a shortcut (identity, projection, zeros, pooled), else "".
    """

    start: int
    steps: tuple[int | Split, ...]
    role: Role = "main"
    kind: str = ""


def block_path(nodes: Sequence[Node]) -> Path:
    """Return the main path of a block, from its input to its output."""
    above = [ancestors([node.inputs for node in nodes], i) for i in range(len(nodes))]
    doors = [frozenset({0})]  # of each node those that every way from the input to it passes
    for i, node in enumerate(nodes[1:], 1):
        doors.append(frozenset.intersection(*(doors[n] for n in node.inputs)) | {i})

    def steps(start: int, end: int) -> tuple[int | Split, ...]:
        """Return the steps after node `start` down to node `end`."""
        found: list[int | Split] = []
        while end != start:
            found.append(end)
            inputs = nodes[end].inputs
            fork = max(frozenset.intersection(*(doors[n] for n in inputs)))
            inside = [above[n] - above[fork] for n in inputs]
            if len(inputs) > 1:
                all_inside = frozenset[int]().union(*inside)
                crossed = sum(map(len, inside)) > len(all_inside)
                found += sorted(all_inside, reverse=True) if crossed else [split(fork, end)]
            end = fork
        return tuple(reversed(found))

    def split(fork: int, end: int) -> Split:
        node = nodes[end]
        inside = {n: steps(fork, n) for n in node.inputs}
        rows = {n: [row for i in above[n] - above[fork] for row in nodes[i].rows] for n in node.inputs}

        def weight(n: int) -> tuple[bool, int, int]:
            """Return a key by which the straight branch is the largest: no gate, with the most layers."""
            costs = sum(row.layer.multiply_adds or 0 for row in rows[n])
            return not (node.kind == "multiply" and _is_gate(nodes[n], node)), len(rows[n]), costs

        main, *others = sorted(node.inputs, key=weight, reverse=True)
        branches = [Path(fork, inside[main])]
        for n in others:
            role: Role = "gate" if node.kind == "multiply" else "branch"
            kind = ""
            if node.kind == "add" and len(rows[n]) < len(rows[main]):
                role = "shortcut"
                kind = shortcut_kind([row.layer for row in rows[n]], nodes[fork].output, node.output)
            branches.append(Path(fork, inside[n], role, kind))
        return tuple(branches)

    return Path(0, (0, *steps(0, len(nodes) - 1)))


def _is_gate(factor: Node, product: Node) -> bool:
    """Return True if a factor is broadcast, or ends with an activation from 0 to 1."""
    last = factor.rows[-1].text.lower() if factor.rows else ""
    return any(word in last for word in GATE_ENDS) or factor.output != product.output
