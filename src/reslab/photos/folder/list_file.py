"""List of photos as a file, as in a run's photos.jsonl and from `check --fix`: one writer, one reader.

The lines are JSON. First: {"format": "reslab photo list", "version": 1, "folder", "classes", "photos": 7981}.
Then, for every photo: {"path", "class", "split", "digest"}. The folder is relative to the file if the photos
are next to it or below, so that both can move together. The split is "all" if the photos are not split.
"""

from __future__ import annotations

import json
import os
import reprlib
import shlex
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab import files
from reslab.errors import PhotosError, UsageError
from reslab.files import user_path
from reslab.text import printable

from .digests import digest_all
from .layout import FoundPaths
from .photo_list import DIGEST, HEXADECIMAL, PhotoList

FORMAT, VERSION = "reslab photo list", 1
SPLITS = ("all", "train", "val", "test")
MAX_HEADER_BYTES = 2**24  # the first line names all classes
WRITE_AGAIN = "write it again: reslab check FOLDER --fix LIST"


@dataclass(frozen=True)
class ListedPhotos:
    """Contents of a list file.

    Attributes:
        path: the list file.
        folder: folder that the photos' paths are relative to.
        classes: names of the classes, sorted; a label is an index into them.
        splits: {split: its photos, class by class} without empty splits: "all" alone, or of train, val, test.
    """

    path: Path
    folder: Path
    classes: tuple[str, ...]
    splits: dict[str, PhotoList]

    def __len__(self) -> int:
        return sum(map(len, self.splits.values()))

    @property
    def found(self) -> FoundPaths:
        """{split: {class: paths}} as find_splits returns it, but with the paths in the list's order."""
        return {split: by_class(photos, self.classes) for split, photos in self.splits.items()}

    def check_exist(self) -> None:
        """Raise PhotosError if the folder or a photo is missing, or a path leads out of the folder."""
        if not os.path.isdir(self.folder):  # Path.is_dir raises for a name that is too long
            raise PhotosError(
                f"{self.path} lists photos of {printable(str(self.folder))[:200]}, which does not exist",
                "a list does not contain the photos; it was written elsewhere, or the photos were moved",
                'correct "folder" in its first line, or write the list again',
            )
        photos = [path for split in self.splits.values() for path in split.paths]
        if outside := [path for path in photos if os.path.isabs(path) or ".." in path.split("/")]:
            raise _damaged(self.path, f"{printable(reprlib.repr(outside[0]))} leads out of the folder")
        missing = [path for path in photos if not os.path.isfile(self.folder / path)]
        if missing:
            raise self._outdated(missing, "are missing from")

    def check_unchanged(self, digests: Mapping[str, NDArray[np.uint8]]) -> None:
        """Compare the files' present digests with those in the list.

        Args:
            digests: {split: (N, 16)} in the order of `splits`; zeros for unreadable files, which pass.

        Raises:
            PhotosError: a file has another digest than the list says.
        """
        changed = list[str]()
        for split, now in digests.items():
            listed = self.splits[split]
            different = (now != listed.digests).any(axis=1) & now.any(axis=1)
            changed += map(listed.path, np.flatnonzero(different).tolist())
        if changed:
            raise self._outdated(changed, "have changed since the list was written, in")

    def evaluation_paths(self) -> dict[str, list[str]]:
        """Return {class: absolute paths} of test, else of val, else of "all", else of train.

        Every file of this split is read to verify it. A class without photos there has an empty list.

        Raises:
            PhotosError: the folder or a photo of any split is missing, or one of this split has changed.
        """
        self.check_exist()
        split = next(name for name in ("test", "val", "all", "train") if name in self.splits)
        folder, photos = self.folder.absolute(), self.splits[split]
        self.check_unchanged({split: digest_all(folder, photos.paths)})
        return {
            name: [str(folder / path) for path in paths]
            for name, paths in by_class(photos, self.classes).items()
        }

    def _outdated(self, paths: list[str], what: str) -> PhotosError:
        """Return the error for photos that are missing or changed.

        Args:
            paths: paths of these photos, at least one.
            what: text before the name of the folder, "are missing from" say.
        """
        folder = shlex.quote(printable(str(self.folder)))
        return PhotosError(
            f"{len(paths):,} of the {len(self):,} photos in {self.path} {what} {self.folder}, "
            f"the first is {printable(paths[0])}",
            "a list is valid only for unchanged photos",
            f"write a new list: reslab check {folder} --fix LIST",
        )


