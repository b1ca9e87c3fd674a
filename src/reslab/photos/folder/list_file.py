"""A list of photos as a file: which of a folder to use, in which split and class.

JSON lines: {"format": "reslab photo list", "version": 1, "folder": ..., "classes": [...], "photos": 7981},
then {"path": ..., "class": ..., "split": ..., "digest": ...} for every photo. The folder is relative to the
list where it lies beside it, so that both can move together. `split` is "all" where none are made yet.
"""

from __future__ import annotations

import json
import os
import reprlib
import shlex
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from reslab import files
from reslab.errors import PhotosError, UsageError
from reslab.text import printable

from .digests import digest_or_nothing
from .paths import ByPath, GrowingPaths, Paths
from .photo_list import DIGEST, HEXADECIMAL

FORMAT, VERSION = "reslab photo list", 1
SPLITS = ("all", "train", "val", "test")
LONGEST = 2**16  # bytes of a line; a path has some 4,000 at most
MOST_CLASSES = 2**24  # bytes of the first line, which names them all


@dataclass(frozen=True)
class Listing:
    """What a list says: `found` as from a folder, {split: {class: paths}}, and the digest of every photo."""

    path: Path
    folder: Path
    found: dict[str, dict[str, Paths]]
    digests: ByPath

    def check(self, contents: Iterable[tuple[str, bytes]]) -> None:
        """Raises PhotosError if one of (path, digest) is not what the list was made of."""
        changed = [path for path, content in contents if content and self.digests[path] != content]
        if changed:
            raise _stale(self, changed, "have changed since it was written", "in")

    def judged(self) -> dict[str, list[str]]:
        """{class: [absolute path]} of test, else val, else all. Raises PhotosError for one that changed."""
        of = next(self.found[split] for split in ("test", "val", "all", "train") if split in self.found)
        folder = self.folder.absolute()
        paths = [path for inside in of.values() for path in inside]
        self.check((path, digest_or_nothing(folder / path)) for path in paths)
        return {name: [str(folder / path) for path in inside] for name, inside in of.items()}


def is_list(source: Any) -> bool:
    """Whether it is a path to a file, which can be nothing else."""
    return isinstance(source, str | os.PathLike) and os.path.isfile(files.user_path(source))


def write(
    path: Path, folder: Path, classes: Iterable[str], rows: Iterable[Mapping[str, str]], count: int
) -> None:
    """Writes a new list of `count` rows. Raises UsageError if `path` is there or cannot be written."""
    check_new(path)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "folder": _seen_from(folder, path.parent),
        "classes": sorted(classes),
        "photos": count,
    }

    def all_rows() -> Iterator[dict[str, Any]]:
        yield header
        yield from map(dict, rows)

    try:
        files.write_json_lines(path, all_rows())
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"{path} could not be written", why, "make room there, or name another") from error


def check_new(path: Path) -> None:
    """Raises UsageError unless a new file can go there."""
    if os.path.lexists(path):
        raise UsageError(
            f"{path} is there already", "a list is never written over", "name another, or remove it"
        )
    if not files.may_write_into(path.parent):
        raise UsageError(
            f"the list cannot go to {path}",
            f"there is no folder {path.parent} that may be written into",
            "name a file in a folder that is there",
        )


def read(path: Path) -> Listing:
    """Raises PhotosError for a file that is no list, is damaged, or does not fit its folder any more."""
    path = files.user_path(path)
    try:
        with path.open("rb") as file:
            header = _header(path, file.readline(MOST_CLASSES))
            rows, folder = _Rows(path), _folder(path, header["folder"])
            classes = dict.fromkeys(header["classes"])
            number = 1
            while line := file.readline(LONGEST):
                number += 1
                _add(rows, _object(path, line, number), classes, number)
    except OSError as error:
        raise PhotosError(
            f"{path} cannot be read", error.strerror or str(error), "check its permissions"
        ) from error
    listing = Listing(path, folder, *rows.freeze(classes))
    if (again := listing.digests.first_repeated()) is not None:
        raise _damaged(
            path,
            f"line {again + 2:,}: {printable(reprlib.repr(listing.digests.paths[again]))} is listed twice",
        )
    if len(listing.digests) != header["photos"]:
        raise _damaged(
            path,
            f"its first line counts {header['photos']:,} photos, and {len(listing.digests):,} follow: "
            "it was cut short, or edited",
            "write it anew, or correct the count",
        )
    if not listing.digests:
        raise PhotosError(f"{path} lists no photos", "", "reslab check FOLDER --fix LIST writes a list")
    missing = [name for name in listing.digests if not os.path.isfile(listing.folder / name)]
    if missing:
        raise _stale(listing, missing, "are gone", "from")
    return listing


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise PhotosError(
            f"{path} is no folder, and no list of photos either",
            f"its first line does not say so: {printable(reprlib.repr(line[:80].decode(errors='replace')))}",
            "give a folder of photos, or a list from reslab check FOLDER --fix LIST",
        )
    if header.get("version") != VERSION:
        raise PhotosError(
            f"{path} is a list of version {reprlib.repr(header.get('version'))}",
            f"this reslab reads version {VERSION}",
            "use the reslab that wrote it, or write it anew",
        )
    classes = header.get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) and name for name in classes):
        raise _damaged(path, f"classes is {reprlib.repr(classes)}, not a list of names")
    if len(set(classes)) < len(classes):
        raise _damaged(path, "it names a class twice")
    if type(header.get("photos")) is not int or header["photos"] < 0:
        raise _damaged(path, f"photos is {reprlib.repr(header.get('photos'))}, not a count")
    if not isinstance(header.get("folder"), str) or not header["folder"] or "\0" in header["folder"]:
        raise _damaged(path, f"folder is {reprlib.repr(header.get('folder'))}")
    return header


