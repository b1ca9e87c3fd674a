"""check(): what is wrong with a folder of photos, and whether it would spoil a training."""

from __future__ import annotations

import os
import textwrap
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import PhotosError, UsageError
from ..processes import cores
from ..tables import printable, table
from . import looks
from .duplicates import Copy, find_copies
from .findings import KINDS, Finding, Tiny, Unreadable, explanation
from .folder import Photos, digest
from .folder_faults import class_faults, name_faults
from .layout import find_splits, from_image_folder
from .look_cache import LookCache

SHOWN, WIDTH = 3, 100  # findings of each kind that are printed; columns of their explanation
SMALL = 32  # pixels of the shorter side below which a photo is tiny, if most are more than twice its size


class File(NamedTuple):
    """A photo as it is listed; `split` is None in a folder without splits."""

    path: str
    split: str | None
    class_name: str


@dataclass(frozen=True)
class Check:
    """What check() found: how many photos were looked at, and each finding, what spoils a training first."""

    folder: Path
    photos: int
    findings: tuple[Finding, ...]

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


def check(source: Any, *, progress: bool = True) -> Check:
    """Looks at every photo of a folder, of Photos or of a torchvision ImageFolder, and changes none.

    Each photo is decoded as training would, on all cores; what was seen is kept in the user's cache folder
    by the file's content, so a second check decodes only what is new. Folders that Photos refuses are
    checked too, as long as they hold photos in folders of classes. Raises PhotosError for a folder without
    any, and UsageError for a source that is none.
    """
    folder, counts, files = _list(source)
    seen = _Seen(len(files))
    found: list[Finding] = []
    for photo, (file, content, look) in enumerate(_look_at_all(folder, files, progress)):
        seen.keep(photo, content, look)
        suffix = os.path.splitext(file.path)[1]
        found += [kind(*file, why) for kind, why in looks.faults_of(look, suffix)]
    found += _tiny(files, seen.sizes)
    places = [(file.split, file.class_name) for file in files]
    copies = find_copies(seen.contents, places, seen.hashes, seen.thumbnails)
    found += [copy.kind(*files[copy.photo], _told(copy, files)) for copy in copies]
    found += [*class_faults(counts), *name_faults(files)]
    order = {kind: place for place, kind in enumerate(KINDS)}
    return Check(folder, len(files), tuple(sorted(found, key=lambda finding: order[type(finding)])))


class _Seen:
    """What is kept of all photos until the end: for each one some 300 bytes, whatever its size."""

    def __init__(self, photos: int) -> None:
        self.contents: list[str] = []
        self.hashes = np.zeros(photos, np.uint64)
        self.thumbnails = np.zeros((photos, looks.SIDE**2), np.uint8)
        self.sizes = np.zeros((photos, 2), np.int32)  # width, height; 0 for what cannot be decoded

    def keep(self, photo: int, content: str, look: looks.Look) -> None:
        self.contents.append("" if look.problem else content)
        if not look.problem:
            self.hashes[photo] = look.phash
            self.thumbnails[photo] = np.frombuffer(look.thumbnail, np.uint8)
            self.sizes[photo] = look.width, look.height


def _list(source: Any) -> tuple[Path, dict[str, dict[str, int]], list[File]]:
    """The folder, {split: {class: photos}}, and its files, the one that counts as the original first."""
    if isinstance(source, Photos):
        names, found = source.classes, dict[str, dict[str, list[str]]]()
        for split, photos in source.splits.items():
            if photos:
                found[split] = {name: [] for name in names}
            for photo in photos:
                found[split][names[photo.label]].append(photo.path)
        folder = source.folder
    elif hasattr(source, "samples") and hasattr(source, "classes"):
        folder, found = from_image_folder(source)
    elif isinstance(source, str | os.PathLike):
        folder = Path(os.path.expanduser(source))
        found = find_splits(folder)
    else:
        raise UsageError(
            f"this is no folder of photos: {type(source).__name__}",
            "expected a path, Photos or a torchvision ImageFolder",
            'give the folder that holds one folder per class: check("data")',
        )
    counts = {split: {name: len(paths) for name, paths in of.items()} for split, of in found.items()}
    files = [
        File(path, None if split == "all" else split, name)
        for split in ("all", "train", "val", "test")
        for name, paths in found.get(split, {}).items()
        for path in paths
    ]
    return folder, counts, files


def _look_at_all(
    folder: Path, files: Sequence[File], progress: bool
) -> Iterator[tuple[File, str, looks.Look]]:
    """In order, with enough photos in work for every core and few enough for any memory."""
    from PIL import Image
    from tqdm.auto import tqdm

    Image.init()  # before there are threads that would all do it
    cache = LookCache()
    bar = tqdm(total=len(files), desc="looking at photos", unit=" photos", disable=None if progress else True)
    waiting: deque[tuple[File, Future[tuple[str, looks.Look]]]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        with bar:
            for file in files:
                waiting.append((file, pool.submit(_look, folder / file.path, cache)))
                if len(waiting) > 8 * cores():
                    first, future = waiting.popleft()
                    yield first, *future.result()
                    bar.update()
            for first, future in waiting:
                yield first, *future.result()
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)
        cache.close()


def _look(path: Path, cache: LookCache) -> tuple[str, looks.Look]:
    try:
        content = digest(path)
    except PhotosError as error:
        return "", looks.unreadable(error.why)
    seen = cache.get(content)
    if seen is None:
        seen = looks.look(path)
        if seen.problem != Unreadable.kind:  # which may pass: memory that ended, a disk that was gone
            cache.put(content, seen)
    return content, seen


def _tiny(files: Iterable[File], sizes: NDArray[np.int32]) -> list[Finding]:
    shorter = sizes.min(axis=1, initial=2**31 - 1)
    usual = float(np.median(shorter[shorter > 0])) if (shorter > 0).any() else 0.0
    return [
        Tiny(*file, f"{width} x {height} pixels, where most have {usual:.0f} or more on the shorter side")
        for file, (width, height) in zip(files, sizes.tolist(), strict=True)
        if 0 < min(width, height) < min(SMALL, usual / 2)
    ]


def _told(copy: Copy, files: Sequence[File]) -> str:
    other = files[copy.earlier].path
    if copy.bits is None:
        return f"the same bytes as {other}"
    return f"nearly the same picture as {other}: {copy.difference:.1f} of 255 grey levels apart"
