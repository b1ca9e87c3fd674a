"""Photos that cannot be read, found before a training begins: said, and left out of all three splits.

What turns bad later is for replacing.py.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.photos.folder.photo_list import PhotoList, among
from reslab.photos.folder.photos import SPLITS, Photos
from reslab.text import printable

from .pixel_cache import open_readable
from .pixel_store import Pixels
from .preprocess import Preprocess

MOST = 0.5  # of a class or a split: where more cannot be read, something else is wrong than these photos
FEW = 4  # photos: of fewer, more than half may be missing by chance
NAMED = 100  # photos that are kept by name
EXAMPLES = 3
CUT_JPEG = re.compile(r".*\.(jpe?g|jpe|jfif): .*truncated.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class LeftOut:
    """How many photos of each split cannot be read, and of the first NAMED of them, path -> why."""

    counts: Mapping[str, int] = field(default_factory=dict)
    named: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_all(self) -> int:
        return sum(self.counts.values())

    def __str__(self) -> str:
        """What the last lines of a training say."""
        photos = "1 photo" if self.in_all == 1 else f"{self.in_all:,} photos"
        return f"{photos} could not be read and had no part in this: {self._by_split()}"

    def _by_split(self) -> str:
        return ", ".join(f"{count:,} of {split}" for split, count in self.counts.items() if count)

    def warning(self, photos: Photos, source: str) -> str:
        """A few lines for people. `photos`: those that stay; `source`: how the shell names all of them."""
        total = self.in_all + sum(map(len, photos.splits.values()))
        lines = [f"WARNING: left out, for they cannot be read: {self.in_all:,} of {total:,} photos"]
        lines[0] += f", {self._by_split()}"
        lines += [f"  {path}: {why}" for path, why in islice(self.named.items(), EXAMPLES)]
        lines += [f"  and {self.in_all - EXAMPLES:,} more"] if self.in_all > EXAMPLES else []
        if any(CUT_JPEG.fullmatch(f"{path}: {why}") for path, why in self.named.items()):
            lines.append("  --truncated keep uses what is there of a JPEG that lacks its end")
        stay = ", ".join(f"{len(split):,} {name}" for name, split in photos.splits.items() if split)
        lines.append(
            f"  the training goes on with {stay}; to see all that is left out: reslab check {source}"
        )
        return "\n".join(map(printable, lines))

    def as_json(self) -> dict[str, Any]:
        """{"count", "splits": {split: count}, "first": [{"path", "why"}]}, at most NAMED of them."""
        first = [{"path": path, "why": why} for path, why in self.named.items()]
        return {"count": self.in_all, "splits": dict(self.counts), "first": first}

    @classmethod
    def from_json(cls, value: Any) -> LeftOut:
        """What `as_json` gave; nothing left out for None. Raises ValueError for anything else."""
        if value is None:
            return cls()
        try:
            counts, named = value["splits"], {row["path"]: row["why"] for row in value["first"]}
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError("it does not say what was left out") from error
        known = isinstance(counts, dict) and counts.keys() <= set(SPLITS)
        if not known or any(type(count) is not int or count < 0 for count in counts.values()):
            raise ValueError("it does not say of which split how many were left out")
        if not all(isinstance(text, str) for row in named.items() for text in row):
            raise ValueError("what it says was left out are no photos")
        return cls(counts, named)


@dataclass(frozen=True)
class ReadablePhotos:
    """Photos of which each one can be read, what is done to them, and where their pixels come from."""

    photos: Photos
    preprocess: Preprocess
    pixels: Pixels
    left_out: LeftOut = field(default_factory=LeftOut)


def readable(
    photos: Photos, preprocess: Preprocess, *, cache: bool = True, progress: bool = True
) -> ReadablePhotos:
    """Photos without those that cannot be read, in all three splits; each is decoded once, into the cache.

    The splits are cut before, so who is in which does not depend on who can be read. Raises PhotosError if
    more than half of a class or of a split cannot be read, of four photos or more, or all where one is
    needed: then it is the wrong folder, or a decoder is missing, and what is left would be other data.
    """
    every = photos.train + photos.val + photos.test
    pixels, unread = open_readable(photos.folder, every, preprocess, cache=cache, progress=progress)
    if not unread:
        return ReadablePhotos(photos, preprocess, pixels)
    bad = among(every.digests, unread)  # (N,)
    reasons = {every.path(i): unread[every.digests[i].tobytes()] for i in np.flatnonzero(bad).tolist()}
    splits = np.repeat(SPLITS, [len(photos.splits[name]) for name in SPLITS])  # (N,)
    _refuse_too_many(photos, every, splits, bad, reasons)
    counts = {name: int((bad & (splits == name)).sum()) for name in SPLITS}
    left_out = LeftOut(counts, dict(islice(reasons.items(), NAMED)))
    return ReadablePhotos(photos.without(reasons), preprocess, pixels, left_out)


def _refuse_too_many(
    photos: Photos,
    every: PhotoList,
    splits: NDArray[np.str_],
    bad: NDArray[np.bool_],
    reasons: Mapping[str, str],
) -> None:
    for name, inside, needed in _groups(photos.classes, every.labels, splits):
        count, total = int((bad & inside).sum()), int(inside.sum())
        emptied = needed and count == total > 0
        if not emptied and (total < FEW or count <= MOST * total):
            continue
        first = map(every.path, np.flatnonzero(bad & inside)[:EXAMPLES].tolist())
        lines = [f"       {path}: {reasons[path]}" for path in first]
        lines += [f"       and {count - EXAMPLES:,} more"] if count > EXAMPLES else []
        folder = shlex.quote(str(photos.folder))
        raise PhotosError(
            printable(f"{count:,} of the {total:,} photos of {name} in {photos.folder} cannot be read"),
            "\n".join(
                map(
                    printable,
                    ["with more than half it is the wrong folder, or a decoder is missing:", *lines],
                )
            ),
            printable(f"put other photos there, or remove these; to see all: reslab check {folder}"),
        )


def _groups(
    classes: Sequence[str], labels: NDArray[np.int32], splits: NDArray[np.str_]
) -> Iterator[tuple[str, NDArray[np.bool_], bool]]:
    """What it is called, which of all photos (N,) it is, and whether one of it has to be left."""
    for label, name in enumerate(classes):
        yield f"class {name}", labels == label, False
        for split in SPLITS:
            yield f"class {name} in {split}", (labels == label) & (splits == split), split == "train"
    for split in SPLITS:
        yield split, splits == split, True
