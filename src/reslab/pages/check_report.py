"""Report of a check as one page: each kind of finding explained, with examples."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from reslab.errors import PhotosError
from reslab.hardware import cores
from reslab.photos.checking.check import Check
from reslab.photos.checking.findings import KINDS, Finding, PlaceBetraysClass, explanation
from reslab.photos.decoding.decode import decode

from .page import render, write_page

MAX_EXAMPLES = 12  # findings of a kind that are shown with their photos
MAX_LISTED = 200  # findings of a kind that are listed by name, in addition
MAX_CLASSES = 40  # classes in the table of photos
MAX_IMAGE_SIDE = 320  # pixels


@dataclass(frozen=True)
class Example:
    """A finding with its photo and the other photo of a pair, as JPEG; None for none or an unreadable one."""

    finding: Finding
    photo: bytes | None
    other: bytes | None


@dataclass(frozen=True)
class Group:
    """Findings of one kind: `count` in total, `examples` with photos, `listed` by name."""

    kind: type[Finding]
    count: int
    examples: tuple[Example, ...]
    listed: tuple[Finding, ...]

    @property
    def is_of_places(self) -> bool:
        """True for the kind that the picture of the places explains."""
        return self.kind is PlaceBetraysClass

    @property
    def explanation(self) -> dict[str, str]:
        """Texts by heading: What, Why it spoils, Example, Instead."""
        return explanation(self.kind)

    @property
    def anchor(self) -> str:
        """Name of the kind with dashes for spaces, for links within the page."""
        return self.kind.kind.replace(" ", "-")

    @property
    def unlisted(self) -> int:
        """Number of findings that the page leaves out."""
        return self.count - len(self.examples) - len(self.listed)


@dataclass(frozen=True)
class Places:
    """Recall of a class from each place of the photos, for a picture of 8 x 8 squares.

    `squares` has (row, column, recall) of each; `best` is the row and column of the place that betrays it.
    """

    class_name: str
    squares: tuple[tuple[int, int, float], ...]
    best: tuple[int, int]


def write(check: Check, path: Path) -> None:
    """Write the report of `check` as an HTML file to `path`. An existing file is replaced.

    Raises:
        UsageError: it cannot be written.
    """
    write_page(path, html(check))


def html(check: Check) -> str:
    """Return the report as HTML. It reads the photos again, at most 24 for each kind of finding."""
    groups = [_group(check, kind, found) for kind, found in check.by_kind().items()]
    counts = check.inputs.files.counts
    splits = [split for split in ("all", "train", "val", "test") if split in counts]
    names = list(dict.fromkeys(name for split in splits for name in counts[split]))
    values = {
        "check": check,
        "name": check.folder.absolute().name or str(check.folder),
        "spoiling": [group for group in groups if group.kind.spoils_training],
        "groups": groups,
        "not_found": [kind.kind for kind in KINDS if kind not in check.by_kind()],
        "places": _places(check),
        "splits": splits,
        "classes": [(name, [counts[split].get(name, 0) for split in splits]) for name in names[:MAX_CLASSES]],
        "more_classes": max(0, len(names) - MAX_CLASSES),
        "largest_class": max((n for classes in counts.values() for n in classes.values()), default=1) or 1,
    }
    return render("check.html.jinja", values)


def _places(check: Check) -> Places | None:
    """Return the places of the class that one of them betrays; None with too few photos to measure them."""
    if check.places is None:
        return None
    index, row, column = check.places.best
    share = check.places.recall.share[index]
    squares = tuple((i, j, float(share[i, j])) for i, j in np.ndindex(*share.shape))
    return Places(check.places.classes[index], squares, (row, column))


def _group(check: Check, kind: type[Finding], found: Sequence[Finding]) -> Group:
    """Return a group that shows the photos of its first MAX_EXAMPLES findings.

    Those without a readable photo, and the next MAX_LISTED ones, are listed by name.

    Args:
        check: its folder, to which the findings' paths are relative, and the range of values of its photos.
        found: all findings of this kind.
    """
    first = [finding for finding in found[:MAX_EXAMPLES] if finding.path is not None]
    with ThreadPoolExecutor(cores()) as pool:
        photos = pool.map(lambda finding: _jpeg(check, finding.path), first)
        others = pool.map(lambda finding: _jpeg(check, finding.other), first)
        examples = [Example(*row) for row in zip(first, photos, others, strict=True) if row[1] or row[2]]
    shown = {id(example.finding) for example in examples}
    listed = [finding for finding in found[: MAX_EXAMPLES + MAX_LISTED] if id(finding) not in shown]
    return Group(kind, len(found), tuple(examples), tuple(listed[:MAX_LISTED]))


def _jpeg(check: Check, path: str | None) -> bytes | None:
    """Return a photo as a JPEG of at most MAX_IMAGE_SIDE pixels a side; None without a readable photo."""
    if path is None:
        return None
    try:
        image = decode(check.folder / path, shrunk_to=MAX_IMAGE_SIDE, value_range=check.value_range)
    except (PhotosError, OSError, ValueError):
        return None
    image.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=78)
    return buffer.getvalue()
