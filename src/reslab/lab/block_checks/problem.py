"""Problem of a block: its cause, the place, the shapes, and what to change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """Cause for which a block cannot be compared.

    Attributes:
        cause: what is wrong, as a short sentence without a period.
        where: block and layer, as in "MyBlock(64, 128, 2), layer se.fc1".
        shapes: the tensors' shapes (N, C, H, W) that show it; "" where no shape matters.
        do: what to change.
    """

    cause: str
    where: str
    shapes: str
    do: str


class BlockFailedError(Exception):
    """A check found a problem, which is `problem`."""

    def __init__(self, cause: str, where: str, shapes: str, do: str) -> None:
        super().__init__(cause, where, shapes, do)
        self.problem = Problem(cause, where, shapes, do)
