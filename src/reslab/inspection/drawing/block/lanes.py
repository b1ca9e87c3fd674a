"""Lanes and bands of a block's drawing: the column of each branch, the order of its nodes.

The main path is lane 0. Lanes on its left are -1, -2 and so on, on its right 1, 2 and so on. A branch inside
another one is nearer to the main path, so that their lines do not cross.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .graph import BlockGraph


@dataclass(frozen=True)
class Lanes:
    """Places of nodes and branches, by their indices in the graph.

    Args:
        band: of each node, from the top. A place where branches meet has a band to itself.
        lane: of each node.
        branch_lane: of each branch.
        host: of each branch the earlier branch, not the main path, that it begins or ends in; else 0.
        bars: nodes that span the lanes that come in: joins without another branch between these lanes.
    """

    band: tuple[int, ...]
    lane: tuple[int, ...]
    branch_lane: tuple[int, ...]
    host: tuple[int, ...]
    bars: frozenset[int]


def lanes_of(graph: BlockGraph) -> Lanes:
    """Return the lanes and bands of a graph."""
    band = _bands(graph)
    owner = [0] * len(graph.nodes)
    for number, branch in enumerate(graph.branches):
        for node in branch.nodes[1:-1] if number else branch.nodes:
            owner[node] = number
    ends = [(owner[b.nodes[0]], owner[b.nodes[-1]]) for b in graph.branches]
    host = tuple(max((end for end in pair if end < number), default=0) for number, pair in enumerate(ends))
    spans = [(band[b.nodes[0]] + 0.5, float(band[b.nodes[-1]])) for b in graph.branches]
    side = _sides(graph, host, spans)
    branch_lane = [0] * len(graph.branches)
    for sign in (-1, 1):
        placed: list[int] = []
        for number in _from_inside([n for n in range(1, len(host)) if side[n] == sign], host, spans):
            near = [abs(branch_lane[other]) for other in placed if _overlap(spans[number], spans[other])]
            branch_lane[number] = sign * (1 + max(near, default=0))
            placed.append(number)
    lane = tuple(branch_lane[number] for number in owner)
    joins = [n for n, node in enumerate(graph.nodes) if node.kind == "join"]
    bars = frozenset(n for n in joins if _is_free(n, graph, band, branch_lane, spans))
    return Lanes(tuple(band), lane, tuple(branch_lane), host, bars)


def _is_free(
    node: int,
    graph: BlockGraph,
    band: Sequence[int],
    branch_lane: Sequence[int],
    spans: Sequence[tuple[float, float]],
) -> bool:
    """Return True if no other branch runs between the lanes that come into a join."""
    ending = [n for n, branch in enumerate(graph.branches) if node in branch.nodes[1:]]
    left, right = (end(branch_lane[n] for n in ending) for end in (min, max))
    others = [n for n in range(len(graph.branches)) if n not in ending and left <= branch_lane[n] <= right]
    return not any(spans[n][0] < band[node] < spans[n][1] for n in others)


def _bands(graph: BlockGraph) -> list[int]:
    """Return the band of each node: below all of its inputs, boxes together, each meeting place alone."""
    band = [-1] * len(graph.nodes)
    left = set(range(len(graph.nodes)))
    count = 0
    while left:
        ready = [n for n in sorted(left) if not any(source in left for source in graph.inputs(n))]
        boxes = [n for n in ready if graph.nodes[n].kind == "box"]
        chosen = boxes or ready[:1]
        for node in chosen:
            band[node] = count
        left -= set(chosen)
        count += 1
    return band


def _sides(graph: BlockGraph, host: Sequence[int], spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return -1 (left) or 1 (right) for each branch.

    Shortcuts are on the right, others where fewer lines run, and hosted ones on the side of their host.
    `host` and `spans` are by branch.
    """
    side = [0] * len(host)
    order = sorted(range(1, len(host)), key=lambda n: (graph.branches[n].role != "shortcut", n))
    for number in order:
        root = number
        while host[root]:
            root = host[root]
        if not side[root]:
            load = {-1: 0, 1: 0}
            for other in range(1, len(host)):
                if side[other] and _overlap(spans[other], spans[root]):
                    load[side[other]] += 1
            is_shortcut = graph.branches[root].role == "shortcut"
            side[root] = 1 if is_shortcut or load[1] <= load[-1] else -1
        side[number] = side[root]
    return side


def _from_inside(numbers: list[int], host: Sequence[int], spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return branches from the innermost: by their end, then by length; hosted ones after their host.

    A branch that ends while another one goes on is thus inside it, and its end crosses no line.
    """

    def tree(number: int) -> list[int]:
        hosted = sorted((n for n in numbers if host[n] == number), key=end)
        return [number, *(n for each in hosted for n in tree(each))]

    def end(number: int) -> tuple[float, float, int]:
        return spans[number][1], -spans[number][0], number

    roots = sorted((n for n in numbers if not host[n]), key=end)
    return [number for root in roots for number in tree(root)]


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