def _folder(path: Path, said: str) -> Path:
    try:
        folder = path.parent / said
        there = folder.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        there = False
    if not there:
        raise PhotosError(
            f"{path} lists photos of {printable(said)[:200]}, which is not there",
            "a list holds no photos; this one was written elsewhere, or its photos were moved",
            'put the right folder into its first line, at "folder", or write the list anew',
        )
    return folder


def _object(path: Path, line: bytes, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise _damaged(path, f"line {number:,} is no whole line of JSON")
    return row


class _Rows:
    """What a list says, while it is read: columns, and no object a photo."""

    def __init__(self, path: Path) -> None:
        self.path, self.paths, self.contents = path, GrowingPaths(), bytearray()
        self.places, self.names = array("i"), dict[tuple[str, str], int]()

    @property
    def split(self) -> str | None:
        """The first that was named."""
        return next((split for split, _ in self.names), None)

    def add(self, path: str, split: str, class_name: str, content: bytes) -> None:
        self.paths.add(path)
        self.contents += content
        self.places.append(self.names.setdefault((split, class_name), len(self.names)))

    def freeze(self, classes: Iterable[str]) -> tuple[dict[str, dict[str, Paths]], ByPath]:
        """`found` and `digests` of a Listing, with every class in every split that was named."""
        paths, places = self.paths.freeze(), np.array(self.places, np.int32)
        order = places.argsort(kind="stable")
        ends = places[order].searchsorted(np.arange(len(self.names) + 1))
        named = {place: paths.take(order[ends[i] : ends[i + 1]]) for place, i in self.names.items()}
        splits = {split for split, _ in self.names}
        found = {
            split: {name: named.get((split, name), Paths.of(())) for name in classes}
            for split in SPLITS
            if split in splits
        }
        return found, ByPath(paths, np.frombuffer(bytes(self.contents), np.uint8).reshape(-1, DIGEST))


def _add(rows: _Rows, row: Mapping[str, Any], classes: Mapping[str, None], number: int) -> None:
    """One photo more. Raises PhotosError for a row that is none."""
    name, class_name, split, content = (row.get(key) for key in ("path", "class", "split", "digest"))
    fault = ""
    if not isinstance(name, str) or not name or "\0" in name:
        fault = f"path is {reprlib.repr(name)}"
    elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        fault = f"path is {reprlib.repr(name)}, which leads out of the folder"
    elif not isinstance(class_name, str) or class_name not in classes:
        fault = f"class is {reprlib.repr(class_name)}, which its first line does not name"
    elif split not in SPLITS:
        fault = f"split is {reprlib.repr(split)}, not one of {', '.join(SPLITS)}"
    elif rows.split and (split == "all") != (rows.split == "all"):
        fault = f"split is {split!r}, where others have {rows.split!r}"
    elif not isinstance(content, str) or HEXADECIMAL.fullmatch(content) is None:
        fault = f"digest is {reprlib.repr(content)}, not {2 * DIGEST} hexadecimal digits"
    if fault:
        raise _damaged(rows.path, f"line {number:,}: {printable(fault)}")
    rows.add(str(name), str(split), str(class_name), bytes.fromhex(str(content)))


def _damaged(path: Path, why: str, do: str = "write it anew: reslab check FOLDER --fix LIST") -> PhotosError:
    return PhotosError(f"{path} is damaged", why, do)


def _stale(listing: Listing, paths: list[str], what: str, where: str) -> PhotosError:
    folder = shlex.quote(printable(str(listing.folder)))
    return PhotosError(
        f"{len(paths):,} of the {len(listing.digests):,} photos in {listing.path} {what} "
        f"{where} {listing.folder}, the first is {printable(paths[0])}",
        "a list holds for the photos that it was made of",
        f"write a new one: reslab check {folder} --fix LIST",
    )


def _seen_from(folder: Path, place: Path) -> str:
    """Relative where the list lies above the folder or in it, so that the two can move together."""
    inside = os.path.relpath(folder.absolute(), place.absolute())
    beside = folder.absolute() == place.absolute() or not inside.startswith("..")
    return inside if beside else os.path.abspath(folder)
