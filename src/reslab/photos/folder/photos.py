"""A folder -> Photos: files, labels, classes and splits, found without opening a single photo as an image."""

from __future__ import annotations

import hashlib
import os
import reprlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError, UsageError
from reslab.files import user_path
from reslab.parallel import on_all_cores
from reslab.text import printable

from . import list_file as listing
from .digests import digest_or_nothing
from .layout import find_splits, from_image_folder, left_out
from .paths import Paths
from .photo_list import DIGEST, HEXADECIMAL, Columns, Photo, PhotoList
from .split import cut

SPLITS = ("train", "val", "test")
CHUNK = 64  # files that one thread digests before it hands them over


@dataclass(frozen=True, init=False)
class Photos:
    """The photos of a folder in three splits, with labels by class name.

    `source`: a folder with train/ (and val/, test/), a folder of classes, a list that `reslab check
    --fix` wrote, or a torchvision ImageFolder. What is missing is cut: validation from train, or all three
    from one folder of classes, stratified by class and by content, so that equal files stay together. No
    photo is decoded: those that cannot be are listed, and cut to a split, like all others until a training
    leaves them out. Raises PhotosError, naming what is wrong with the folder or the list, and UsageError for
    a source or a fraction that is none.
    """

    folder: Path
    classes: tuple[str, ...]
    train: PhotoList
    val: PhotoList
    test: PhotoList
    notes: tuple[str, ...] = field(compare=False)

    def __init__(
        self, source: Any, *, val_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
    ) -> None:
        if isinstance(source, Photos):
            self._set(source.folder, source.classes, source.splits, source.notes)
            return
        _check_fractions(val_fraction, test_fraction)
        listed = listing.read(Path(source)) if listing.is_list(source) else None
        folder, found, beside = (listed.folder, listed.found, []) if listed else _find(source)
        classes, notes = _agree_on_classes(folder, found)
        notes += beside
        # popped: of what is digested by now, nobody needs the paths again
        splits = {name: _digested(folder, found.pop(name), classes) for name in tuple(found)}
        if listed:
            for split in splits.values():
                contents = ((photo.path, bytes.fromhex(photo.digest)) for photo in split)
                listed.check((path, content) for path, content in contents if content != _of_name(path))
        if "all" in splits:
            rest, test = cut(splits.pop("all"), test_fraction, seed, "test split")
            splits = {"train": rest, "test": test}
            notes.append("cut from one folder: train, val and test")
        if not splits.get("val"):
            splits["train"], splits["val"] = cut(splits["train"], val_fraction, seed, "val split")
        if not splits.get("test"):
            notes.append("no test split: the figures at the end come from val, which also chose the epoch")
        self._set(folder, classes, splits, notes)
        self._check()

    def _set(
        self,
        folder: Path,
        classes: Iterable[str],
        splits: Mapping[str, PhotoList],
        notes: Iterable[str],
    ) -> None:
        values = {
            "folder": folder,
            "classes": tuple(classes),
            "notes": tuple(notes),
            **{name: splits.get(name) or PhotoList.of(()) for name in SPLITS},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way a frozen dataclass sets its own fields

    def _check(self) -> None:
        if len(self.classes) < 2:
            raise PhotosError(
                f"{self.folder} has {f'one class: {self.classes[0]}' if self.classes else 'no photos'}",
                "a classifier needs at least two to tell apart",
                "put the photos of each class into a folder of its own: train/cat/1.jpg, train/dog/1.jpg",
            )
        if len(self.train) < 2 or not self.val:
            raise PhotosError(
                f"{self.folder} has too few photos: {len(self.train)} to train, {len(self.val)} to validate",
                "a class of one photo cannot be both learned and measured",
                "add photos: at least two of each class, better hundreds",
            )

    @property
    def splits(self) -> dict[str, PhotoList]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def path(self, photo: Photo) -> Path:
        return self.folder / photo.path

    def without(self, paths: Container[str]) -> Photos:
        """The same photos but for these; all others stay in their splits, and all classes.

        Raises PhotosError if too few are left to train or to validate.
        """
        photos = Photos(self)
        splits = {name: split.take(_others(split, paths)) for name, split in self.splits.items()}
        photos._set(self.folder, self.classes, splits, self.notes)
        photos._check()
        return photos

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items() if split)
        shown = ", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
        lines = [f"{self.folder}: {sizes}; {len(self.classes)} classes: {shown}"]
        return "\n".join(map(printable, lines + [f"  note: {note}" for note in self.notes]))

    __repr__ = __str__

    def rows(self) -> Iterator[dict[str, Any]]:
        """One JSON object a photo; `from_rows` reads them back to an equal value."""
        for name, split in self.splits.items():
            for p in split:
                yield {
                    "path": p.path,
                    "class": self.classes[p.label],
                    "label": p.label,
                    "split": name,
                    "digest": p.digest,
                }

    @classmethod
    def from_rows(cls, folder: Path, classes: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Photos:
        """The Photos that a run folder remembers. Raises PhotosError for a row that is no photo."""
        names = tuple(classes)
        splits = {name: Columns() for name in SPLITS}
        for number, row in enumerate(rows, 1):
            if fault := _fault(row, names):
                raise PhotosError(f"photo {number} of the list is none: {fault}")
            splits[row["split"]].add(row["path"], row["label"], bytes.fromhex(row["digest"]))
        photos = cls.__new__(cls)
        photos._set(folder, names, {name: columns.freeze() for name, columns in splits.items()}, ())
        photos._check()
        return photos


def _others(split: PhotoList, paths: Container[str]) -> NDArray[np.bool_]:
    return np.fromiter((path not in paths for path in split.paths), bool, len(split))


def _fault(row: Mapping[str, Any], classes: Sequence[str]) -> str:
    """What makes the row useless; "" for a good one. A photo under a wrong class would be a silent lie."""
    path, label, split, digest = (row.get(name) for name in ("path", "label", "split", "digest"))
    if not isinstance(path, str) or not path:
        return f"path is {reprlib.repr(path)}"
    if type(label) is not int or not 0 <= label < len(classes):
        return f"label is {reprlib.repr(label)}, and there are {len(classes)} classes"
    if row.get("class", classes[label]) != classes[label]:
        return (
            f"class is {reprlib.repr(row['class'])}, and label {label} means {reprlib.repr(classes[label])}"
        )
    if split not in SPLITS:
        return f"split is {reprlib.repr(split)}, not one of {', '.join(SPLITS)}"
    if not isinstance(digest, str) or HEXADECIMAL.fullmatch(digest) is None:
        return f"digest is {reprlib.repr(digest)}, not {2 * DIGEST} hexadecimal digits"
    return ""


def _check_fractions(*fractions: float) -> None:
    for fraction in fractions:
        if not 0 < fraction < 1:
            raise UsageError(
                f"a split cannot be {fraction} of the photos", "", "give a share between 0 and 1, such as 0.1"
            )


def _find(source: Any) -> tuple[Path, dict[str, dict[str, Paths]], list[str]]:
    """The folder, its files by split and class, and notes on what is left out."""
    if hasattr(source, "samples") and hasattr(source, "classes"):
        return *from_image_folder(source), []
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            f"this is no folder of photos: {type(source).__name__}",
            "expected a path or a torchvision ImageFolder",
            'give the folder that holds one folder per class: Photos("data")',
        )
    folder = user_path(source)
    return folder, find_splits(folder), left_out(folder)


