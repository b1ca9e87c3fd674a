"""What a check found as a page: each kind explained, a few shown; small however much was found."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image

from reslab.errors import PhotosError
from reslab.hardware import cores
from reslab.photos.checking.check import Check
from reslab.photos.checking.findings import KINDS, Finding, explanation
from reslab.photos.decoding.decode import decode

from .page import render, write_page

EXAMPLES = 12  # findings of a kind that get a picture
LISTED = 200  # findings of a kind that are named, beside those with a picture
CLASSES = 40  # classes whose photos are counted on the page
SIDE = 320  # pixels of a picture's longer side


@dataclass(frozen=True)
class Example:
    """A finding, with a JPEG of its photo and of the other one that it is about; None for what has none."""

    finding: Finding
    photo: bytes | None
    other: bytes | None


@dataclass(frozen=True)
class Group:
    """All findings of one kind: the first as examples, some more by name."""

    kind: type[Finding]
    count: int
    examples: tuple[Example, ...]
    listed: tuple[Finding, ...]

    @property
    def told(self) -> dict[str, str]:
        return explanation(self.kind)

    @property
    def anchor(self) -> str:
        return self.kind.kind.replace(" ", "-")

    @property
    def unlisted(self) -> int:
        return self.count - len(self.examples) - len(self.listed)


def write(check: Check, path: Path) -> None:
    """Replaces `path` by the page. Raises UsageError if it cannot be written."""
    write_page(path, html(check))


def html(check: Check) -> str:
    """The page, self-contained: at most 24 pictures of each kind of finding, whatever was found."""
    groups = [_group(check.folder, kind, found) for kind, found in check.by_kind().items()]
    counts = check.basis.files.counts
    splits = [split for split in ("all", "train", "val", "test") if split in counts]
    names = list(dict.fromkeys(name for split in splits for name in counts[split]))
    values = {
        "check": check,
        "name": check.folder.absolute().name or str(check.folder),
        "spoiling": [group for group in groups if group.kind.spoils_training],
        "groups": groups,
        "clean": [kind.kind for kind in KINDS if kind not in check.by_kind()],
        "splits": splits,
        "classes": [(name, [counts[split].get(name, 0) for split in splits]) for name in names[:CLASSES]],
        "more_classes": max(0, len(names) - CLASSES),
        "most": max((n for of in counts.values() for n in of.values()), default=1) or 1,
    }
    return render("check.html.jinja", values)


def _group(folder: Path, kind: type[Finding], found: Sequence[Finding]) -> Group:
    """What has a picture is shown, what has none is named: a class, an empty file."""
    tried = [finding for finding in found[:EXAMPLES] if finding.path is not None]
    with ThreadPoolExecutor(cores()) as pool:
        photos = pool.map(lambda finding: _picture(folder, finding.path), tried)
        others = pool.map(lambda finding: _picture(folder, finding.other), tried)
        rows = zip(tried, photos, others, strict=True)
        examples = tuple(Example(*row) for row in rows if row[1] or row[2])
    shown = {id(example.finding) for example in examples}
    listed = islice((finding for finding in found if id(finding) not in shown), LISTED)
    return Group(kind, len(found), examples, tuple(listed))


def _picture(folder: Path, path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        image = decode(folder / path, shrunk_to=SIDE)
    except (PhotosError, OSError, ValueError):
        return None
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=78)
    return buffer.getvalue()
