"""Index of the photos in a folder by the ends of their paths, with and without suffix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from reslab.photos.folder.layout import find_photos


class PhotoIndex:
    """Photos of a folder, found by their path, the end of their path, or either without suffix.

    Args:
        folder: folder that is searched with all folders in it.

    Attributes:
        paths: paths of all photos, relative to the folder, sorted folder by folder.
    """

    def __init__(self, folder: Path) -> None:
        self.paths = [os.path.relpath(path, folder) for path in find_photos(folder)]
        self._by_end: dict[str, list[str]] = {}
        for path in self.paths:
            parts = path.split(os.sep)
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                for name in {end, _without_suffix(end)}:
                    self._by_end.setdefault(name, []).append(path)

    def find(self, name: str) -> list[str]:
        """Return the photos whose path is `name` or ends with it; an equal path comes alone.

        Args:
            name: path with / between its parts, with or without the suffix of a photo.
        """
        found = self._by_end.get(name, [])
        return next(([path] for path in found if path.replace(os.sep, "/") == name), found)

    def strip(self, names: Sequence[str]) -> int:
        """Return how many first parts all names share that no photo's path has: those of another computer.

        It is the smallest number without which a photo is found; 0 if none is found with any.
        """
        if not names:
            return 0
        shared = os.path.commonprefix([name.split("/")[:-1] for name in names])
        counts = range(len(shared) + 1)
        return next((n for n in counts if any(self.find(without(name, n)) for name in names)), 0)


def without(name: str, parts: int) -> str:
    """Return a path with / without its first parts."""
    return "/".join(name.split("/")[parts:])


def plain_name(cell: str) -> str:
    """Return a path of a table with / between its parts, without ./ and a first /."""
    return "/".join(part for part in cell.strip().replace("\\", "/").split("/") if part not in ("", "."))


def _without_suffix(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))
