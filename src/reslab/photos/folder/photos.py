"""Photos: the photos of a folder or a list, with classes and three splits; no photo is decoded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from reslab.errors import PhotosError, UsageError
from reslab.files import user_path
from reslab.text import printable

from . import list_file
from .digests import digest_all
from .groups import group_note, group_numbers
from .layout import FoundPaths, from_image_folder
from .photo_list import DIGEST, Photo, PhotoList
from .sources.find import FoundPhotos, find_labeled
from .split import split_off

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, init=False)
class Photos:
    """Photos of a folder in the splits train, val and test, with labels by class name.

    Missing splits are cut off at random: val from train, or val and test from one folder of classes. The cut
    is stratified by class, and equal files stay in one split. Photos that cannot be decoded are included
    until a training skips them. Two Photos with the same folder, classes and splits are equal.

    Args:
        source: a folder with train/ (and val/, test/), or a folder of classes; a folder whose labels are in a
            table next to the photos or in their names, or the table itself, a CSV or TSV file; a .zip or .tar
            file, or Parquet files, which are unpacked into the user's cache folder; a list from `reslab check
            --fix` or `save`; a torchvision ImageFolder; or Photos, which are copied as they are.
        val_fraction: fraction of train that becomes val if there is none, between 0 and 1.
        test_fraction: fraction of a folder of classes that becomes test, between 0 and 1. A folder with
            train/ but without test/ gets an empty test split.
        seed: another seed cuts other photos off.
        group_by: keep photos that belong together in one split. "folder": those in a folder of the same name
            below split and class; or a regular expression with one group, searched in each path relative to
            the folder: r"(patient\\d+)". None splits single photos.

    Attributes:
        folder: the folder that the photos' paths are relative to.
        classes: names of the classes in train, sorted; a label is an index into them.
        train: photos to train on.
        val: photos that choose the best epoch.
        test: photos for the last measurement; may be empty.
        notes: what a user should know about the splits; not compared.

    Raises:
        PhotosError: the folder or list is missing or damaged, has fewer than two classes or too few photos,
            val or test has a class that train lacks, or photos of a list are missing or have changed; or a
            group is in two splits, or is all that a class has.
        UsageError: `source` has another type, a fraction is out of range, or the pattern is not valid.
    """

    folder: Path
    classes: tuple[str, ...]
    train: PhotoList
    val: PhotoList
    test: PhotoList
    notes: tuple[str, ...] = field(compare=False)

    def __init__(
        self,
        source: Any,
        *,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        seed: int = 0,
        group_by: str | None = None,
    ) -> None:
        if isinstance(source, Photos):
            self._set(source.folder, source.classes, source.splits, source.notes)
            return
        for fraction in (val_fraction, test_fraction):
            if not 0 < fraction < 1:
                do = "give a fraction between 0 and 1, such as 0.1"
                raise UsageError(f"a split cannot be {fraction} of the photos", "", do)
        sought = find_photos_of(source)
        folder, found, notes, listed = sought.folder, sought.found, sought.notes, sought.listed
        classes, class_notes = _find_classes(folder, found)
        splits = {split: _digest(folder, found.pop(split), classes) for split in tuple(found)}
        if listed:
            listed.check_unchanged({split: photos.digests for split, photos in splits.items()})
        for photos in splits.values():
            _fill_digests(photos)
        notes = class_notes + notes
        if group_by is not None:
            notes.append(group_note(folder, splits, classes, group_by))

        def cut(photos: PhotoList, fraction: float, purpose: str) -> tuple[PhotoList, PhotoList]:
            groups = None if group_by is None else group_numbers(photos, classes, group_by)
            return split_off(photos, fraction, seed, purpose, groups)

        if "all" in splits:
            every = splits.pop("all")
            rest, test = cut(every, test_fraction, "test split")
            if cut(rest, val_fraction, "val split")[1]:
                notes.append(
                    "split one folder into train, val and test" + _share_note(test, every, test_fraction)
                )
            else:  # two photos of each class
                rest, test = every, every.take(np.zeros(0, np.int64))
                notes.append("split one folder into train and val: the photos are too few for a test split")
            splits = {"train": rest, "test": test}
        if not splits.get("val"):
            rest, val = cut(splits["train"], val_fraction, "val split")
            if note := _share_note(val, splits["train"], val_fraction):
                notes.append(f"val split{note}")
            splits["train"], splits["val"] = rest, val
        if not splits.get("test"):
            notes.append("no test split: the final figures come from val, which also chose the epoch")
        self._set(folder, classes, splits, notes)

    def _set(
        self, folder: Path, classes: Iterable[str], splits: Mapping[str, PhotoList], notes: Iterable[str]
    ) -> None:
        values = {
            "folder": folder,
            "classes": tuple(classes),
            "notes": tuple(notes),
            **{name: splits.get(name) or PhotoList.of(()) for name in SPLITS},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the dataclass is frozen
        if len(self.classes) < 2:
            skipped = "".join(f"; {note}" for note in self.notes if note.startswith("skipping"))
            raise PhotosError(
                f"{folder} has {f'only one class: {self.classes[0]}' if self.classes else 'no photos'}",
                f"a classifier needs at least two classes{skipped}",
                "put the photos of each class into a folder of its own: train/cat/1.jpg, train/dog/1.jpg",
            )
        if len(self.train) < 2 or not self.val:
            raise PhotosError(
                f"{folder} has too few photos: {len(self.train)} to train, {len(self.val)} to validate",
                "a class of one photo cannot be both trained on and validated",
                "add photos: at least two of each class, better hundreds",
            )

    @property
    def splits(self) -> dict[str, PhotoList]:
        """{"train": photos, "val": photos, "test": photos}; test may be empty."""
        return {"train": self.train, "val": self.val, "test": self.test}

    def path(self, photo: Photo) -> Path:
        """Return the path of one of these photos: the folder, followed by the photo's own path."""
        return self.folder / photo.path

    def without(self, paths: Container[str]) -> Photos:
        """Return new Photos without some paths; the others keep their splits, and all classes and notes stay.

        Args:
            paths: paths to remove, relative to the folder; a set or a dict is fastest.

        Raises:
            PhotosError: too few photos remain to train or to validate.
        """
        splits = {
            name: split.take(np.array([path not in paths for path in split.paths], bool))
            for name, split in self.splits.items()
        }
        return self._make(self.folder, self.classes, splits, self.notes)

    def moved(self, folder: Path, splits: Mapping[str, PhotoList]) -> Photos:
        """Return the same photos under other paths, with the same classes and notes.

        Args:
            folder: folder that the new paths are relative to.
            splits: {split: photos} in the order of the present ones.
        """
        return self._make(folder, self.classes, splits, self.notes)

    def save(self, path: Path | str) -> None:
        """Write a list of the photos, with classes, splits and digests, replacing `path` if it exists.

        `Photos(path)` reads an equal value back and verifies every photo; `Photos.load` does not. The notes
        are not written.

        Raises:
            OSError: the file cannot be written.
        """
        list_file.write(user_path(path), self.folder, self.classes, self.splits)

    @classmethod
    def load(cls, path: Path | str) -> Photos:
        """Read what `save` wrote, without notes. The photos themselves may be missing or changed.

        Raises:
            PhotosError: the file cannot be read, is not a list, or is damaged; or it has fewer than two
                classes, or too few photos to train or to validate.
        """
        listed = list_file.read(path)
        return cls._make(listed.folder, listed.classes, listed.splits, ())

    @classmethod
    def _make(
        cls, folder: Path, classes: Iterable[str], splits: Mapping[str, PhotoList], notes: Iterable[str]
    ) -> Photos:
        photos = cls.__new__(cls)
        photos._set(folder, classes, splits, notes)
        return photos

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items() if split)
        shown = ", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
        lines = [f"{self.folder}: {sizes}; {len(self.classes)} classes: {shown}"]
        return "\n".join(map(printable, lines + [f"  note: {note}" for note in self.notes]))

    __repr__ = __str__


def find_photos_of(source: Any) -> FoundPhotos:
    """Find the photos of a path or of a torchvision ImageFolder, by names and places alone.

    Raises:
        PhotosError: see find_labeled.
        UsageError: `source` is neither.
    """
    if hasattr(source, "samples") and hasattr(source, "classes"):
        return FoundPhotos(*from_image_folder(source))
    if not isinstance(source, str | os.PathLike):
        raise UsageError(
            f"not a folder of photos: {type(source).__name__}",
            "expected a path or a torchvision ImageFolder",
            'give the folder that holds one folder per class: Photos("data")',
        )
    return find_labeled(os.fspath(source))


def _share_note(cut: PhotoList, photos: PhotoList, fraction: float) -> str:
    """Return ": 33 % of the photos, not 10 %: ..." if a split got twice its fraction or more; else ""."""
    share = len(cut) / max(1, len(photos))
    if share < 2 * fraction:
        return ""
    return f": {100 * share:.0f} % of the photos, not {100 * fraction:.0f} %, since every class gives one"


def _find_classes(folder: Path, found: FoundPaths) -> tuple[tuple[str, ...], list[str]]:
    """Return the classes with photos in train (or "all"), sorted, and notes on classes without photos.

    Raises PhotosError if val or test has photos of a class that train lacks.
    """
    train = found.get("train") or found.get("all") or {}
    if not train and any(found.values()):
        raise PhotosError(
            f"{folder} has photos to test or validate on, but none to train on",
            f"its splits are {', '.join(found)}",
            "give some photos the split train",
        )
    classes = tuple(sorted(name for name, paths in train.items() if paths))
    notes = [
        f"skipping a class without photos in train: {name}" for name in sorted(set(train) - set(classes))
    ]
    for split in ("val", "test"):
        present = {name for name, paths in found.get(split, {}).items() if paths}
        if unknown := sorted(present - set(classes)):
            place = Path(*Path(found[split][unknown[0]][0]).parts[:2])
            raise PhotosError(
                f"{split} has photos of a class that train lacks: {', '.join(unknown)}",
                f"train has {', '.join(classes)}; a network can only learn classes that it is trained on",
                f"rename or remove {folder / place}, or add photos of it to train",
            )
        if split in found:
            notes += [f"{split} has no photos of {name}" for name in classes if name not in present]
    return classes, notes


def _digest(folder: Path, found: Mapping[str, list[str]], classes: tuple[str, ...]) -> PhotoList:
    """Read every file of a split, and return its photos class by class.

    The digest of a file that cannot be read is zeros.

    Args:
        folder: folder that the paths are relative to.
        found: {class: paths}.
        classes: names by label; other classes in `found` are left out.
    """
    paths = [path for name in classes for path in found.get(name, ())]
    labels = np.repeat(np.arange(len(classes)), [len(found.get(name, ())) for name in classes])
    return PhotoList.from_columns(paths, labels, digest_all(folder, paths))


def _fill_digests(photos: PhotoList) -> None:
    """Change digests of zeros, of unreadable files, to the hash of their path, in place.

    So these photos are split at random like the others.
    """
    for index in np.flatnonzero(~photos.digests.any(axis=1)).tolist():
        path = photos.path(index).encode("utf-8", "surrogatepass")
        photos.digests[index] = np.frombuffer(hashlib.blake2b(path, digest_size=DIGEST).digest(), np.uint8)
