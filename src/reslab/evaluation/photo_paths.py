"""Paths of photos to evaluate, with their labels, and of photos to predict."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.files import user_path
from reslab.photos.folder import list_file
from reslab.photos.folder.layout import find_photos
from reslab.photos.folder.photos import Photos
from reslab.photos.folder.sources.find import find_to_evaluate
from reslab.photos.folder.unused import unused_entries
from reslab.text import printable


@dataclass(frozen=True, eq=False)
class LabeledPaths:
    """Paths of photos to evaluate, with a label for each.

    Attributes:
        folder: folder that the relative paths begin in.
        paths: N paths, relative and with / inside `folder`, else absolute.
        labels: (N,), indices into the classes of a classifier.
    """

    folder: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]

    @classmethod
    def of(cls, photos: Photos | Path | str, classes: Sequence[str]) -> LabeledPaths:
        """Return the photos of the test split, else those of val, else all.

        Args:
            photos: Photos (test, else val), or the path of a source that `Photos` takes.
            classes: class names of the classifier; a label is found by the class's name.

        Raises:
            PhotosError: there are no photos, or photos of a class that is not in `classes`; or the folder or
                list cannot be read.
        """
        if isinstance(photos, Photos):
            source = folder = photos.folder
            by_class = list_file.by_class(photos.test or photos.val, photos.classes)
        else:
            source = user_path(photos)
            folder, by_class, _ = evaluation_paths(source)
        unknown = sorted(name for name, paths in by_class.items() if paths and name not in classes)
        if unknown:
            raise PhotosError(
                f"{source} has photos of a class that this classifier does not know: "
                f"{printable(', '.join(unknown))}",
                f"it was trained on {printable(', '.join(classes))}, and labels are matched by name",
                "rename the folders to these names, or leave the class out",
            )
        labeled = [(path, classes.index(name)) for name, paths in by_class.items() for path in paths]
        if not labeled:
            raise PhotosError(
                f"{source} has no photos to evaluate on", "", "point to a folder of classes, or test/"
            )
        base = folder.absolute()
        paths = tuple(os.path.relpath(path, base) if os.path.isabs(path) else path for path, _ in labeled)
        return cls(folder, paths, np.array([label for _, label in labeled], np.int64))

    @cached_property
    def files(self) -> list[Path]:
        """The paths, with `folder` in front of the relative ones."""
        return [self.folder / path for path in self.paths]


def evaluation_paths(source: Path) -> tuple[Path, dict[str, list[str]], list[str]]:
    """Return a folder and its photos to evaluate on: those of the test split, else of val, else all.

    Args:
        source: a folder, list, table, archive or Parquet file of photos, as `Photos` takes it.

    Returns:
        The folder; {class: paths relative to it}, in which those of a list are absolute and a class may have
        no paths; and notes on where the labels are from and on what is not used.

    Raises:
        PhotosError: the source has no labeled photos or cannot be read; or the list is invalid, or its photos
            are missing or have changed.
    """
    sought = find_to_evaluate(source)
    if sought.listed:
        return sought.folder, sought.listed.evaluation_paths(), []
    split = next(name for name in ("test", "val", "all", "train") if name in sought.found)
    return sought.folder, sought.found[split], sought.notes


def unused_in(patterns: Sequence[str]) -> list[str]:
    """Return a note on each kind of entry that `expand_paths` leaves out of the folders among `patterns`."""
    folders = [path for path in map(user_path, patterns) if os.path.isdir(path)]
    notes = [(path, unused_entries(path)) for path in dict.fromkeys(folders)]
    return [note if len(folders) == 1 else f"{path}: {note}" for path, of in notes for note in of]


def expand_paths(patterns: Sequence[str]) -> list[Path]:
    """Return the paths of the photos that files, folders and globs stand for, each once, in this order.

    A folder gives the photos in it and below, sorted. A glob gives its files; if it matches only folders, the
    photos in these. A path that does not exist, or a glob without a match, is kept as it is, so that its
    prediction names the error.

    Args:
        patterns: paths or globs; ~ is expanded, and ** means any depth.
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
