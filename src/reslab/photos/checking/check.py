"""check(): find what is wrong with a folder of photos, and whether it would spoil a training."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.photos.decoding.decode import Truncated
from reslab.photos.loading.data_range import DataRange
from reslab.photos.loading.unreadable import too_many_unreadable
from reslab.text import printable, table

from .class_leaks import PlaceScores, find_class_leaks
from .duplicate_findings import PlacedDuplicates, find_matches
from .findings import (
    KINDS,
    UNREADABLE_KINDS,
    Finding,
    LongPhotos,
    MostlyUnreadable,
    PartOfRange,
    Tiny,
    explanation,
)
from .folder_findings import class_findings, name_findings
from .folder_stats import FolderPhotos, FolderStats, find_files, find_range, iter_stats

EXAMPLES = 3  # findings of each kind that are printed
TEXT_WIDTH = 100  # columns
MIN_LOST_FRACTION = 0.35  # of the median photo by the center crop, above which it is a finding
PART_OF_RANGE = 0.5  # of the values that 16 bits can hold, below which it is a finding
TINY_SIDE = 32  # pixels: a photo with a shorter side is tiny, if most are more than twice its size


@dataclass(frozen=True)
class CheckInputs:
    """Input of fix(): the N photos, their digests (N, 16) and numbers of pixels (N,), and the duplicates.

    The digest is zeros for a file that cannot be read. The pixels are 0 for a photo that cannot be decoded.
    """

    files: FolderPhotos
    digests: NDArray[np.uint8]
    pixels: NDArray[np.int64]
    duplicates: PlacedDuplicates


@dataclass(frozen=True)
class Check:
    """Result of check(). It prints as a table, with an explanation of each kind of finding.

    Attributes:
        folder: the folder that the photos' paths are relative to.
        photos: number of photos checked.
        findings: all findings by kind, in the order of KINDS: those that spoil a training come first.
        inputs: what fix() needs; neither printed nor compared.
        places: scores of the places of the photos, on a sample of them; None with too few photos.
        data_range: values of the photos of more than 8 bits; None without such photos.
        notes: on where the labels are from, and on what is not used; not compared.
    """

    folder: Path
    photos: int
    findings: tuple[Finding, ...]
    inputs: CheckInputs = field(repr=False, compare=False)
    places: PlaceScores | None = field(default=None, repr=False, compare=False)
    data_range: DataRange | None = field(default=None, repr=False, compare=False)
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def spoils_training(self) -> bool:
        """True if any finding would spoil a training."""
        return any(finding.spoils_training for finding in self.findings)

    def by_kind(self) -> dict[type[Finding], list[Finding]]:
        """Return {kind: its findings} of the kinds that were found, in the order of KINDS."""
        groups: dict[type[Finding], list[Finding]] = {}
        for finding in self.findings:
            groups.setdefault(type(finding), []).append(finding)
        return groups

    def as_json(self) -> dict[str, Any]:
        """Return {"photos", "findings": [Finding.as_json(), ...], "spoils_training", "notes": [text]}."""
        rows = [finding.as_json() for finding in self.findings]
        return {
            "photos": self.photos,
            "findings": rows,
            "spoils_training": self.spoils_training,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        notes = [printable(f"  note: {note}") for note in self.notes]
        if not self.findings:
            return "\n".join([printable(f"{self._photos}, nothing found"), *notes])
        rows = [
            [kind.kind, f"{len(found):,}", "yes" if kind.spoils_training else "no", found[0].place]
            for kind, found in self.by_kind().items()
        ]
        header = ["finding", "count", "spoils a training", "for example"]
        lines = [printable(self._photos), *notes, "", table(header, rows, "lrll")]
        for kind, found in self.by_kind().items():
            parts = explanation(kind)
            lines += ["", *_wrap(f"{kind.kind}: {parts['What']}", "")]
            lines += [printable(f"    {finding.place}: {finding.why}") for finding in found[:EXAMPLES]]
            if len(found) > EXAMPLES:
                lines.append(f"    and {len(found) - EXAMPLES:,} more; --json lists all")
            for part in ("Why it spoils", "Instead"):
                lines += _wrap(f"{part.lower()}: {parts[part]}", "  ")
        return "\n".join(lines)

    __repr__ = __str__

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Values that become black and white in photos of more than 8 bits; None without such photos."""
        return None if self.data_range is None else (self.data_range.low, self.data_range.high)

    @property
    def _photos(self) -> str:
        """Folder, number of photos and their values as text."""
        values = "" if self.data_range is None else f" ({self.data_range.types})"
        return f"{self.folder}: {self.photos:,} photos{values}"


def _wrap(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, TEXT_WIDTH, initial_indent=indent, subsequent_indent="  ")