def by_class(photos: PhotoList, classes: Iterable[str]) -> dict[str, list[str]]:
    """Return {class: its paths} in the order of `photos`, [] for a class without photos.

    Args:
        photos: photos with labels.
        classes: names that the labels are indices of.
    """
    found: dict[str, list[str]] = {name: [] for name in classes}
    lists = list(found.values())
    for path, label in zip(photos.paths, photos.labels.tolist(), strict=True):
        lists[label].append(path)
    return found


def is_list(source: Any) -> bool:
    """Return whether `source` is the path of an existing file. It is not opened: `read` checks it."""
    return isinstance(source, str | os.PathLike) and os.path.isfile(user_path(source))


def check_new(path: Path) -> None:
    """Raise UsageError if `path` exists or its folder cannot be written to."""
    if os.path.lexists(path):
        raise UsageError(
            f"{path} exists already", "a list is never overwritten", "give another name, or remove it"
        )
    if not files.is_writable_folder(path.parent):
        raise UsageError(
            f"the list cannot be written to {path}",
            f"{path.parent} is not a folder that you can write to",
            "give a file in a folder that exists",
        )


def write(path: Path, folder: Path, classes: Iterable[str], splits: Mapping[str, PhotoList]) -> None:
    """Write a list, replacing `path` if it exists.

    Args:
        path: file to write.
        folder: folder that the photos' paths are relative to.
        classes: names that the labels are indices of.
        splits: photos of "train", "val" and "test", or of "all".

    Raises:
        OSError: the file cannot be written.
    """
    classes = list(classes)

    def lines() -> Iterator[dict[str, Any]]:
        yield {
            "format": FORMAT,
            "version": VERSION,
            "folder": _relative_folder(folder, path.parent),
            "classes": classes,
            "photos": sum(map(len, splits.values())),
        }
        for split, photos in splits.items():
            for photo in photos:
                name = classes[photo.label]
                yield {"path": photo.path, "class": name, "split": split, "digest": photo.digest}

    files.write_json_lines(path, lines())


def _relative_folder(folder: Path, place: Path) -> str:
    """Return `folder` relative to `place`, the list's folder, if it is there or below; else absolute."""
    relative = os.path.relpath(folder.absolute(), place.absolute())
    return os.path.abspath(folder) if relative.startswith("..") else relative


def read(path: Path | str) -> ListedPhotos:
    """Read a list without opening its photos. Labels follow the sorted names of the classes.

    Raises:
        PhotosError: the file cannot be read, is not a list, has an invalid line, lists a photo twice or none,
            mixes split "all" with others, or its number of photos is not the one in its first line.
    """
    path = user_path(path)
    paths, labels, splits, digests = list[str](), array("i"), array("b"), bytearray()
    try:
        with path.open("rb") as file:
            header = _read_header(path, file.readline(MAX_HEADER_BYTES))
            classes = sorted(header["classes"])
            label_of = {name: label for label, name in enumerate(classes)}
            for number, line in enumerate(file, 2):
                photo = _read_photo(path, number, line, label_of)
                paths.append(photo["path"])
                labels.append(label_of[photo["class"]])
                splits.append(SPLITS.index(photo["split"]))
                digests += bytes.fromhex(photo["digest"])
    except OSError as error:
        why = error.strerror or str(error)
        raise PhotosError(f"{path} cannot be read", why, "check its permissions") from error
    _check_whole(path, header, paths)
    rows = np.frombuffer(bytes(digests), np.uint8).reshape(-1, DIGEST)
    photos = PhotoList.from_columns(paths, np.array(labels, np.int32), rows)
    split_of = np.array(splits, np.int8)
    found = {
        split: photos.take(indices[np.argsort(photos.labels[indices], kind="stable")])
        for index, split in enumerate(SPLITS)
        if len(indices := np.flatnonzero(split_of == index))
    }
    if "all" in found and len(found) > 1:
        raise _damaged(path, f"some photos are in split all, others in {', '.join(list(found)[1:])}")
    return ListedPhotos(path, path.parent / header["folder"], tuple(classes), found)


