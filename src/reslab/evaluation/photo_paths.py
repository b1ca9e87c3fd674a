"""Paths of photos to evaluate, with their labels, and of photos to predict."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from reslab.errors import PhotosError
from reslab.files import user_path
from reslab.photos.folder import list_file
from reslab.photos.folder.layout import find_photos, find_splits, find_test_folder
from reslab.photos.folder.photos import Photos


def labeled_paths(photos: Photos | Path | str, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Return the photos of the test split (else val, else all) and their labels, matched by class name.

    Raises:
        PhotosError: there are no photos, or photos of a class that is not in `classes`.
    """
    if isinstance(photos, Photos):
        folder = photos.folder
        by_class = list_file.by_class(photos.test or photos.val, photos.classes)
    else:
        folder = user_path(photos)
        by_class = evaluation_paths(folder)
    unknown = sorted(name for name, paths in by_class.items() if paths and name not in classes)
    if unknown:
        raise PhotosError(
            f"{folder} has photos of a class that this classifier does not know: {', '.join(unknown)}",
            f"it was trained on {', '.join(classes)}, and labels are matched by name",
            "rename the folders to these names, or leave the class out",
        )
    labeled = [(folder / path, classes.index(name)) for name, paths in by_class.items() for path in paths]
    if not labeled:
        raise PhotosError(
            f"{folder} has no photos to evaluate on", "", "point to a folder of classes, or test/"
        )
    return [path for path, _ in labeled], [label for _, label in labeled]


def evaluation_paths(folder: Path) -> dict[str, list[str]]:
    """Return {class: paths} of a folder's test split, else val, else all photos.

    Args:
        folder: a folder, or a list of photos as a file.

    Returns:
        Paths relative to `folder`; those of a list are absolute.
    """
    if list_file.is_list(folder):
        return list_file.read(folder).evaluation_paths()
    if split := find_test_folder(folder):
        by_class = evaluation_paths(split)
        return {name: [f"{split.name}/{path}" for path in paths] for name, paths in by_class.items()}
    found = find_splits(folder)
    split_name = next(name for name in ("test", "val", "all", "train") if name in found)
    return {name: list(paths) for name, paths in found[split_name].items()}


def expand_paths(patterns: Sequence[str]) -> list[Path]:
    """Return the photos of files, folders (with subfolders) and globs, each once, in the order given.

    A path that does not exist is kept, so that its prediction names the error.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = user_path(pattern)
        if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
            found |= dict.fromkeys(find_photos(path))
        elif os.path.exists(path) or not glob.has_magic(pattern):
            found[path] = None
        else:
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            files = [match for match in matches if match.is_file()]
            found |= dict.fromkeys(files or [p for m in matches for p in find_photos(m)] or [path])
    return list(found)
