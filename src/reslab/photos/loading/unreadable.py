"""Find photos that cannot be read before a training starts, and skip them in all splits."""

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

from .data_range import DataRange
from .pixel_cache import open_readable
from .pixel_store import Pixels
from .preprocess import Preprocess

MAX_UNREADABLE_FRACTION = 0.5  # of a class or a split; beyond it the folder or a decoder is wrong
MIN_PHOTOS_FOR_FRACTION = 4  # in smaller groups more than half may be unreadable by chance
MAX_REASONS = 100  # photos to keep by name
MAX_SHOWN = 3
TRUNCATED_JPEG = re.compile(r".*\.(jpe?g|jpe|jfif): .*truncated.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class SkippedPhotos:
    """Photos that cannot be read.

    Attributes:
        counts: {split: number of photos}.
        reasons: {path: reason} of the first MAX_REASONS photos.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of photos in all splits."""
        return sum(self.counts.values())

    def __str__(self) -> str:
        """Return "skipped 3 photos that could not be read: 2 of train, 1 of test"."""
        photos = "1 photo" if self.total == 1 else f"{self.total:,} photos"
        return f"skipped {photos} that could not be read: {self._by_split()}"

    def _by_split(self) -> str:
        """Return "2 of train, 1 of test", without splits of 0."""
        return ", ".join(f"{count:,} of {split}" for split, count in self.counts.items() if count)

    def warning(self, photos: Photos, source: str) -> str:
        """Return a warning of a few lines: counts, the first MAX_SHOWN reasons, what remains and what to do.

        Args:
            photos: photos that remain.
            source: folder or list of all photos, quoted for the shell, for the suggested command.
        """
        all_photos = self.total + sum(map(len, photos.splits.values()))
        counts = f"{self.total:,} of {all_photos:,} photos"
        lines = [f"WARNING: skipping {counts} that cannot be read: {self._by_split()}"]
        lines += [f"  {path}: {why}" for path, why in islice(self.reasons.items(), MAX_SHOWN)]
        if self.total > MAX_SHOWN:
            lines.append(f"  and {self.total - MAX_SHOWN:,} more")
        if any(TRUNCATED_JPEG.fullmatch(f"{path}: {why}") for path, why in self.reasons.items()):
            lines.append("  --truncated keep uses what is there of a JPEG whose end is missing")
        rest = ", ".join(f"{len(split):,} {name}" for name, split in photos.splits.items() if split)
        lines.append(f"  training on {rest}; to list every skipped photo: reslab check {source}")
        return "\n".join(map(printable, lines))

    def as_json(self) -> dict[str, Any]:
        """Return {"count": total, "splits": {split: count}, "first": [{"path", "why"}, ...]}."""
        first = [{"path": path, "why": why} for path, why in self.reasons.items()]
        return {"count": self.total, "splits": dict(self.counts), "first": first}

    @classmethod
    def from_json(cls, value: Any) -> SkippedPhotos:
        """Restore from the value of `as_json`, whose "count" is ignored; None gives a value without photos.

        Raises:
            ValueError: the value has another form.
        """
        if value is None:
            return cls()
        try:
            counts, reasons = value["splits"], {row["path"]: row["why"] for row in value["first"]}
        except (TypeError, KeyError, IndexError) as error:
            raise ValueError("splits or first is missing") from error
        known = isinstance(counts, dict) and counts.keys() <= set(SPLITS)
        if not known or any(type(count) is not int or count < 0 for count in counts.values()):
            raise ValueError("splits must be counts by split")
        if not all(isinstance(text, str) for row in reasons.items() for text in row):
            raise ValueError("first must be rows of a path and a reason")
        return cls(counts, reasons)


@dataclass(frozen=True)
class ReadablePhotos:
    """Photos that can be read, with the preprocessing and source of their pixels, and those skipped.

    `data_range` is the range of the photos of more than 8 bits; None without such photos.
    """

    photos: Photos
    preprocess: Preprocess
    pixels: Pixels
    skipped: SkippedPhotos = field(default_factory=SkippedPhotos)
    data_range: DataRange | None = None


def skip_unreadable(
    photos: Photos, preprocess: Preprocess, *, cache: bool = True, progress: bool = True
) -> ReadablePhotos:
    """Find the photos that cannot be read, and return the others in their splits, without a warning.

    Every photo is decoded once, into the cache. If the cache exists, only photos missing from it are.

    Args:
        photos: photos with splits.
        preprocess: how they are decoded.
        cache: use a cache; otherwise every photo is decoded, and its pixels are not kept.
        progress: show a progress bar, if stderr is a terminal.

    Raises:
        PhotosError: more than half of a group of at least four photos cannot be read: of a class, a split or
            a class in a split. Or none can be read of a split or of a class in train.
    """
    listed = photos.train + photos.val + photos.test
    pixels, unread = open_readable(photos.folder, listed, preprocess, cache=cache, progress=progress)
    if not unread:
        return ReadablePhotos(photos, preprocess, pixels)
    bad = among(listed.digests, unread)  # (N,)
    reasons = {listed.path(i): unread[listed.digests[i].tobytes()] for i in np.flatnonzero(bad).tolist()}
    splits = np.repeat(SPLITS, [len(photos.splits[name]) for name in SPLITS])  # (N,)
    _check_fractions(photos, listed, splits, bad, reasons)
    counts = {name: int((bad & (splits == name)).sum()) for name in SPLITS}
    skipped = SkippedPhotos(counts, dict(islice(reasons.items(), MAX_REASONS)))
    return ReadablePhotos(photos.without(reasons), preprocess, pixels, skipped)


def too_many_unreadable(unreadable: int, photos: int) -> bool:
    """Return whether a training refuses a class or split of which so many photos cannot be read."""
    return photos >= MIN_PHOTOS_FOR_FRACTION and unreadable > MAX_UNREADABLE_FRACTION * photos


def _check_fractions(
    photos: Photos,
    listed: PhotoList,
    splits: NDArray[np.str_],
    bad: NDArray[np.bool_],
    reasons: Mapping[str, str],
) -> None:
    """Raise PhotosError as skip_unreadable does, for the first group with too many bad photos.

    Args:
        photos: all photos.
        listed: the N photos of all splits.
        splits: (N,), name of the split of each.
        bad: (N,), mask of those that cannot be read.
        reasons: {path: reason} of those.
    """
    for name, inside, needed in _groups(photos.classes, listed.labels, splits):
        count, total = int((bad & inside).sum()), int(inside.sum())
        emptied = needed and count == total > 0
        if not emptied and not too_many_unreadable(count, total):
            continue
        first = map(listed.path, np.flatnonzero(bad & inside)[:MAX_SHOWN].tolist())
        lines = ["with more than half unreadable, the folder is wrong or a decoder is missing:"]
        lines += [f"       {path}: {reasons[path]}" for path in first]
        lines += [f"       and {count - MAX_SHOWN:,} more"] if count > MAX_SHOWN else []
        folder = shlex.quote(str(photos.folder))
        raise PhotosError(
            printable(f"{count:,} of the {total:,} photos of {name} in {photos.folder} cannot be read"),
            "\n".join(map(printable, lines)),
            printable(f"replace or remove these photos; to list all: reslab check {folder}"),
        )


def _groups(
    classes: Sequence[str], labels: NDArray[np.int32], splits: NDArray[np.str_]
) -> Iterator[tuple[str, NDArray[np.bool_], bool]]:
    """Yield (name, mask (N,), whether one photo must remain) of every class, class in a split, and split.

    Args:
        classes: names by label.
        labels: (N,), label of each photo.
        splits: (N,), split of each photo.
    """
    for label, name in enumerate(classes):
        yield f"class {name}", labels == label, False
        for split in SPLITS:
            yield f"class {name} in {split}", (labels == label) & (splits == split), split == "train"
    for split in SPLITS:
        yield split, splits == split, True
