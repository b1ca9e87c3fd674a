"""Which files of a folder are photos, of which class and in which split: by name and place alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reslab.errors import PhotosError
from reslab.photos.decoding.decode import SUFFIXES

from .paths import GrowingPaths, Paths

SPLIT_NAMES = {
    "train": ("train", "training", "train_set", "training_set"),
    "val": ("val", "valid", "validation", "val_set", "validation_set"),
    "test": ("test", "testing", "test_set", "testing_set"),
}
LITTER = ("__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")


def find_splits(folder: Path) -> dict[str, dict[str, Paths]]:
    """{split: {class: paths relative to folder}}; the split is "all" for one folder of classes.

    Raises PhotosError if the folder is missing, not a folder, without photos, or has splits and no train.
    """
    _check_folder(folder)
    splits = _split_folders(folder)
    _refuse_without_train(folder, splits)
    found = {split: _find_classes(path, folder) for split, path in splits.items()}
    if "train" not in found:
        found = {"all": _find_classes(folder, folder)}
    for name in found.get("all", {}):
        _refuse_nested(folder / name, folder)
    if loose_train := _train_without_classes(found.get("all", {})):
        raise _no_split(folder / loose_train)
    if not any(files for classes in found.values() for files in classes.values()):
        loose = _count_loose(folder)
        why = f"looked for {', '.join(SUFFIXES)} in {sum(len(c) for c in found.values())} folders of classes"
        raise PhotosError(
            f"{folder} has no photos" if not loose else f"{folder} has photos, but no folders of classes",
            why if not loose else f"{loose} photos lie in it directly, and nothing says what they show",
            "point to the folder that holds one folder per class: data/train/cat/1.jpg",
        )
    return found


def left_out(folder: Path) -> list[str]:
    """Notes on what a reader would expect to be used and find_splits passes over."""
    splits = _split_folders(folder)
    used = list(splits.values()) if "train" in splits else []
    beside = [path.name for path in _folders(folder) if path not in used] if used else []
    loose = {path: _count_loose(path) for path in (folder, *used)}
    unused = f"left out, no folder of classes called train, val or test: {', '.join(beside)}"
    notes = [unused] if beside else []
    return notes + [f"left out, in no folder of a class: {n:,} in {path}" for path, n in loose.items() if n]


def judged_alone(folder: Path) -> Path | None:
    """test/, or else val/, of a folder with photos in them and nothing beside them; None for any other.

    Raises PhotosError if the folder is missing or no folder.
    """
    _check_folder(folder)
    splits = _split_folders(folder)
    if "train" in splits or len(_folders(folder)) > len(splits):
        return None
    both = (splits[name] for name in ("test", "val") if name in splits)
    return next((path for path in both if next(_photos_in(path), None) is not None), None)


def _refuse_without_train(folder: Path, splits: Mapping[str, Path]) -> None:
    """Raises PhotosError for val or test without train: a network would learn to tell these apart.

    A class may be called test, and its photos may lie in folders of their own: what makes it a split is that
    it stands alone, beside the other, or beside one folder that has folders of the same names.
    """
    others = [path for path in _folders(folder) if path not in splits.values()]
    if not splits or "train" in splits or len(others) > 1:
        return
    alike = bool(others) and any(_names(path) <= _names(others[0]) for path in splits.values())
    if others and len(splits) == 1 and not alike:
        return
    if others and others[0].name.lower() in SPLIT_NAMES["train"]:
        raise _no_split(others[0])
    found = " and ".join(f"{path.name}/" for path in splits.values())
    do = f"put photos to train on into {folder / 'train' / 'cat' / '1.jpg'}"
    if others and _folders(others[0]):
        do = f"if the training photos are those in {others[0]}, rename it to train"
    if alike and len(splits) == 1:
        do += f"; if {next(iter(splits.values())).name} is a class, give it another name"
    why = "a network is trained on the folders of classes in train/"
    raise PhotosError(f"{folder} has {found} with folders of classes, and no train/", why, do)


def _names(folder: Path) -> set[str]:
    return {path.name for path in _folders(folder)}


def _no_split(path: Path) -> PhotosError:
    """What looks like train, and is not called so or has no classes."""
    if _folders(path):
        why = "splits are found by their names: train, val and test"
        return PhotosError(
            f"{path} has folders of classes, and is not called train", why, "rename it, and the others"
        )
    do = f"sort them into one folder per class: {path / 'cat' / '1.jpg'}"
    return PhotosError(f"{path} has photos, but no folders of classes", "nothing says what they show", do)


def from_image_folder(source: Any) -> tuple[Path, dict[str, dict[str, Paths]]]:
    """The folder and what find_splits would say, of a torchvision ImageFolder; its litter is left out."""
    folder = Path(source.root)
    classes = {name: GrowingPaths() for name in source.classes}
    for path, index in source.samples:
        inside = os.path.relpath(path, folder)
        if not any(_is_litter(part) for part in Path(inside).parts if part != ".."):
            classes[source.classes[index]].add(inside)
    return folder, {"all": {name: paths.freeze() for name, paths in classes.items()}}


def find_photos(folder: Path) -> list[Path]:
    """Every photo in `folder` and below, sorted; litter and folders that lead back are passed over.

    Raises PhotosError if a folder there cannot be read: its photos would be missed without a word.
    """
    return [Path(path) for path in _photos_in(folder)]


def _photos_in(folder: Path) -> Iterator[str]:
    """What find_photos finds, one at a time: of a million, the names of one folder are in memory together."""
    seen = {_identity(parent) for parent in folder.absolute().parents if os.path.exists(parent)}
    try:
        open_folders = [_inside(str(folder), seen)]
        while open_folders:
            for path, is_folder in open_folders[-1]:
                if is_folder:
                    open_folders.append(_inside(path, seen))
                    break
                if is_photo(path):
                    yield path
            else:
                open_folders.pop()
    except PermissionError as error:
        raise unreadable(Path(error.filename), error) from error


def _inside(folder: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, bool]]:
    """(path, is a folder) of all but litter, sorted; nothing of a folder seen before."""
    names, folders = list[str](), set[str]()
    try:
        if (identity := _identity(folder)) in seen:
            return
        seen.add(identity)
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _is_litter(entry.name):
                    names.append(entry.name)
                    if _is_folder(entry):
                        folders.add(entry.name)
    except PermissionError:
        raise
    except OSError:  # a folder that is gone by now has no photos
        return
    for name in sorted(names):
        yield os.path.join(folder, name), name in folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_photo(path: Path | str) -> bool:
    """By name alone: an image's suffix, and not one of the files that systems litter."""
    name = os.path.basename(path)
    if os.path.splitext(name)[1].lower() not in SUFFIXES or name.startswith("."):
        return False
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return Path(path).is_file()  # which knows which errors mean no


