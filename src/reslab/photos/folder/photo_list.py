"""Photo and PhotoList: a million photos in a few arrays instead of a million objects."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

DIGEST = 16  # bytes
TAKEN_AT_ONCE = 2**16  # photos: choosing their paths takes 16 bytes for each character
HEXADECIMAL = re.compile(f"[0-9a-f]{{{2 * DIGEST}}}")  # a digest as text


@dataclass(frozen=True)
class Photo:
    """A photo file.

    Attributes:
        path: its path, relative to the folder of its Photos.
        label: index of its class in `Photos.classes`.
        digest: 32 hexadecimal digits, the BLAKE2b hash of the file's bytes.
    """

    path: str
    label: int
    digest: str


@dataclass(frozen=True, eq=False, repr=False)
class PhotoList(Sequence[Photo]):
    """Immutable sequence of Photo, stored as arrays: about 30 bytes a photo in addition to its path.

    Indexing returns a Photo; a slice or `+` returns a PhotoList. Lists with equal photos are equal.

    Attributes:
        path_bytes: all paths as UTF-8, one after another. Numpy's bytes type would pad each to the longest.
        path_ends: (N,) int64, where each path ends in `path_bytes`.
        labels: (N,) int32, the class of each photo.
        digests: (N, 16) uint8, the digest of each file.
    """

    path_bytes: bytes
    path_ends: NDArray[np.int64]
    labels: NDArray[np.int32]
    digests: NDArray[np.uint8]

    @classmethod
    def of(cls, photos: Iterable[Photo]) -> PhotoList:
        """Store photos as arrays.

        Raises:
            ValueError: a digest is not 32 hexadecimal digits.
        """
        photos = list(photos)
        if not all(HEXADECIMAL.fullmatch(photo.digest) for photo in photos):
            raise ValueError(f"a digest is not {2 * DIGEST} hexadecimal digits")
        digests = b"".join(bytes.fromhex(photo.digest) for photo in photos)
        rows = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST)
        return cls.from_columns([photo.path for photo in photos], [photo.label for photo in photos], rows)

    @classmethod
    def from_columns(cls, paths: Sequence[str], labels: ArrayLike, digests: NDArray[np.uint8]) -> PhotoList:
        """Store N paths, labels (N,) and digests (N, 16); the digests are not copied."""
        # surrogatepass: a file name that is not UTF-8 holds surrogates
        lengths = (len(path.encode("utf-8", "surrogatepass")) for path in paths)
        ends = np.cumsum(np.fromiter(lengths, np.int64, len(paths)))
        path_bytes = "".join(paths).encode("utf-8", "surrogatepass")
        return cls(path_bytes, ends, np.asarray(labels, np.int32), digests)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Photo: ...
    @overload
    def __getitem__(self, index: slice) -> PhotoList: ...
    def __getitem__(self, index: int | slice) -> Photo | PhotoList:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        index = range(len(self))[index]  # counts negative indices from the end
        return Photo(self.path(index), int(self.labels[index]), self.digests[index].tobytes().hex())

    def __add__(self, other: PhotoList) -> PhotoList:
        return PhotoList(
            self.path_bytes + other.path_bytes,
            np.concatenate([self.path_ends, other.path_ends + len(self.path_bytes)]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.digests, other.digests]),
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PhotoList):
            return NotImplemented
        return (
            self.path_bytes == other.path_bytes
            and np.array_equal(self.path_ends, other.path_ends)
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.digests, other.digests)
        )

    def __hash__(self) -> int:
        return hash((self.path_bytes, self.labels.tobytes(), self.digests.tobytes()))

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", ..." if len(self) > 3 else "")
        return f"PhotoList({len(self):,} photos: {shown})" if len(self) else "PhotoList()"

    def path(self, index: int) -> str:
        """Return the path of photo `index`, 0 to N - 1, relative to the folder."""
        start = self.path_ends[index - 1] if index else 0
        return self.path_bytes[start : self.path_ends[index]].decode("utf-8", "surrogatepass")

    @property
    def paths(self) -> list[str]:
        """Paths of the N photos, relative to the folder."""
        return [self.path(index) for index in range(len(self))]

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> PhotoList:
        """Return some of the photos as a new list.

        Args:
            chosen: indices (M,), in the order wanted, or a mask (N,), which keeps the order.
        """
        indices = np.arange(len(self))[chosen]
        lengths = np.diff(self.path_ends, prepend=0)[indices]
        ends = np.cumsum(lengths)
        shift = self.path_ends[indices] - ends  # from each new path back to the old one
        characters, parts, done = np.frombuffer(self.path_bytes, np.uint8), list[bytes](), 0
        for at in range(0, len(indices), TAKEN_AT_ONCE):
            old = np.repeat(shift[at : at + TAKEN_AT_ONCE], lengths[at : at + TAKEN_AT_ONCE])
            old += np.arange(done, done + len(old))
            parts.append(characters[old].tobytes())
            done += len(old)
        return PhotoList(b"".join(parts), ends, self.labels[indices], self.digests[indices])


def as_words(digests: NDArray[np.uint8]) -> NDArray[np.void]:
    """Digests as one comparable value each: (N, 16) uint8 -> (N,)."""
    return np.ascontiguousarray(digests).view(f"V{DIGEST}").ravel()


def among(digests: NDArray[np.uint8], wanted: Container[bytes]) -> NDArray[np.bool_]:
    """Mask of the digests that are in `wanted`, a set or dict of 16 bytes each: (N, 16) uint8 -> (N,)."""
    return np.fromiter((digest.tobytes() in wanted for digest in digests), bool, len(digests))
