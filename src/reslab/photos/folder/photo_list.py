"""Photo, and a list of a million of them in four arrays: about 30 bytes a photo beside its path."""

from __future__ import annotations

import re
from array import array
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .paths import GrowingPaths, Paths

DIGEST = 16  # bytes
HEXADECIMAL = re.compile(f"[0-9a-f]{{{2 * DIGEST}}}")  # a digest as text


@dataclass(frozen=True)
class Photo:
    """One file: its path relative to the folder, the index of its class, and a digest of its bytes."""

    path: str
    label: int
    digest: str


@dataclass(frozen=True, eq=False, repr=False)
class PhotoList(Sequence[Photo]):
    """A frozen sequence of Photo that keeps columns and makes a Photo when one is asked for.

    `names`: every path, one behind the other; `ends` int64 (N,): where each ends; `labels` int32 (N,);
    `digests` uint8 (N, 16). It compares by value, slices to a PhotoList, and travels to another process as
    four blocks of bytes.
    """

    names: bytes
    ends: NDArray[np.int64]
    labels: NDArray[np.int32]
    digests: NDArray[np.uint8]

    def __post_init__(self) -> None:
        for column in (self.ends, self.labels, self.digests):
            column.flags.writeable = False

    @classmethod
    def of(cls, photos: Iterable[Photo]) -> PhotoList:
        """The same photos in columns. Raises ValueError for a digest that is none."""
        columns = Columns()
        for photo in photos:
            columns.add(photo.path, photo.label, bytes.fromhex(photo.digest))
        return columns.freeze()

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> PhotoList: ...
    def __getitem__(self, index: int | slice) -> Photo | PhotoList:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index = range(len(self))[index]  # negative ones counted from the end, others refused
        return Photo(self.path(index), int(self.labels[index]), self.digests[index].tobytes().hex())

    def __iter__(self) -> Iterator[Photo]:
        return map(self.__getitem__, range(len(self)))

    def __add__(self, other: PhotoList) -> PhotoList:
        return PhotoList(
            self.names + other.names,
            np.concatenate([self.ends, other.ends + len(self.names)]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.digests, other.digests]),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PhotoList):
            return NotImplemented
        return self.names == other.names and all(
            np.array_equal(ours, theirs)
            for ours, theirs in (
                (self.ends, other.ends),
                (self.labels, other.labels),
                (self.digests, other.digests),
            )
        )

    def __hash__(self) -> int:
        return hash((self.names, self.labels.tobytes(), self.digests.tobytes()))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", ..." if len(self) > 3 else "")
        return f"PhotoList({len(self):,} photos: {shown})" if len(self) else "PhotoList()"

    def __reduce__(self) -> tuple[Any, ...]:  # not field by field: a frozen array would thaw on the way
        return PhotoList, (self.names, self.ends, self.labels, self.digests)

    def path(self, index: int) -> str:
        """The path of photo `index`, relative to the folder."""
        return self.paths[index]

    @property
    def paths(self) -> Paths:
        """Every path, relative to the folder; nothing is copied."""
        return Paths(self.names, self.ends)

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> PhotoList:
        """The photos of these indices, in their order, or those where a mask (N,) is true, in ours."""
        indices = np.arange(len(self))[chosen]
        paths = self.paths.take(indices)
        return PhotoList(paths.names, paths.ends, self.labels[indices], self.digests[indices])


class Columns:
    """A PhotoList while it grows."""

    def __init__(self) -> None:
        self.paths, self.labels, self.digests = GrowingPaths(), array("i"), bytearray()

    def add(self, path: str, label: int, digest: bytes) -> None:
        """One more photo. Raises ValueError for a digest of another length."""
        if len(digest) != DIGEST:
            raise ValueError(f"a digest has {DIGEST} bytes, not {len(digest)}")
        self.paths.add(path)
        self.labels.append(label)
        self.digests += digest

    def freeze(self) -> PhotoList:
        """What was added so far."""
        paths = self.paths.freeze()
        return PhotoList(
            paths.names,
            paths.ends,
            np.array(self.labels, np.int32),
            np.frombuffer(bytes(self.digests), np.uint8).reshape(-1, DIGEST),
        )


def as_words(digests: NDArray[np.uint8]) -> NDArray[np.void]:
    """(N, 16) uint8 -> (N,), each digest one value, compared byte for byte."""
    return np.ascontiguousarray(digests).view(f"V{DIGEST}").ravel()


def among(digests: NDArray[np.uint8], wanted: Container[bytes]) -> NDArray[np.bool_]:
    """(N, 16) uint8 -> (N,), which of them are wanted."""
    return np.fromiter((digest.tobytes() in wanted for digest in digests), bool, len(digests))
