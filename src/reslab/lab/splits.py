"""Photos of a comparison: the same test photos for all seeds, another validation split for each."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reslab import files
from reslab.errors import PhotosError
from reslab.photos.folder import list_file
from reslab.photos.folder.layout import find_splits
from reslab.photos.folder.photo_list import PhotoList
from reslab.photos.folder.photos import Photos
from reslab.photos.folder.split import split_off

TEST_LIST = "test.jsonl"
LABELS = "test_labels.npy"  # in the comparison's folder; the cells do not read it


def has_own_val(source: Any) -> bool:
    """Return whether a folder, list or Photos brings its own validation split, which all seeds then share."""
    if isinstance(source, Photos):
        return True
    if list_file.is_list(source):
        return "val" in list_file.read(source).splits
    return bool(find_splits(Path(source)).get("val"))


def write_photo_lists(
    photos: Photos, own_val: bool, val_fraction: float, seeds: Iterable[int], folder: Path
) -> None:
    """Write a list of photos to train and to validate on for each seed, and one of the test photos.

    The list of seed s holds the split that `reslab train FOLDER --seed s` makes. The labels of the test
    photos are withheld: all are 0. They go to a file of their own.

    Args:
        photos: readable photos, with a test split.
        own_val: all seeds share the validation split of `photos`.
        val_fraction: fraction of the other photos that becomes the validation split.
        seeds: seeds to write a list for; a list that exists is left as it is.
        folder: folder of the lists, in that of the comparison; it is created.

    Raises:
        PhotosError: there are no test photos.
    """
    if not photos.test:
        raise PhotosError(
            f"{photos.folder} has no test photos",
            "a comparison chooses epochs by validation and judges by other photos",
            "put some photos of each class into test/, or give one folder of classes, which is then split",
        )
    folder.mkdir(parents=True, exist_ok=True)
    test = replace(photos.test, labels=np.zeros_like(photos.test.labels))
    buffer = io.BytesIO()
    np.save(buffer, photos.test.labels.astype(np.int64))
    files.write(folder.parent / LABELS, buffer.getvalue())
    list_file.write(folder / TEST_LIST, photos.folder, photos.classes, {"test": test})
    merged = _in_order(photos.train + photos.val)
    for seed in seeds:
        path = folder / seed_list(seed)
        if path.is_file():
            continue
        train, val = photos.train, photos.val
        if not own_val:
            train, val = split_off(merged, val_fraction, seed, "val split")
        list_file.write(path, photos.folder, photos.classes, {"train": train, "val": val})


def seed_list(seed: int) -> str:
    """Return the name of the list of a seed's photos."""
    return f"seed-{seed}.jsonl"


def _in_order(photos: PhotoList) -> PhotoList:
    """Return the photos class by class, by path, as a folder lists them."""
    paths = np.array(photos.paths, dtype=object)
    return photos.take(np.array(sorted(range(len(photos)), key=lambda i: (photos.labels[i], paths[i]))))