def _read_header(path: Path, line: bytes) -> dict[str, Any]:
    """Return the first line of a list as a dict, with valid values. Raises PhotosError if it is invalid."""
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise PhotosError(
            f"{path} is neither a folder nor a list of photos",
            f"its first line is {printable(reprlib.repr(line[:80].decode(errors='replace')))}",
            "give a folder of photos, or a list from reslab check FOLDER --fix LIST",
        )
    version, folder, classes, photos = map(header.get, ("version", "folder", "classes", "photos"))
    if version != VERSION:
        raise PhotosError(
            f"{path} is a list of version {reprlib.repr(version)}",
            f"this reslab reads version {VERSION}",
            WRITE_AGAIN,
        )
    names = classes if isinstance(classes, list) else []
    if (
        not (isinstance(folder, str) and folder and type(photos) is int)
        or not all(isinstance(name, str) and name for name in names)
        or len(set(names)) < max(1, len(names))
    ):
        raise _damaged(
            path, 'its first line needs "folder", a path; "classes", different names; "photos", a count'
        )
    return header


def _read_photo(path: Path, number: int, line: bytes, label_of: Mapping[str, int]) -> dict[str, str]:
    """Return the row of a photo. Raises PhotosError if it is invalid.

    Args:
        path: the list file, for errors.
        number: number of the line, the header being 1.
        line: the line.
        label_of: the known classes.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    name, class_name, split, digest = (
        row.get(key) if isinstance(row, dict) else None for key in ("path", "class", "split", "digest")
    )
    if not isinstance(row, dict):
        why = "it is not a JSON object"
    elif not isinstance(name, str) or not name:
        why = f"path {reprlib.repr(name)}"
    elif not isinstance(class_name, str) or class_name not in label_of:
        known = ", ".join(list(label_of)[:8]) + (", ..." if len(label_of) > 8 else "")
        why = f"class {reprlib.repr(class_name)}, but there are only {len(label_of)} classes ({known})"
    elif split not in SPLITS:
        why = f"split {reprlib.repr(split)}, which is not one of {', '.join(SPLITS)}"
    elif not isinstance(digest, str) or HEXADECIMAL.fullmatch(digest) is None:
        why = f"digest {reprlib.repr(digest)}, which is not {2 * DIGEST} hexadecimal digits"
    else:
        return row
    raise PhotosError(
        f"photo {number - 1:,} in {path} is invalid", printable(why), f"fix line {number:,} of {path}"
    )


def _check_whole(path: Path, header: Mapping[str, Any], paths: list[str]) -> None:
    """Raise PhotosError if the number of paths is not the header's, is 0, or a path is listed twice."""
    if len(paths) != header["photos"]:
        raise _damaged(
            path,
            f"its first line announces {header['photos']:,} photos, but {len(paths):,} follow: "
            "it was cut short or edited",
            "write the list again, or correct the count",
        )
    if not paths:
        raise PhotosError(f"{path} lists no photos", "", WRITE_AGAIN)
    if len(set(paths)) < len(paths):
        repeated = Counter(paths).most_common(1)[0][0]
        raise _damaged(path, f"{printable(reprlib.repr(repeated))} is listed twice")


def _damaged(path: Path, why: str, do: str = WRITE_AGAIN) -> PhotosError:
    return PhotosError(f"{path} is damaged", why, do)
