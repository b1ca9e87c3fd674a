"""quick_check(): problems of photos that are known before a training without decoding any, as warnings."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reslab.errors import PhotosError
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
from .photo_stats import square_pixels
from .stats_cache import StatsCache, cache_key

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = 3
MEANINGS: dict[type[Finding], str] = {
    Leak: "in two splits: the network is measured on what it was trained on",
    Contradiction: "in two classes: one of its labels is wrong",
}


def quick_check(photos: Photos, truncated: Truncated = "refuse", pixels: Pixels | None = None) -> Check:
    """Check classes, names, equal files and, by cached pixels, places that betray a class.

    No photo is decoded. If an earlier check cached the statistics of every photo, the result is that of a
    full check.

    Args:
        photos: the photos.
        truncated: as in `check`.
        pixels: pixels to train on. Only a cache is read, of a sample of the photos.
    """
    files, digests = files_of(photos)
    values = pixels.files.preprocess.value_range if isinstance(pixels, PixelCache) else None
    stats = _cached_stats(files, digests, truncated, values)
    if stats is None:
        stats = FolderStats(files)
        stats.digests[:] = digests
        empty = np.frombuffer(hashlib.blake2b(digest_size=DIGEST).digest(), np.uint8)
        stats.readable[:] = (digests != empty).any(axis=1)  # empty files are not duplicates of each other
        stats.samples += _cached_samples(photos, files, pixels) if isinstance(pixels, PixelCache) else []
    return build_check(stats)


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
    if lines:
        new = "list.jsonl" if not os.path.lexists("list.jsonl") else "NEW.jsonl"
        fixable = any(isinstance(finding, Leak | Contradiction) for finding in check.findings)
        how = f"to skip these photos: reslab check {source} --fix {new}; reslab train {new}"
        lines.append(f"  the training continues; {how if fixable else f'see reslab check {source}'}")
    return "\n".join(map(printable, lines))
