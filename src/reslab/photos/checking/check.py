"""check(): what is wrong with a folder of photos, and whether it would spoil a training."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reslab.files import user_path
from reslab.photos.decoding.decode import Truncated
from reslab.text import printable, table

from . import photo_stats as looks
from .duplicate_findings import Standing, find_copies
from .findings import KINDS, Finding, Tiny, explanation
from .folder_findings import class_faults, name_faults
from .folder_stats import Files, Seen, find_files, look_at_all

if TYPE_CHECKING:
    from .fix import Fixed

SHOWN, WIDTH = 3, 100  # findings of each kind that are printed; columns of their explanation
SMALL = 32  # pixels of the shorter side below which a photo is tiny, if most are more than twice its size


@dataclass(frozen=True)
class Basis:
    """What a list of what to use is made from: every photo, its digest uint8 (N, 16), pixels, and copies."""

    files: Files
    digests: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    standing: Standing


@dataclass(frozen=True)
class Check:
    """What check() found: how many photos were looked at, and each finding, what spoils a training first."""

    folder: Path
    photos: int
    findings: tuple[Finding, ...]
    basis: Basis = field(repr=False, compare=False)

    @property
    def spoils_training(self) -> bool:
        return any(finding.spoils_training for finding in self.findings)

    def by_kind(self) -> dict[type[Finding], list[Finding]]:
        """Only the kinds that were found, in the order of KINDS."""
        groups: dict[type[Finding], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(type(finding), []).append(finding)
        return groups

    def as_json(self) -> dict[str, Any]:
        rows = [finding.as_json() for finding in self.findings]
        return {"photos": self.photos, "findings": rows, "spoils_training": self.spoils_training}

    def fix(self, path: Path | str) -> Fixed:
        """Writes a list of what to use to `path`, a new file; see fixing.fix. No photo is touched."""
        from .fix import fix

        return fix(self, user_path(path))

    def __str__(self) -> str:
        if not self.findings:
            return printable(f"{self.folder}: {self.photos:,} photos, nothing found")
        rows = [
            [kind.kind, f"{len(found):,}", "yes" if kind.spoils_training else "no", found[0].place]
            for kind, found in self.by_kind().items()
        ]
        header = ["finding", "count", "spoils a training", "for example"]
        lines = [printable(f"{self.folder}: {self.photos:,} photos"), "", table(header, rows, "lrll")]
        for kind, found in self.by_kind().items():
            told = explanation(kind)
            lines += ["", *_wrapped(f"{kind.kind}: {told['What']}", "")]
            lines += [printable(f"    {finding.place}: {finding.why}") for finding in found[:SHOWN]]
            if len(found) > SHOWN:
                lines.append(f"    and {len(found) - SHOWN:,} more; --json lists all")
            for part in ("Why it spoils", "Instead"):
                lines += _wrapped(f"{part.lower()}: {told[part]}", "  ")
        return "\n".join(lines)

    __repr__ = __str__


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent="  ")


def check(source: Any, *, truncated: Truncated = "refuse", progress: bool = True) -> Check:
    """Looks at every photo of a folder, a list, Photos or a torchvision ImageFolder, and changes none.

    Each photo is decoded as training would, on all cores; what was seen is kept in the user's cache folder
    by the file's content, so a second check decodes only what is new. Folders that Photos refuses are
    checked too, as long as they hold photos in folders of classes. With `truncated` "keep", as in the recipe,
    what is there of a JPEG that lacks its end is looked at, and no finding. Raises PhotosError for a folder
    without any or a list that is damaged or out of date, and UsageError for a source that is none.
    """
    files = find_files(source)
    seen, found = Seen(len(files)), list[Finding]()
    for photo, (content, look) in enumerate(look_at_all(files, truncated, progress)):
        seen.keep(photo, content, look)
        file = files[photo]
        found += [kind(*file, why) for kind, why in looks.faults_of(look, os.path.splitext(file.path)[1])]
    if files.listing:
        contents = (digest.tobytes() for digest in seen.digests)
        files.listing.check((p, d) for p, d in zip(files.paths, contents, strict=True) if any(d))
    found += tiny(files, seen.sizes)
    return judge(files, seen, seen.standing(files), found)


def judge(files: Files, seen: Seen, standing: Standing, found: list[Finding]) -> Check:
    """What was found in single photos, and beside it what is wrong with them together."""
    for copy in find_copies(standing):
        other = files.paths[copy.earlier]
        found.append(copy.kind(*files[copy.photo], copy.why(other), other))
    found += [*class_faults(files.counts), *name_faults(files)]
    pixels = seen.sizes.astype(np.int64).prod(axis=1)
    order = {kind: place for place, kind in enumerate(KINDS)}
    found.sort(key=lambda finding: order[type(finding)])
    return Check(files.folder, len(files), tuple(found), Basis(files, seen.digests, pixels, standing))


def tiny(files: Files, sizes: NDArray[np.int32]) -> Iterator[Finding]:
    """Photos far smaller than most. `sizes` (N, 2): width and height, 0 for what cannot be decoded."""
    shorter = sizes.min(axis=1, initial=2**31 - 1)
    usual = float(np.median(shorter[shorter > 0])) if (shorter > 0).any() else 0.0
    small = (shorter > 0) & (shorter < min(SMALL, usual / 2))
    for photo in np.flatnonzero(small).tolist():
        width, height = sizes[photo].tolist()
        why = f"{width} x {height} pixels, where most have {usual:.0f} or more on the shorter side"
        yield Tiny(*files[photo], why)
