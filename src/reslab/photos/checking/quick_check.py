"""quick_check(): problems of photos that are found before a training without decoding any, as warnings."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reslab.errors import PhotosError
from reslab.parallel import on_all_cores
from reslab.photos.decoding.decode import Truncated
from reslab.photos.decoding.levels import ValueRange
from reslab.photos.folder.photo_list import DIGEST
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.pixel_store import PixelCache, Pixels
from reslab.text import printable

from .check import Check, build_check
from .class_leaks import Sample, is_sampled
from .findings import Contradiction, Finding, Leak
from .folder_stats import FolderPhotos, FolderStats, files_of
from .photo_stats import fingerprint, square_pixels
from .stats_cache import StatsCache, cache_key

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = 3
PHOTOS_PER_TASK = 64
MAX_COMPARED_PHOTOS = 200_000  # comparing more with each other takes minutes
NOT_LOOKED_FOR = "near copies of photos were not looked for, which would take long; reslab check does it"
MEANINGS: dict[type[Finding], str] = {
    Leak: "in two splits: the network is measured on what it was trained on",
    Contradiction: "in two classes: one of its labels is wrong",
}


def quick_check(
    photos: Photos,
    truncated: Truncated = "refuse",
    pixels: Pixels | None = None,
    seconds: float = math.inf,
) -> Check:
    """Check classes, names, equal files and, by cached pixels, near copies and places that betray a class.

    No photo is decoded. If an earlier check cached the statistics of every photo, the result is that of a
    full check.

    Args:
        photos: the photos.
        truncated: as in `check`.
        pixels: pixels to train on. Only a cache is read.
        seconds: limit for near copies. If they would take longer, a note says that they were not looked for.
    """
    files, digests = files_of(photos)
    values = pixels.files.preprocess.value_range if isinstance(pixels, PixelCache) else None
    stats = _cached_stats(files, digests, truncated, values)
    if stats is None:
        stats = FolderStats(files)
        stats.digests[:] = digests
        empty = np.frombuffer(hashlib.blake2b(digest_size=DIGEST).digest(), np.uint8)
        stats.readable[:] = (digests != empty).any(axis=1)  # empty files are not duplicates of each other
        if isinstance(pixels, PixelCache):
            stats.samples += _cached_samples(photos, files, pixels)
        is_done = isinstance(pixels, PixelCache) and _add_fingerprints(stats, photos, pixels, seconds)
        if pixels is not None and not is_done:
            return replace(build_check(stats), notes=(NOT_LOOKED_FOR,))
    return build_check(stats)


def _add_fingerprints(stats: FolderStats, photos: Photos, pixels: PixelCache, seconds: float) -> bool:
    """Fill in hash and thumbnail of every photo from its cached pixels. Return False if that takes too long.

    Args:
        seconds: limit. The first photos are measured.
    """
    listed, began = photos.train + photos.val + photos.test, time.monotonic()
    if len(listed) > MAX_COMPARED_PHOTOS:
        return False

    def add(start: int) -> None:
        for index in range(start, min(start + PHOTOS_PER_TASK, len(listed))):
            with suppress(PhotosError):
                found = fingerprint(_image(pixels.read(listed[index])).convert("L"))
                stats.hashes[index], thumbnail = found
                stats.thumbnails[index] = np.frombuffer(thumbnail, np.uint8)

    for done, _ in enumerate(on_all_cores(add, range(0, len(listed), PHOTOS_PER_TASK)), 1):
        spent, share = time.monotonic() - began, min(1.0, done * PHOTOS_PER_TASK / len(listed))
        if spent / share > seconds:
            stats.thumbnails[:] = 0  # find_duplicates() then compares equal files only
            return False
    return True


def _cached_samples(photos: Photos, files: FolderPhotos, pixels: PixelCache) -> Iterator[Sample]:
    """Yield a sample of the photos to train on, by cached pixels and without statistics."""
    shares = {name: share for (_, name), share in zip(files.names, files.shares, strict=True) if share}
    for row, label in enumerate(photos.train.labels.tolist()):
        digest, name = photos.train.digests[row].tobytes(), photos.classes[label]
        if is_sampled(digest, shares[name]):
            with suppress(PhotosError):
                yield Sample(name, digest, square_pixels(_image(pixels.read(photos.train[row]))), None)


def _image(pixels: Tensor) -> Image.Image:
    """Return uint8 (channels, H, W), 3 or 1 channels, as an RGB image."""
    array = pixels.permute(1, 2, 0).numpy()  # (H, W, channels)
    return Image.fromarray(array.squeeze(2) if array.shape[2] == 1 else array).convert("RGB")


def _cached_stats(
    files: FolderPhotos,
    digests: NDArray[np.uint8],
    truncated: Truncated,
    value_range: ValueRange | None,
) -> FolderStats | None:
    """Return the statistics that an earlier check cached; None without a cache, or if it lacks a photo."""
    if not StatsCache.exists():
        return None
    stats = FolderStats(files)
    with closing(StatsCache()) as cache:
        for photo, row in enumerate(digests):
            content = row.tobytes().hex()
            cached = cache.get(cache_key(content, truncated, value_range))
            if cached is None:
                return None
            stats.add(photo, content, cached)
    return stats


def warning(check: Check, source: str) -> str:
    """Return a few lines on the findings and what to do; "" without findings.

    Kinds that spoil a training get a line each with examples. The others are counted in one note.

    Args:
        check: the findings.
        source: path of the folder or list, quoted for the shell, for the suggested command.
    """
    groups, lines = check.by_kind(), list[str]()
    for kind, found in groups.items():
        if not kind.spoils_training:
            continue
        photos = "1 photo" if len(found) == 1 else f"{len(found):,} photos"
        meaning = f"{photos} {MEANINGS[kind]}" if kind in MEANINGS else f"{len(found):,} found"
        lines.append(f"WARNING: {kind.kind}: {meaning}")
        lines += [f"  {finding.place}: {finding.why}" for finding in islice(found, EXAMPLES)]
        lines += [f"  and {len(found) - EXAMPLES:,} more"] if len(found) > EXAMPLES else []
    rest = {kind.kind: len(found) for kind, found in groups.items() if not kind.spoils_training}
    if rest:
        lines.append("note: also " + ", ".join(f"{kind} {count:,}" for kind, count in rest.items()))
    if NOT_LOOKED_FOR in check.notes:
        lines.append(f"note: {NOT_LOOKED_FOR}")
    if groups:
        new = "list.jsonl" if not os.path.lexists("list.jsonl") else "NEW.jsonl"
        fixable = any(isinstance(finding, Leak | Contradiction) for finding in check.findings)
        how = f"to skip these photos: reslab check {source} --fix {new}; reslab train {new}"
        lines.append(f"  the training continues; {how if fixable else f'see reslab check {source}'}")
    return "\n".join(map(printable, lines))
