"""A folder -> Photos: files, labels, classes and splits, found without opening a single photo as an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import PhotosError
from ..processes import cores
from .decode import SUFFIXES
from .splitting import cut

SPLIT_NAMES = {
    "train": ("train", "training", "train_set", "training_set"),
    "val": ("val", "valid", "validation", "val_set", "validation_set"),
    "test": ("test", "test_set"),
}
LITTER = ("__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


@dataclass(frozen=True)
class Photo:
    """One file: its path relative to the folder, the index of its class, and a digest of its bytes."""

    path: str
    label: int
    digest: str


@dataclass(frozen=True, init=False)
class Photos:
    """The photos of a folder in three splits, with labels by class name.

    `source`: a folder with train/ (and val/, test/), a folder of classes, or a torchvision ImageFolder. What
    is missing is cut: validation from train, or all three from one folder of classes, stratified by class and
    by content, so that equal files stay together. Raises PhotosError, naming what is wrong with the folder.
    """

    folder: Path
    classes: tuple[str, ...]
    train: tuple[Photo, ...]
    val: tuple[Photo, ...]
    test: tuple[Photo, ...]
    notes: tuple[str, ...] = field(compare=False)

    def __init__(
        self, source: Any, *, val_fraction: float = 0.1, test_fraction: float = 0.1, seed: int = 0
    ) -> None:
        if isinstance(source, Photos):
            self._set(source.folder, source.classes, source.splits, source.notes)
            return
        if hasattr(source, "samples") and hasattr(source, "classes"):
            folder, found = _from_image_folder(source)
        else:
            folder, found = Path(source).expanduser(), find_splits(Path(source).expanduser())
        classes, notes = _agree_on_classes(folder, found)
        splits = {name: _digested(folder, files, classes) for name, files in found.items()}
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
        splits: Mapping[str, Iterable[Photo]],
        notes: Iterable[str],
    ) -> None:
        values = {
            "folder": folder,
            "classes": tuple(classes),
            "notes": tuple(notes),
            **{name: tuple(splits.get(name, ())) for name in ("train", "val", "test")},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)  # the way a frozen dataclass sets its own fields

    def _check(self) -> None:
        counts = [0] * len(self.classes)
        for photo in self.train:
            counts[photo.label] += 1
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
    def splits(self) -> dict[str, tuple[Photo, ...]]:
        return {"train": self.train, "val": self.val, "test": self.test}

    def path(self, photo: Photo) -> Path:
        return self.folder / photo.path

    def __str__(self) -> str:
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.splits.items() if split)
        shown = ", ".join(self.classes[:8]) + (", ..." if len(self.classes) > 8 else "")
        lines = [f"{self.folder}: {sizes}; {len(self.classes)} classes: {shown}"]
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])

    __repr__ = __str__

    def rows(self) -> list[dict[str, Any]]:
        """One JSON object a photo; `from_rows` reads them back to an equal value."""
        return [
            {
                "path": p.path,
                "class": self.classes[p.label],
                "label": p.label,
                "split": name,
                "digest": p.digest,
            }
            for name, split in self.splits.items()
            for p in split
        ]

    @classmethod
    def from_rows(cls, folder: Path, classes: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> Photos:
        """The Photos that a run folder remembers."""
        splits: dict[str, list[Photo]] = {"train": [], "val": [], "test": []}
        for row in rows:
            splits[row["split"]].append(Photo(row["path"], row["label"], row["digest"]))
        photos = cls.__new__(cls)
        photos._set(folder, classes, splits, ())
        return photos


def find_splits(folder: Path) -> dict[str, dict[str, list[str]]]:
    """{split: {class: [path relative to folder]}}; the split is "all" for one folder of classes.

    Raises PhotosError if the folder is missing, not a folder, or without photos.
    """
    if not os.path.isdir(folder):
        what = f"{folder} is not a folder" if os.path.exists(folder) else f"there is no folder {folder}"
        raise PhotosError(what, "", "give the folder that holds one folder per class, or train/ and test/")
    inside = {path.name.lower(): path for path in _folders(folder)}
    found: dict[str, dict[str, list[str]]] = {}
    for split, names in SPLIT_NAMES.items():
        for name in names:
            if name in inside and split not in found and _folders(inside[name]):
                found[split] = _find_classes(inside[name], folder)
    if "train" not in found:
        found = {"all": _find_classes(folder, folder)}
    loose_train = _train_without_classes(found.get("all", {}))
    if loose_train:
        raise PhotosError(
            f"{folder / loose_train} has photos, but no folders of classes",
            "nothing says what they show",
            f"sort them into one folder per class: {folder / loose_train / 'cat' / '1.jpg'}",
        )
    if not any(files for classes in found.values() for files in classes.values()):
        loose = sum(is_photo(path) for path in folder.iterdir())
        why = f"looked for {', '.join(SUFFIXES)} in {sum(len(c) for c in found.values())} folders of classes"
        raise PhotosError(
            f"{folder} has no photos" if not loose else f"{folder} has photos, but no folders of classes",
            why if not loose else f"{loose} photos lie in it directly, and nothing says what they show",
            "point to the folder that holds one folder per class: data/train/cat/1.jpg",
        )
    return found


def _train_without_classes(classes: Mapping[str, list[str]]) -> str | None:
    """The folder train, if these "classes" are really splits: train/cat.0.jpg and test1/1.jpg, say."""
    meant = {name: name.lower().rstrip("0123456789") for name in classes}
    if not set(meant.values()) <= set(sum(SPLIT_NAMES.values(), ())):
        return None
    return next((name for name in classes if classes[name] and meant[name] in SPLIT_NAMES["train"]), None)


def is_photo(path: Path) -> bool:
    """By name alone: an image's suffix, and not one of the files that systems litter."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def find_photos(folder: Path) -> list[Path]:
    """Every photo in `folder` and below, sorted; litter and folders that lead back are passed over.

    Raises PhotosError if a folder there cannot be read: its photos would be missed without a word.
    """
    found, seen = [], {_identity(parent) for parent in folder.absolute().parents}
    try:
        for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
            if _identity(root) in seen:
                folders.clear()
                continue
            seen.add(_identity(root))
            folders[:] = sorted(name for name in folders if not _is_litter(name))
            found += [path for path in (Path(root, name) for name in files) if is_photo(path)]
    except PermissionError as error:
        raise _unreadable(Path(error.filename), error) from error
    return sorted(found)


