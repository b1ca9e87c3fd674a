"""fix(): write a list of photos without those that a check found to spoil a training."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reslab.errors import UsageError
from reslab.files import user_path
from reslab.photos.folder import list_file
from reslab.photos.folder.photo_list import PhotoList
from reslab.text import printable

from .check import Check
from .duplicate_findings import choose_removed
from .findings import UNREADABLE_KINDS, Contradiction, Duplicate, Finding, Leak
from .folder_findings import class_findings

REASONS: dict[type[Finding], str] = {
    **dict.fromkeys(UNREADABLE_KINDS, "it cannot be decoded"),
    Contradiction: "both photos, since either label may be wrong",
    Leak: "the photo nearer to training, so that test stays as it is",
    Duplicate: "all but one of the same split and class; those in test stay",
}


@dataclass(frozen=True)
class Fixed:
    """Result of fix().

    Attributes:
        path: the new list.
        photos: number of photos checked.
        kept: number of photos in the list.
        removed: {kind of finding: number of photos that are not in the list because of it}, without zeros.
        remaining: problems of the listed classes that spoil a training and that no list can fix.
    """

    path: Path
    photos: int
    kept: int
    removed: dict[type[Finding], int]
    remaining: tuple[Finding, ...]

    @property
    def spoils_training(self) -> bool:
        """True if a remaining finding would spoil a training."""
        return bool(self.remaining)

    def __str__(self) -> str:
        if not self.removed:
            lines = [f"{self.path}: all {self.photos:,} photos; nothing had to be removed"]
        else:
            lines = [
                f"{self.path}: {self.kept:,} of {self.photos:,} photos; no file was changed. Not in the list:"
            ]
        width = len(f"{max(self.removed.values(), default=0):,}")
        for kind, count in self.removed.items():
            lines.append(f"  {count:>{width},}  {kind.kind}: {REASONS[kind]}")
        for finding in self.remaining:
            lines.append(f"  a list cannot fix this: {finding.kind}, {finding.place}: {finding.why}")
        return "\n".join(map(printable, lines))


def fix(check: Check, path: Path | str) -> Fixed:
    """Write a list of the photos to use. The others are not listed; no photo is changed.

    Left out are photos that cannot be decoded, both sides of a contradiction, and the photo of a leak that is
    nearer to training. Of duplicates outside test all but one are left out. Every other photo keeps its split
    and class.

    Args:
        check: result of check().
        path: the new file, which train, evaluate, check and Photos accept in place of a folder.

    Raises:
        UsageError: `path` exists already, which is never overwritten, or cannot be written.
    """
    path, files = user_path(path), check.inputs.files
    list_file.check_new(path)
    unreadable = {
        finding.path: type(finding) for finding in check.findings if isinstance(finding, UNREADABLE_KINDS)
    }
    removed = choose_removed(check.inputs.duplicates, check.inputs.pixels)
    removed |= {photo: unreadable[name] for photo, name in enumerate(files.paths) if name in unreadable}
    kept = np.ones(len(files), bool)
    kept[list(removed)] = False
    classes = sorted({name for _, name in files.names})
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[name] for _, name in files.names])  # of each split and class
    every = PhotoList.from_columns(files.paths, labels[files.places], check.inputs.digests)
    splits, counts = dict[str, PhotoList](), dict[str, dict[str, int]]()
    for split in files.counts:
        places = [place for place, (of, _) in enumerate(files.names) if (of or "all") == split]
        splits[split] = every.take(kept & np.isin(files.places, places))
        sizes = np.bincount(splits[split].labels, minlength=len(classes)).tolist()
        counts[split] = {name: sizes[label_of[name]] for name in files.counts[split]}
    try:
        list_file.write(path, files.folder, classes, splits)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"{path} cannot be written", why, "make room there, or give another name") from error
    remaining = tuple(finding for finding in class_findings(counts) if finding.spoils_training)
    by_kind = Counter(removed.values())
    kinds = {kind: by_kind[kind] for kind in REASONS if by_kind[kind]}
    return Fixed(path, len(files), int(kept.sum()), kinds, remaining)
