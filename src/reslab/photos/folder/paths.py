"""A million paths in two arrays: as many bytes as they are long, and eight beside each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray


class Paths(Sequence[str]):
    """A frozen sequence of paths that makes a str when one is asked for; equal to any sequence of the same.

    `names`: every path, one behind the other; `ends` int64 (N,): where each ends.
    """

    def __init__(self, names: bytes, ends: NDArray[np.int64]) -> None:
        self.names, self.ends = names, ends

    @classmethod
    def of(cls, paths: Iterable[str]) -> Paths:
        """These, however many they are, one at a time."""
        growing = GrowingPaths()
        for path in paths:
            growing.add(path)
        return growing.freeze()

    @classmethod
    def joined(cls, parts: Iterable[Sequence[str]]) -> Paths:
        """One behind the other."""
        all_of = [part if isinstance(part, Paths) else cls.of(part) for part in parts]
        starts = np.cumsum([0, *(len(part.names) for part in all_of)])
        ends = [part.ends + start for part, start in zip(all_of, starts, strict=False)]
        return cls(b"".join(part.names for part in all_of), np.concatenate([np.zeros(0, np.int64), *ends]))

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Paths: ...
    def __getitem__(self, index: int | slice) -> str | Paths:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index = range(len(self))[index]  # negative ones counted from the end, others refused
        start = int(self.ends[index - 1]) if index else 0
        return self.names[start : int(self.ends[index])].decode("utf-8", "surrogatepass")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", ..." if len(self) > 3 else "")
        return f"Paths({len(self):,}: {shown})"

    def take(self, indices: NDArray[np.int64]) -> Paths:
        """Those of these indices, in their order."""
        starts = np.concatenate([np.zeros(1, np.int64), self.ends])[:-1][indices]
        ends = self.ends[indices]
        names = bytearray()
        for start, end in zip(starts, ends, strict=True):
            names += self.names[start:end]
        return Paths(bytes(names), np.cumsum(ends - starts))


class GrowingPaths:
    """Paths while more of them come."""

    def __init__(self) -> None:
        self.names, self.ends = bytearray(), array("q")

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, path: str) -> None:
        """One more."""
        # surrogatepass: a name that is no UTF-8 has surrogates in it, and JSON may have brought others
        self.names += path.encode("utf-8", "surrogatepass")
        self.ends.append(len(self.names))

    def freeze(self) -> Paths:
        """What was added so far."""
        return Paths(bytes(self.names), np.array(self.ends, np.int64))


class ByPath(Mapping[str, bytes]):
    """What belongs to each path, uint8 (N, bytes), found by its hash: sixteen bytes a path beside both."""

    def __init__(self, paths: Paths, values: NDArray[np.uint8]) -> None:
        self.paths, self.values_of = paths, values
        hashes = np.fromiter(map(hash, paths), np.int64, len(paths))
        self.order = hashes.argsort(kind="stable")
        self.hashes = hashes[self.order]

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __getitem__(self, path: str) -> bytes:
        first, behind = (self.hashes.searchsorted(hash(path), side) for side in ("left", "right"))
        for row in self.order[first:behind].tolist():
            if self.paths[row] == path:
                return self.values_of[row].tobytes()
        raise KeyError(path)

    def first_repeated(self) -> int | None:
        """The first row whose path an earlier one has; None if there is none."""
        same = np.flatnonzero(self.hashes[1:] == self.hashes[:-1])
        seen = set[str]()
        for row in np.union1d(self.order[same], self.order[same + 1]).tolist():
            if self.paths[row] in seen:
                return int(row)
            seen.add(self.paths[row])
        return None