def _identity(path: Path | str) -> tuple[int, int]:
    """The same for every way, through whatever links, that leads to one folder."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _raise(error: OSError) -> None:
    if isinstance(error, PermissionError):  # a folder that is gone by now has no photos
        raise error


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_litter(path.name))
    except PermissionError as error:
        raise _unreadable(folder, error) from error


def _find_classes(folder: Path, root: Path) -> dict[str, list[str]]:
    return {
        path.name: [os.path.relpath(photo, root) for photo in find_photos(path)] for path in _folders(folder)
    }


def _from_image_folder(source: Any) -> tuple[Path, dict[str, dict[str, list[str]]]]:
    folder = Path(source.root)
    classes: dict[str, list[str]] = {name: [] for name in source.classes}
    for path, index in source.samples:
        inside = os.path.relpath(path, folder)
        if not any(_is_litter(part) for part in Path(inside).parts if part != ".."):
            classes[source.classes[index]].append(inside)
    return folder, {"all": classes}


def _agree_on_classes(
    folder: Path, found: Mapping[str, Mapping[str, list[str]]]
) -> tuple[tuple[str, ...], list[str]]:
    """The classes of train, sorted. Raises PhotosError for one that only another split has."""
    train = found.get("train") or found["all"]
    classes = tuple(sorted(name for name, files in train.items() if files))
    notes = [f"class without photos in train, left out: {name}" for name in sorted(set(train) - set(classes))]
    for split in ("val", "test"):
        present = {name for name, files in found.get(split, {}).items() if files}
        unknown = sorted(present - set(classes))
        if unknown:
            raise PhotosError(
                f"{split} has photos of a class that train lacks: {', '.join(unknown)}",
                f"train has {', '.join(classes)}; a network cannot know what it was never shown",
                f"rename or remove {folder / split / unknown[0]}, or add photos of it to train",
            )
        if split in found:
            notes += [f"{split} has no photos of {name}" for name in classes if name not in present]
    return classes, notes


def _digested(folder: Path, found: Mapping[str, list[str]], classes: tuple[str, ...]) -> list[Photo]:
    listed = [(path, label) for label, name in enumerate(classes) for path in found.get(name, ())]
    with ThreadPoolExecutor(cores()) as pool:
        digests = pool.map(lambda item: digest(folder / item[0]), listed)
        return [Photo(path, label, content) for (path, label), content in zip(listed, digests, strict=True)]


def digest(path: Path) -> str:
    """32 hexadecimal digits of the file's bytes. Raises PhotosError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> PhotosError:
    return PhotosError(f"{path} cannot be read", str(error), "check its permissions, or remove it")