def unreadable(path: Path, error: OSError) -> PhotosError:
    """What to raise where a file or folder is there and does not let itself be read."""
    return PhotosError(
        f"{path} cannot be read", error.strerror or str(error), "check its permissions, or remove it"
    )


def _check_folder(folder: Path) -> None:
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except PermissionError as error:
        raise unreadable(folder, error) from error
    except (OSError, ValueError):  # also for a name that no file can have
        is_folder = None
    if not is_folder:
        what = f"there is no folder {folder}" if is_folder is None else f"{folder} is not a folder"
        raise PhotosError(what, "", "give the folder that holds one folder per class, or train/ and test/")


def _split_folders(folder: Path) -> dict[str, Path]:
    """{split: its folder}, of those that have folders of classes in them."""
    inside: dict[str, Path] = {}
    for path in _folders(folder):
        inside.setdefault(path.name.lower(), path)
    found: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        for name in names:
            if name in inside and split not in found and _folders(inside[name]):
                found[split] = inside[name]
    return found


def _find_classes(folder: Path, root: Path) -> dict[str, Paths]:
    return {
        path.name: Paths.of(os.path.relpath(photo, root) for photo in _photos_in(path))
        for path in _folders(folder)
    }


def _refuse_nested(path: Path, folder: Path) -> None:
    """Raises PhotosError if what stands in the place of a class is a folder of photos with splits itself."""
    train = _split_folders(path).get("train")
    if train is not None and any(_find_classes(train, path).values()):
        raise PhotosError(
            f"{folder} is no folder of classes, but {path.name} in it is a folder of photos",
            f"{train} has folders of classes: {', '.join(each.name for each in _folders(train)[:3])}",
            f"give that folder instead: {path}",
        )


def _train_without_classes(classes: Mapping[str, Paths]) -> str | None:
    """The folder train, if these "classes" are really splits: train/cat.0.jpg and test1/1.jpg, say."""
    meant = {name: name.lower().rstrip("0123456789") for name in classes}
    if not set(meant.values()) <= set(sum(SPLIT_NAMES.values(), ())):
        return None
    return next((name for name in classes if classes[name] and meant[name] in SPLIT_NAMES["train"]), None)


def _count_loose(folder: Path) -> int:
    return sum(is_photo(path) for path in folder.iterdir())


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_litter(path.name))
    except PermissionError as error:
        raise unreadable(folder, error) from error


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in LITTER


def _identity(path: Path | str) -> tuple[int, int]:
    """The same for every way, through whatever links, that leads to one folder."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
