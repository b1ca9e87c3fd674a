"""Statistics of all photos of a folder, computed on all cores: about 400 bytes a photo, and a sample."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.parallel import on_all_cores
from reslab.photos.decoding.decode import Truncated
from reslab.photos.decoding.levels import ValueRange
from reslab.photos.folder.digests import digest
from reslab.photos.folder.layout import FoundPaths
from reslab.photos.folder.list_file import ListedPhotos, by_class
from reslab.photos.folder.photo_list import DIGEST
from reslab.photos.folder.photos import Photos, find_photos_of
from reslab.photos.loading.data_range import DataRange, find_data_range

from . import photo_stats
from .class_leaks import Sample, is_sampled, sampled_share
from .duplicate_findings import Place, PlacedDuplicates
from .findings import Finding, Unreadable
from .near_duplicates import find_duplicates
from .photo_stats import THUMBNAIL_SIDE, PhotoStats
from .stats_cache import StatsCache, cache_key

TRAINED = (None, "train")  # splits of the photos to train on
SPLITS = ("all", "train", "val", "test")  # of two duplicates, the one in the first split is the original


class FoundPhoto(NamedTuple):
    """A photo: path relative to the folder, split (None in a folder without splits) and class."""

    path: str
    split: str | None
    class_name: str


class FolderPhotos:
    """Photos of a folder, by index: split by split in the order of SPLITS, and class by class.

    Attributes:
        folder: the folder.
        paths: N paths, relative to the folder.
        names: (split, class) of each class in each split; split None in a folder without splits.
        places: (N,) the split and class of each photo, as an index into `names`.
        counts: {split: {class: number of photos}}, with 0 for empty classes; without splits, split is "all".
        shares: share of the photos of each of `names` to sample: 0 for validation and test.
        listing: the list file that names the photos, or None.
        notes: on where the labels are from, and on what is not used.
    """

    def __init__(
        self,
        folder: Path,
        found: FoundPaths,
        listing: ListedPhotos | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.folder, self.listing, self.notes = folder, listing, tuple(notes)
        self.names, self.paths, sizes = list[Place](), list[str](), list[int]()
        self.counts = {split: {name: len(of[name]) for name in of} for split, of in found.items()}
        for split in SPLITS:
            for name, paths in found.get(split, {}).items():
                self.names.append((None if split == "all" else split, name))
                self.paths += paths
                sizes.append(len(paths))
        trained = [size for size, (split, _) in zip(sizes, self.names, strict=True) if split in TRAINED]
        num_classes = sum(size > 0 for size in trained)
        self.shares = [
            sampled_share(size, num_classes) if split in TRAINED and size else 0.0
            for size, (split, _) in zip(sizes, self.names, strict=True)
        ]
        self.places = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> FoundPhoto:
        return FoundPhoto(self.paths[index], *self.names[self.places[index]])

    def share(self, index: int) -> float:
        """Return the share of the photos of this photo's split and class to sample, 0 to 1."""
        return self.shares[self.places[index]]


class FolderStats:
    """Statistics of N photos, kept to compare them with each other, and the findings in single photos.

    All arrays start as zeros. `add` fills in one photo; one that cannot be decoded gets its digest alone.

    Attributes:
        files: the photos.
        findings: findings in single photos.
        digests: (N, 16) uint8.
        readable: (N,) mask of the photos to compare: those that can be decoded.
        hashes: (N,) uint64, perceptual hashes.
        thumbnails: (N, pixels) uint8, grey.
        sizes: (N, 2) int32, width and height in pixels.
        samples: photos to train on, at most about SAMPLED_PHOTOS, with their small images.
    """

    def __init__(self, files: FolderPhotos) -> None:
        self.files, self.findings = files, list[Finding]()
        self.digests = np.zeros((len(files), DIGEST), np.uint8)
        self.readable = np.zeros(len(files), bool)
        self.hashes = np.zeros(len(files), np.uint64)
        self.thumbnails = np.zeros((len(files), THUMBNAIL_SIDE**2), np.uint8)
        self.sizes = np.zeros((len(files), 2), np.int32)
        self.samples = list[Sample]()

    def add(self, photo: int, content: str, stats: PhotoStats) -> None:
        """Store the statistics of a photo, and its findings.

        Args:
            photo: index of the photo.
            content: digest of the file, in hexadecimal; "" if the file cannot be read.
            stats: its statistics.
        """
        file = self.files[photo]
        suffix = os.path.splitext(file.path)[1]
        self.findings += [kind(*file, why) for kind, why in photo_stats.photo_findings(stats, suffix)]
        if content:
            self.digests[photo] = np.frombuffer(bytes.fromhex(content), np.uint8)
        if not stats.problem:
            self.readable[photo] = True
            self.hashes[photo] = stats.phash
            self.thumbnails[photo] = np.frombuffer(stats.thumbnail, np.uint8)
            self.sizes[photo] = stats.width, stats.height
        if stats.pixels and is_sampled(bytes.fromhex(content), self.files.share(photo)):
            self.samples.append(Sample(file.class_name, bytes.fromhex(content), stats.pixels, stats))

    def duplicates(self) -> PlacedDuplicates:
        """Compare the readable photos with each other; the others are in no group."""
        places, names = self.files.places, self.files.names
        groups = find_duplicates(self.digests, self.readable, self.hashes, self.thumbnails, places)
        return PlacedDuplicates(groups, places, names)