def _agree_on_classes(
    folder: Path, found: Mapping[str, Mapping[str, Sequence[str]]]
) -> tuple[tuple[str, ...], list[str]]:
    """The classes of train, sorted. Raises PhotosError for one that only another split has."""
    train = found.get("train") or found["all"]
    classes = tuple(sorted(name for name, files in train.items() if files))
    notes = [f"class without photos in train, left out: {name}" for name in sorted(set(train) - set(classes))]
    for split in ("val", "test"):
        present = {name for name, files in found.get(split, {}).items() if files}
        unknown = sorted(present - set(classes))
        if unknown:
            place = Path(*Path(found[split][unknown[0]][0]).parts[:2])
            raise PhotosError(
                f"{split} has photos of a class that train lacks: {', '.join(unknown)}",
                f"train has {', '.join(classes)}; a network cannot know what it was never shown",
                f"rename or remove {folder / place}, or add photos of it to train",
            )
        if split in found:
            notes += [f"{split} has no photos of {name}" for name in classes if name not in present]
    return classes, notes


def _digested(folder: Path, found: Mapping[str, Sequence[str]], classes: tuple[str, ...]) -> PhotoList:
    """Read on all cores, a few chunks ahead, and kept in columns: no object a photo stays behind."""

    def chunks() -> Iterator[tuple[int, list[str]]]:
        for label, name in enumerate(classes):
            paths = iter(found.get(name, ()))
            while chunk := list(islice(paths, CHUNK)):
                yield label, chunk

    def read(chunk: tuple[int, list[str]]) -> tuple[int, list[tuple[str, bytes]]]:
        label, paths = chunk
        return label, [(path, _content(folder, path)) for path in paths]

    columns = Columns()
    for label, contents in on_all_cores(read, chunks()):
        for path, content in contents:
            columns.add(path, label, content)
    return columns.freeze()


def _content(folder: Path, path: str) -> bytes:
    """The digest of a file. One that cannot be read gets that of its name, and is cut to a split like all."""
    return digest_or_nothing(os.path.join(folder, path)) or _of_name(path)


def _of_name(path: str) -> bytes:
    return hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=DIGEST).digest()
