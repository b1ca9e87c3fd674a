"""quick_check(): problems of photos that are known before a training without decoding any, as warnings."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from itertools import islice

import numpy as np

from reslab.photos.decoding.decode import Truncated
from reslab.photos.folder.photo_list import DIGEST
from reslab.photos.folder.photos import Photos
from reslab.text import printable

from .check import Check, build_check, find_tiny
from .duplicate_findings import PlacedDuplicates
from .findings import Contradiction, Finding, Leak
from .folder_stats import FolderPhotos, FolderStats, files_of
from .near_duplicates import find_duplicates
from .photo_stats import photo_findings
from .stats_cache import StatsCache, cache_key

EXAMPLES = 3
MEANINGS: dict[type[Finding], str] = {
    Leak: "in two splits: the network is measured on what it was trained on",
    Contradiction: "in two classes: one of its labels is wrong",
}


def quick_check(photos: Photos, truncated: Truncated = "refuse") -> Check:
    """Check classes, names and equal files; all the rest, too, if a check has cached every photo."""
    files, digests = files_of(photos)
    stats, found = FolderStats(len(files)), list[Finding]()
    stats.digests[:] = digests
    if _read_cache(stats, files, truncated, found):
        return build_check(files, stats, stats.duplicates(files), [*found, *find_tiny(files, stats.sizes)])
    empty = np.frombuffer(
        hashlib.blake2b(digest_size=DIGEST).digest(), np.uint8
    )  # empty files are no duplicates
    groups = find_duplicates(digests, (digests != empty).any(axis=1))
    return build_check(files, stats, PlacedDuplicates(groups, files.places, files.names), [])


def _read_cache(stats: FolderStats, files: FolderPhotos, truncated: Truncated, found: list[Finding]) -> bool:
    """Read what an earlier check found; return False if it lacks a photo."""
    if not StatsCache.exists():
        return False
    cache = StatsCache()
    try:
        for photo, file in enumerate(files):
            content = stats.digests[photo].tobytes().hex()
            cached = cache.get(cache_key(content, truncated))
            if cached is None:
                return False
            stats.add(photo, content, cached)
            found += [
                kind(*file, why) for kind, why in photo_findings(cached, os.path.splitext(file.path)[1])
            ]
    finally:
        cache.close()
    return True


def warning(check: Check, source: str) -> str:
    """Return a few lines on what would spoil a training, and what to do; "" if there is nothing.

    Args:
        source: the photos, as the command line names them.
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
    rest = Counter({kind.kind: len(found) for kind, found in groups.items() if not kind.spoils_training})
    if rest:
        lines.append("note: also " + ", ".join(f"{kind} {count:,}" for kind, count in rest.items()))
    if lines:
        new = "list.jsonl" if not os.path.lexists("list.jsonl") else "NEW.jsonl"
        fixable = any(isinstance(finding, Leak | Contradiction) for finding in check.findings)
        how = f"to skip these photos: reslab check {source} --fix {new}; reslab train {new}"
        lines.append(f"  the training continues; {how if fixable else f'see reslab check {source}'}")
    return "\n".join(map(printable, lines))
