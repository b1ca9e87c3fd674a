"""Every photo of a source looked at once, on all cores, and what is kept of each: some 400 bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError, UsageError
from reslab.files import user_path
from reslab.parallel import on_all_cores
from reslab.photos.decoding.decode import Truncated
from reslab.photos.folder import list_file as listing
from reslab.photos.folder.digests import digest
from reslab.photos.folder.layout import find_splits, from_image_folder
from reslab.photos.folder.paths import Paths
from reslab.photos.folder.photo_list import DIGEST
from reslab.photos.folder.photos import Photos

from . import photo_stats as looks
from .duplicate_findings import Place, Standing
from .findings import Unreadable
from .near_duplicates import find_alike
from .stats_cache import LookCache

ORDER = ("all", "train", "val", "test")  # of two that show the same, the first counts as the original


class File(NamedTuple):
    """A photo as it is listed; `split` is None in a folder without splits."""

    path: str
    split: str | None
    class_name: str


class Files(Sequence[File]):
    """Every photo of a folder: `paths`, and for each an index into `names`, its split and class."""

    def __init__(self, folder: Path, found: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self.folder, self.names, parts = folder, list[Place](), list[Sequence[str]]()
        self.listing: listing.Listing | None = None  # that names them
        self.counts = {split: {name: len(of[name]) for name in of} for split, of in found.items()}
        sizes = []
        for split in ORDER:
            for name, paths in found.get(split, {}).items():
                self.names.append((None if split == "all" else split, name))
                parts.append(paths)
                sizes.append(len(paths))
        self.paths = Paths.joined(parts)
        self.places = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)  # (N,)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> File: ...
    @overload
    def __getitem__(self, index: slice) -> list[File]: ...
    def __getitem__(self, index: int | slice) -> File | list[File]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return File(self.paths[index], *self.names[self.places[index]])

    def __iter__(self) -> Iterator[File]:
        return map(self.__getitem__, range(len(self)))  # not until an IndexError, as Sequence does


class Seen:
    """What is kept of all photos until the end."""

    def __init__(self, photos: int) -> None:
        self.digests = np.zeros((photos, DIGEST), np.uint8)
        self.readable = np.zeros(photos, bool)
        self.hashes = np.zeros(photos, np.uint64)
        self.thumbnails = np.zeros((photos, looks.SIDE**2), np.uint8)
        self.sizes = np.zeros((photos, 2), np.int32)  # width, height; 0 for what cannot be decoded

    def keep(self, photo: int, content: str, look: looks.Look) -> None:
        if content:
            self.digests[photo] = np.frombuffer(bytes.fromhex(content), np.uint8)
        if not look.problem:
            self.readable[photo] = True
            self.hashes[photo] = look.phash
            self.thumbnails[photo] = np.frombuffer(look.thumbnail, np.uint8)
            self.sizes[photo] = look.width, look.height

    def standing(self, files: Files) -> Standing:
        alike = find_alike(self.digests, self.readable, self.hashes, self.thumbnails, files.places)
        return Standing(alike, files.places, files.names)


def find_files(source: Any) -> Files:
    """Raises PhotosError for a folder without photos or a bad list, UsageError for a source that is none."""
    if isinstance(source, Photos):
        return files_of(source)[0]
    if hasattr(source, "samples") and hasattr(source, "classes"):
        return Files(*from_image_folder(source))
    if isinstance(source, str | os.PathLike):
        if listing.is_list(source):
            listed = listing.read(Path(source))
            files = Files(listed.folder, listed.found)
            files.listing = listed
            return files
        folder = user_path(source)
        return Files(folder, find_splits(folder))
    raise UsageError(
        f"this is no folder of photos: {type(source).__name__}",
        "expected a path, Photos or a torchvision ImageFolder",
        'give the folder that holds one folder per class: check("data")',
    )


def files_of(photos: Photos) -> tuple[Files, NDArray[np.uint8]]:
    """The files of Photos in their splits, and the digest of each: uint8 (N, 16)."""
    found, digests = dict[str, dict[str, Sequence[str]]](), [np.zeros((0, DIGEST), np.uint8)]
    for split, listed in photos.splits.items():
        if not listed:
            continue
        order = np.argsort(listed.labels, kind="stable")  # as Files has them, class by class
        digests.append(listed.digests[order])
        ends = np.searchsorted(listed.labels[order], np.arange(len(photos.classes) + 1))
        found[split] = {
            name: listed.paths.take(order[ends[label] : ends[label + 1]])
            for label, name in enumerate(photos.classes)
        }
    return Files(photos.folder, found), np.concatenate(digests)


def look_at_all(files: Files, truncated: Truncated, progress: bool) -> Iterator[tuple[str, looks.Look]]:
    """(digest, look) of each, in order, with enough in work for every core and few enough for any memory."""
    from PIL import Image
    from tqdm.auto import tqdm

    Image.init()  # before there are threads that would all do it
    cache = LookCache()
    bar = tqdm(total=len(files), desc="looking at photos", unit=" photos", disable=None if progress else True)
    paths = (files.folder / path for path in files.paths)
    try:
        with bar, closing(on_all_cores(lambda path: _look(path, truncated, cache), paths)) as seen:
            for look in seen:
                yield look
                bar.update()
    finally:
        cache.close()


def key_of(content: str, truncated: Truncated) -> str:
    """What a look is remembered by."""
    return content if truncated == "refuse" else f"{content} {truncated}"


def _look(path: Path, truncated: Truncated, cache: LookCache) -> tuple[str, looks.Look]:
    try:
        content = digest(path)
    except PhotosError as error:
        return "", looks.unreadable(error.why)
    key = key_of(content, truncated)
    seen = cache.get(key)
    if seen is None:
        seen = looks.look(path, truncated)
        if seen.problem != Unreadable.kind:  # which may pass: memory that ended, a disk that was gone
            cache.put(key, seen)
    return content, seen