def find_files(source: Any) -> FolderPhotos:
    """Find the photos of a source that `Photos` takes, by their names and labels.

    Raises:
        PhotosError: the folder is missing or has no photos, it has val or test but no train, the list is
            damaged, or a photo of the list is missing.
        UsageError: `source` is of another type.
    """
    if isinstance(source, Photos):
        return files_of(source)[0]
    sought = find_photos_of(source)
    return FolderPhotos(sought.folder, sought.found, sought.listed, sought.notes)


def find_range(files: FolderPhotos) -> DataRange | None:
    """Find the range of the photos of more than 8 bits among those to train on; None without such photos."""
    trained = np.array([split in TRAINED for split, _ in files.names], bool)
    return find_data_range(files.folder, [files.paths[i] for i in np.flatnonzero(trained[files.places])])


def files_of(photos: Photos) -> tuple[FolderPhotos, NDArray[np.uint8]]:
    """Return the files of Photos in their splits, and their digests (N, 16) in the same order."""
    splits = {split: listed for split, listed in photos.splits.items() if listed}
    found = {split: by_class(listed, photos.classes) for split, listed in splits.items()}
    return FolderPhotos(photos.folder, found), np.concatenate([split.digests for split in splits.values()])


def iter_stats(
    files: FolderPhotos, truncated: Truncated, progress: bool, value_range: ValueRange | None = None
) -> Iterator[tuple[str, PhotoStats]]:
    """Yield (digest, statistics) of each photo in order, from the cache or computed on all cores.

    The digest is in hexadecimal, "" if the file cannot be read. New statistics are cached on the disk.

    Args:
        files: the photos.
        truncated: "refuse" or "keep" a JPEG whose end is missing.
        progress: show a progress bar, if stderr is a terminal.
        value_range: of the photos of more than 8 bits; None without such photos.
    """
    from PIL import Image
    from tqdm.auto import tqdm

    Image.init()  # before the threads, each of which would do it
    cache = StatsCache()
    bar = tqdm(total=len(files), desc="checking photos", unit=" photos", disable=None if progress else True)
    photos = ((files.folder / path, files.share(index)) for index, path in enumerate(files.paths))
    try:
        with (
            bar,
            closing(
                on_all_cores(lambda photo: _stats(*photo, truncated, cache, value_range), photos)
            ) as results,
        ):
            for result in results:
                yield result
                bar.update()
    finally:
        cache.close()


def _stats(
    path: Path, share: float, truncated: Truncated, cache: StatsCache, value_range: ValueRange | None
) -> tuple[str, PhotoStats]:
    """Return (digest, statistics) of one file; digest "" and the reason in the statistics if unreadable.

    A photo in the sample of `share` has `pixels` in its statistics.
    """
    try:
        content = digest(path)
    except PhotosError as error:
        return "", photo_stats.unreadable_stats(error.why)
    key = cache_key(content, truncated, value_range)
    stats = cache.get(key)
    sampled = is_sampled(bytes.fromhex(content), share)
    if stats is None or (sampled and not stats.pixels and not stats.problem):
        stats = photo_stats.compute_stats(path, truncated, sampled, value_range)
        if stats.problem != Unreadable.kind:  # too little memory or a missing disk may be temporary
            cache.put(key, stats)
    return content, stats
