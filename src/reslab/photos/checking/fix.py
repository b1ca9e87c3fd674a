"""A check's findings -> a list that training takes, in which what would spoil it is left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from reslab.photos.folder import list_file as listing
from reslab.text import printable

from .check import Check
from .duplicate_findings import leave_out
from .findings import Contradiction, Duplicate, Empty, Finding, Leak, NotAnImage, Truncated, Unreadable
from .folder_findings import class_faults

UNREAD = (Empty, NotAnImage, Truncated, Unreadable)
REASONS: dict[type[Finding], str] = {
    **dict.fromkeys(UNREAD, "it cannot be decoded"),
    Contradiction: "both sides, for nobody knows which label is right",
    Leak: "the copy nearer to training, so that test stays as it is",
    Duplicate: "all but one of the same split and class; those of test stay",
}


@dataclass(frozen=True)
class Fixed:
    """What a new list leaves out, and what no list can mend."""

    path: Path
    photos: int
    kept: int
    left_out: dict[type[Finding], int]
    stays: tuple[Finding, ...]

    @property
    def spoils_training(self) -> bool:
        return bool(self.stays)

    def __str__(self) -> str:
        if not self.left_out:
            lines = [f"{self.path}: all {self.photos:,} photos, for there was nothing to leave out"]
        else:
            lines = [f"{self.path}: {self.kept:,} of {self.photos:,} photos; left out, and no file touched:"]
        width = len(f"{max(self.left_out.values(), default=0):,}")
        for kind, count in self.left_out.items():
            lines.append(f"  {count:>{width},}  {kind.kind}: {REASONS[kind]}")
        for finding in self.stays:
            lines.append(f"  not mended by a list: {finding.kind}, {finding.place}: {finding.why}")
        return "\n".join(map(printable, lines))


def fix(check: Check, path: Path) -> Fixed:
    """Writes to `path` which photos to use; every other keeps its split and class, and no photo is touched.

    Left out are photos that cannot be decoded, both sides of a contradiction, the copy of a leak that is
    nearer to training, and all but one of duplicates outside of test. Raises UsageError if `path` is there.
    """
    files, digests = check.basis.files, check.basis.digests
    unread = {finding.path: type(finding) for finding in check.findings if isinstance(finding, UNREAD)}
    out = leave_out(check.basis.standing, check.basis.pixels)
    out |= {photo: unread[path] for photo, path in enumerate(files.paths) if unread and path in unread}
    kept = [photo for photo in range(len(files)) if photo not in out]
    rows = (
        {"path": path, "class": name, "split": split or "all", "digest": digests[photo].tobytes().hex()}
        for photo in kept
        for path, split, name in (files[photo],)
    )
    listing.write(path, files.folder, {name for _, name in files.names}, rows, len(kept))
    counts: dict[str, dict[str, int]] = {split: dict.fromkeys(of, 0) for split, of in files.counts.items()}
    for photo in kept:
        _, split, name = files[photo]
        counts[split or "all"][name] += 1
    stays = tuple(finding for finding in class_faults(counts) if finding.spoils_training)
    told = Counter(out.values())
    return Fixed(path, len(files), len(kept), {kind: told[kind] for kind in REASONS if told[kind]}, stays)
