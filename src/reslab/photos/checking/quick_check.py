"""What is known of photos before a training, without decoding one: said loudly, and no reason to refuse."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from reslab.photos.decoding.decode import Truncated
from reslab.photos.folder.photo_list import DIGEST
from reslab.photos.folder.photos import Photos
from reslab.text import printable

from . import photo_stats as looks
from .check import Check, judge, tiny
from .duplicate_findings import Standing
from .findings import Contradiction, Finding, Leak
from .folder_stats import Files, Seen, files_of, key_of
from .near_duplicates import find_alike
from .stats_cache import LookCache

EXAMPLES = 3
MEANS: dict[type[Finding], str] = {
    Leak: "in two splits: what measures it has in part been seen",
    Contradiction: "in two classes: one of its labels is wrong",
}


def first_look(photos: Photos, truncated: Truncated = "refuse") -> Check:
    """Classes, names and copies byte for byte; near copies and all the rest where a check has seen all."""
    files, digests = files_of(photos)
    found: list[Finding] = []
    seen = Seen(len(files))
    if _remember(seen, files, digests, truncated, found):
        return judge(files, seen, seen.standing(files), [*found, *tiny(files, seen.sizes)])
    seen.digests[:] = digests
    nothing = np.frombuffer(hashlib.blake2b(digest_size=DIGEST).digest(), np.uint8)  # no copy of another
    alike = find_alike(digests, (digests != nothing).any(axis=1))
    return judge(files, seen, Standing(alike, files.places, files.names), [])


def warn(found: Check, source: str) -> str:
    """A few lines on what would spoil a training, with what to do; "" if there is nothing. `source`: what
    the user calls the photos, as the shell takes it."""
    groups, lines = found.by_kind(), list[str]()
    for kind, of in groups.items():
        if not kind.spoils_training:
            continue
        photos = "1 photo" if len(of) == 1 else f"{len(of):,} photos"
        meaning = f"{photos} {MEANS[kind]}" if kind in MEANS else f"{len(of):,} found"
        lines.append(f"WARNING: {kind.kind}: {meaning}")
        lines += [f"  {finding.place}: {finding.why}" for finding in islice(of, EXAMPLES)]
        lines += [f"  and {len(of) - EXAMPLES:,} more"] if len(of) > EXAMPLES else []
    rest = Counter({kind.kind: len(of) for kind, of in groups.items() if not kind.spoils_training})
    if rest:
        lines.append("note: also " + ", ".join(f"{kind} {count:,}" for kind, count in rest.items()))
    if lines:
        new = "list.jsonl" if not os.path.lexists("list.jsonl") else "NEW.jsonl"
        mended = any(isinstance(finding, Leak | Contradiction) for finding in found.findings)
        how = f"to leave these out: reslab check {source} --fix {new}; reslab train {new}"
        lines.append(f"  the training goes on; {how if mended else f'see reslab check {source}'}")
    return "\n".join(map(printable, lines))


def _remember(
    seen: Seen, files: Files, digests: NDArray[np.uint8], truncated: Truncated, found: list[Finding]
) -> bool:
    """What an earlier check saw of all photos; False as soon as it has not seen one."""
    if not LookCache.exists():
        return False
    cache = LookCache()
    try:
        for photo, file in enumerate(files):
            content = digests[photo].tobytes().hex()
            look = cache.get(key_of(content, truncated))
            if look is None:
                return False
            seen.keep(photo, content, look)
            found += [kind(*file, why) for kind, why in looks.faults_of(look, os.path.splitext(file.path)[1])]
    finally:
        cache.close()
    return True