def check(source: Any, *, truncated: Truncated = "refuse", progress: bool = True) -> Check:
    """Check photos: damaged files, duplicates, leaks between splits, wrong labels, classes and names.

    Every photo is decoded as in training, on all cores; no photo is changed. The statistics are kept in the
    user's cache folder by file content, so a second check decodes only new photos. A photo that cannot be
    read is a finding, not an error. Some folders that Photos refuses can be checked, such as one with a
    single class.

    Args:
        source: a folder with train/ (and val/, test/), a folder of classes, a list from `reslab check
            --fix`, Photos, or a torchvision ImageFolder.
        truncated: "keep" uses what exists of a JPEG that lacks its end, as the recipe's field does;
            "refuse" reports it.
        progress: show a progress bar, if stderr is a terminal.

    Raises:
        PhotosError: the folder is missing or has no photos, it has val or test but no train, or the list is
            damaged or outdated.
        UsageError: `source` is of another type.
    """
    files = find_files(source)
    stats, found = FolderStats(files), find_range(files)
    values = None if found is None else (found.low, found.high)
    for photo, (content, measured) in enumerate(iter_stats(files, truncated, progress, values)):
        stats.add(photo, content, measured)
    if files.listing:
        splits = files.listing.splits
        ends = np.cumsum([len(photos) for photos in splits.values()])
        files.listing.check_unchanged(dict(zip(splits, np.split(stats.digests, ends[:-1]), strict=True)))
    return build_check(stats, found)


def build_check(stats: FolderStats, data_range: DataRange | None = None) -> Check:
    """Return the Check of these photos: findings in single photos, duplicates, classes, class leaks."""
    files, duplicates = stats.files, stats.duplicates()
    found = [*stats.findings, *find_tiny(files, stats.sizes), *find_long(stats.sizes), *part_of(data_range)]
    found += mostly_unreadable(files, stats.findings)
    for match in find_matches(duplicates):
        other = files.paths[match.earlier]
        found.append(match.kind(*files[match.photo], match.why(other), other))
    found += [*class_findings(files.counts), *name_findings(files)]
    split = "train" if "train" in files.counts else None
    leaks, places = find_class_leaks(stats.samples, split)
    found += leaks
    found.sort(key=lambda finding: KINDS.index(type(finding)))
    pixels = stats.sizes.astype(np.int64).prod(axis=1)
    inputs = CheckInputs(files, stats.digests, pixels, duplicates)
    return Check(files.folder, len(files), tuple(found), inputs, places, data_range, files.notes)


def mostly_unreadable(files: FolderPhotos, findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield a MostlyUnreadable for each class in a split of which a training could not read enough.

    Args:
        findings: in single photos.
    """
    bad = Counter(
        (finding.split, finding.class_name) for finding in findings if isinstance(finding, UNREADABLE_KINDS)
    )
    totals = Counter(files.names[place] for place in files.places.tolist())
    for (split, name), count in bad.items():
        total = totals[split, name or ""]
        if count == total or too_many_unreadable(count, total):
            why = f"{count:,} of {total:,} photos cannot be read"
            yield MostlyUnreadable(None, split, name, why)


def part_of(data_range: DataRange | None) -> Iterator[Finding]:
    """Yield a PartOfRange if 16-bit photos use less than PART_OF_RANGE of what 16 bits can hold."""
    if data_range is not None and (used := data_range.used_fraction or 1.0) < PART_OF_RANGE:
        why = f"uses {100 * used:.2g} % of its range: {data_range.types}, of 0 to 65,535"
        yield PartOfRange(None, None, None, why)


def find_long(sizes: NDArray[np.int32]) -> Iterator[Finding]:
    """Yield a LongPhotos if the center crop cuts more than MIN_LOST_FRACTION off the median photo.

    Args:
        sizes: (N, 2), width and height of each photo; photos of 0 could not be decoded and are ignored.
    """
    sides = sizes[sizes.min(axis=1, initial=2**31 - 1) > 0]
    if not len(sides):
        return
    lost = float(np.median(1 - sides.min(axis=1) / sides.max(axis=1)))
    if lost > MIN_LOST_FRACTION:
        why = f"the square in the middle leaves out {lost:.0%} of the median photo; --fit pad keeps all of it"
        yield LongPhotos(None, None, None, why)


def find_tiny(files: FolderPhotos, sizes: NDArray[np.int32]) -> Iterator[Finding]:
    """Yield a Tiny for each photo whose shorter side is below TINY_SIDE and below half of the median.

    Args:
        files: the N photos.
        sizes: (N, 2), width and height of each photo; photos of 0 could not be decoded and are ignored.
    """
    shorter = sizes.min(axis=1, initial=2**31 - 1)
    median = float(np.median(shorter[shorter > 0])) if (shorter > 0).any() else 0.0
    tiny = (shorter > 0) & (shorter < min(TINY_SIDE, median / 2))
    for photo in np.flatnonzero(tiny).tolist():
        width, height = sizes[photo].tolist()
        why = f"{width} x {height} pixels; the median of the shorter side is {median:.0f}"
        yield Tiny(*files[photo], why)
