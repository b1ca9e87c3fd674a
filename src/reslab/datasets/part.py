"""Copy a fixed part of a photo folder: the same number of photos of each class, evenly over sorted names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from reslab.errors import PhotosError
from reslab.files import whole_folder
from reslab.photos.folder.photos import Photos


def copy_part(source: Path | str, folder: Path, *, train: int, test: int) -> Path:
    """Copy a part of a folder's photos into train/ and test/ of a new folder.

    Every class gives train / classes photos to train and test / classes photos to test, or all that it has.
    They are spread evenly over its sorted paths, so that two calls choose the same ones. Photos to validate
    on count as photos to train on.

    Args:
        source: folder or list of photos with a test split.
        folder: folder to create. It must not exist.
        train: number of photos to train on.
        test: number of photos to test on.

    Returns:
        The folder.

    Raises:
        PhotosError: the source cannot be used, or has no test photos, or the folder cannot be written.
    """
    photos = Photos(source)
    splits = {"train": (photos.train, photos.val), "test": (photos.test,)}
    counts = {"train": train, "test": test}
    try:
        with whole_folder(folder) as unfinished:
            for split, lists in splits.items():
                for label, name in enumerate(photos.classes):
                    place = unfinished / split / name
                    place.mkdir(parents=True)
                    paths = sorted(
                        path
                        for photo_list in lists
                        for path, own in zip(photo_list.paths, photo_list.labels, strict=True)
                        if own == label
                    )
                    wanted = min(len(paths), counts[split] // len(photos.classes))
                    for i in range(wanted):
                        path = photos.folder / paths[i * len(paths) // wanted]
                        shutil.copyfile(path, _free(place / path.name, i))
    except OSError as error:
        raise PhotosError(f"{folder} cannot be written", str(error), "choose another folder") from error
    return folder


def _free(path: Path, number: int) -> Path:
    """Return the path, with a number before its name if there is such a file already."""
    return path.with_name(f"{number:05}-{path.name}") if os.path.lexists(path) else path
