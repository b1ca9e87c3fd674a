"""Photos of a comparison: the same test photos for all seeds, another validation split for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.photos.folder import list_file
from reslab.photos.folder.groups import group_numbers
from reslab.photos.folder.photo_list import PhotoList
from reslab.photos.folder.photos import Photos
from reslab.photos.folder.sources.find import find_labeled
from reslab.photos.folder.split import split_off

from .arrays import read_array, write_array

TEST_LIST = "test.jsonl"
GIVEN_PHOTOS = "photos.jsonl"  # Photos that were given as a value
LABELS = "test_labels.npy"  # in the comparison's folder; the cells do not read it


def has_own_val(source: Path) -> bool:
    """Return True if the source brings its own validation split, which all seeds then share."""
    return bool(find_labeled(source).found.get("val"))


def check_test_photos(photos: Photos) -> None:
    """Raise PhotosError without test photos."""
    if not photos.test:
        raise PhotosError(
            f"{photos.folder} has no test photos",
            "a comparison chooses epochs by validation and judges by other photos",
            "put some photos of each class into test/, or give one folder of classes, which is then split",
        )


def read_labels(folder: Path) -> NDArray[np.int64]:
    """Return the labels of the test photos, (N,), from a comparison's folder.

    Raises:
        RunError: the file is missing or damaged.
    """
    return read_array(folder / LABELS, "give the photos again, with this folder as --output")


def write_photo_lists(
    photos: Photos,
    own_val: bool,
    val_fraction: float,
    group_by: str | None,
    seeds: Iterable[int],
    folder: Path,
) -> None:
    """Write a list of photos to train and to validate on for each seed, and one of the test photos.

    For a folder with test/, the list of seed s holds the split that `reslab train FOLDER --seed s` makes. The
    labels of the test photos are withheld: all are 0. They go to a file of their own.

    Args:
        photos: readable photos, with a test split.
        own_val: all seeds share the validation split of `photos`.
        val_fraction: fraction of the other photos that becomes the validation split.
        group_by: photos that stay in one split, as `Photos` takes it.
        seeds: seeds to write a list for; a list that exists is left as it is.
        folder: folder of the lists, in that of the comparison; it is created.
    """
    folder.mkdir(parents=True, exist_ok=True)
    test = replace(photos.test, labels=np.zeros_like(photos.test.labels))
    write_array(folder.parent / LABELS, photos.test.labels.astype(np.int64))
    list_file.write(folder / TEST_LIST, photos.folder, photos.classes, {"test": test})
    merged = _in_order(photos.train + photos.val)
    groups = None if group_by is None else group_numbers(merged, photos.classes, group_by)
    for seed in seeds:
        path = folder / seed_list(seed)
        if path.is_file():
            continue
        train, val = photos.train, photos.val
        if not own_val:
            train, val = split_off(merged, val_fraction, seed, "val split", groups)
        list_file.write(path, photos.folder, photos.classes, {"train": train, "val": val})


def seed_list(seed: int | str) -> str:
    """Return the name of the list of a seed's photos, or with "*" a pattern of all."""
    return f"seed-{seed}.jsonl"


def _in_order(photos: PhotoList) -> PhotoList:
    """Return the photos class by class, by path, as a folder lists them."""
    paths = np.array(photos.paths, dtype=object)
    return photos.take(np.array(sorted(range(len(photos)), key=lambda i: (photos.labels[i], paths[i]))))
