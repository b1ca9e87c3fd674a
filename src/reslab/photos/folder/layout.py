"""Find the photos of a folder with their class and split, by names and places alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from reslab.errors import PhotosError
from reslab.photos.decoding.decode import SUFFIXES
from reslab.photos.decoding.first_bytes import begins_as_image

SPLIT_NAMES = {
    "train": ("train", "training", "train_set", "training_set"),
    "val": ("val", "valid", "validation", "val_set", "validation_set"),
    "test": ("test", "testing", "test_set", "testing_set"),
}
ALL_SPLIT_NAMES = frozenset(sum(SPLIT_NAMES.values(), ()))
SYSTEM_FOLDERS = (
    *("__MACOSX", "__pycache__", "@eaDir"),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found"),
)
NOT_KEPT = {  # attributes of a torchvision ImageFolder, and what takes their place
    "loader": "reslab decodes the photos itself",
    "transform": "the recipe says how photos are cropped and changed",
    "target_transform": "labels are the names of the classes",
}
TORCHVISION_LOADERS = ("default_loader", "pil_loader", "accimage_loader")
SkipReason = Literal["", "visited", "unreadable"]
FoundPaths = dict[str, dict[str, list[str]]]  # {split: {class: paths relative to the folder}}


def find_splits(folder: Path) -> FoundPaths:
    """Find the photos of a folder with train/, val/ and test/, or of a folder of classes.

    Returns:
        {split: {class: sorted paths, relative to `folder`}}. The splits are "train" and, if they have class
        folders, "val" and "test"; or only "all" for a folder of classes. A class may have no paths.

    Raises:
        PhotosError: the folder is missing, cannot be read, has no photos in class folders, has val/ or test/
            but no train/, has a train/ without class folders, or holds a folder with train/ in it.
    """
    check_folder(folder)
    splits = _split_folders(folder)
    _refuse_without_train(folder, splits)
    found = {split: _find_classes(path, folder) for split, path in splits.items()}
    if "train" not in found:
        found = {"all": _find_classes(folder, folder)}
    for name in found.get("all", {}):
        _refuse_nested(folder / name, folder)
    if loose_train := _train_without_classes(found.get("all", {})):
        raise _bad_train(folder / loose_train)
    if not any(paths for classes in found.values() for paths in classes.values()):
        loose = _count_loose(folder)
        why = f"looked for {', '.join(SUFFIXES)} in {sum(len(c) for c in found.values())} class folders"
        raise PhotosError(
            f"{folder} has photos, but no class folders" if loose else f"{folder} has no photos",
            f"{loose} photos are in the folder itself, so their class is unknown" if loose else why,
            "give the folder that holds one folder per class: data/train/cat/1.jpg",
        )
    return found


def unused_photos(folder: Path) -> list[str]:
    """Return notes on photos, and folders of them, that find_splits skips. [] if it uses all."""
    splits = _split_folders(folder)
    used = list(splits.values()) if "train" in splits else []
    others = [path for path in _folders(folder) if path not in used] if used else []
    flat = [path for path in others if path.name.lower() in ALL_SPLIT_NAMES and not _folders(path)]
    names = [path.name for path in others if path not in flat]
    loose = {path: _count_loose(path) for path in (folder, *used, *flat)}
    notes = [f"skipping folders other than train, val and test: {', '.join(names)}"] if names else []
    notes += [f"skipping photos outside class folders: {n:,} in {path}" for path, n in loose.items() if n]
    return notes


def find_test_folder(folder: Path) -> Path | None:
    """Return the path of test/, else val/, of a folder that holds no other folders, if it has photos.

    Return None for other folders, and if neither has photos. The folders may have any name of SPLIT_NAMES.

    Raises:
        PhotosError: the folder is missing, is not a folder, or cannot be read.
    """
    check_folder(folder)
    splits = _split_folders(folder)
    if "train" in splits or len(_folders(folder)) > len(splits):
        return None
    candidates = (splits[name] for name in ("test", "val") if name in splits)
    return next((path for path in candidates if next(_walk(path), None) is not None), None)


def from_image_folder(source: Any) -> tuple[Path, FoundPaths, list[str]]:
    """Return the root of a torchvision ImageFolder, {"all": {class: paths relative to the root}}, and notes.

    The class of a photo is the name that the object's class_to_idx gives its label. Hidden files and files in
    hidden or system folders are left out. What the object does to photos or labels is not kept: a note names
    it. Nothing is read from the disk.
    """
    folder = Path(source.root)
    names = {index: name for name, index in reversed(source.class_to_idx.items())}
    classes: dict[str, list[str]] = {name: [] for name in names.values()}
    for path, index in source.samples:
        relative = os.path.relpath(path, folder)
        if not any(is_hidden(part) for part in Path(relative).parts if part != ".."):
            classes[names[index]].append(relative)
    return folder, {"all": classes}, [note for name in NOT_KEPT if (note := _not_kept(source, name))]


def _not_kept(source: Any, name: str) -> str:
    """Return a note if the attribute `name` of an ImageFolder does something; else ""."""
    value = getattr(source, name, None)
    if value is None or (name == "loader" and getattr(value, "__name__", "") in TORCHVISION_LOADERS):
        return ""
    return f"the {name} of the {type(source).__name__} is not used: {NOT_KEPT[name]}"


def find_photos(folder: Path) -> list[Path]:
    """Return the paths of all photos in `folder` and below, with `folder`, sorted folder by folder.

    Links are followed, but each folder counts once. A folder that cannot be read is left out. The list is
    empty if the folder is missing.
    """
    return [Path(path) for path in _sorted_photos(folder)]


def _sorted_photos(folder: Path) -> list[str]:
    return sorted(_walk(folder), key=lambda path: path.replace(os.sep, "\0"))  # folder by folder


def _walk(folder: Path) -> Iterator[str]:
    """Yield what find_photos returns, unsorted."""
    for _, entries, _ in walk_folders(folder):
        yield from (entry.path for entry in entries if is_photo(entry))


def walk_folders(folder: Path) -> Iterator[tuple[str, list[os.DirEntry[str]], SkipReason]]:
    """Yield (path, entries, "") of `folder` and the folders below it, sorted, but not of hidden ones.

    Links are followed. A folder that was reached before, or that cannot be read, has no entries, and the
    third value tells why.
    """
    visited = {_identity(parent) for parent in folder.absolute().parents if os.path.exists(parent)}
    waiting = [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        try:
            if (number := _identity(place)) in visited:
                yield place, [], "visited"
                continue
            visited.add(number)
            entries = list(os.scandir(place))
        except OSError:
            yield place, [], "unreadable"
            continue
        yield place, entries, ""
        inside = [entry.path for entry in entries if _is_folder(entry) and not is_hidden(entry.name)]
        waiting += sorted(inside, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_photo(path: Path | str | os.DirEntry[str], *, even_hidden: bool = False) -> bool:
    """Return whether a path is a file with an image's suffix and is not hidden. Nothing is decoded.

    A file without a suffix counts if it begins as an image does. A missing file or broken link gives False,
    and so does a file in a folder that cannot be searched.

    Args:
        path: an os.DirEntry of a regular file costs no system call.
        even_hidden: count hidden files, too.
    """
    name = os.path.basename(path)
    suffix = os.path.splitext(name.lstrip("."))[1].lower()
    if (suffix and suffix not in SUFFIXES) or (name.startswith(".") and not even_hidden):
        return False
    try:
        is_file = path.is_file() if isinstance(path, os.DirEntry) else stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
    return is_file and (bool(suffix) or begins_as_image(path))


def unreadable(path: Path, error: OSError) -> PhotosError:
    """Return the error to raise for a file or folder that exists and cannot be read."""
    return PhotosError(
        f"{path} cannot be read", error.strerror or str(error), "check its permissions, or remove it"
    )


def check_folder(folder: Path) -> None:
    """Raise PhotosError if this is not a folder, does not exist, or is out of reach without permission."""
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
        if is_folder:
            os.scandir(folder).close()
    except PermissionError as error:
        raise unreadable(folder, error) from error
    except (OSError, ValueError):  # ValueError: a null character in the name
        is_folder = None
    if not is_folder:
        what = f"there is no folder {folder}" if is_folder is None else f"{folder} is not a folder"
        raise PhotosError(what, "", "give the folder that holds one folder per class, or train/ and test/")


def _split_folders(folder: Path) -> dict[str, Path]:
    """Return {"train", "val" or "test": its folder} of the splits in `folder` that have class folders.

    A split's folder may have any name of SPLIT_NAMES, in upper or lower case. Photos are not looked for.
    Raises PhotosError for one that cannot be read.
    """
    by_name: dict[str, Path] = {}
    for path in _folders(folder):
        by_name.setdefault(path.name.lower(), path)
    found: dict[str, Path] = {}
    for split, names in SPLIT_NAMES.items():
        for name in names:
            if name in by_name and split not in found:
                check_folder(by_name[name])
                if _folders(by_name[name]):
                    found[split] = by_name[name]
    return found


def _find_classes(folder: Path, root: Path) -> dict[str, list[str]]:
    """Return {name of each folder in `folder`: sorted paths of its photos, relative to `root`}."""
    prefix = os.path.join(root, "")  # os.path.relpath takes as long as the walk
    return {
        path.name: [photo.removeprefix(prefix) for photo in _sorted_photos(path)] for path in _folders(folder)
    }


def _refuse_without_train(folder: Path, splits: Mapping[str, Path]) -> None:
    """Raise PhotosError for val or test without train: a network would learn to tell these two apart.

    A class may be named test, and its photos may lie in sub-folders. It is a split if it is the only folder,
    if val or test is the only other one, or if the only other one has sub-folders of the same names.
    """
    others = [path for path in _folders(folder) if path not in splits.values()]
    if not splits or "train" in splits or len(others) > 1:
        return
    same_names = bool(others) and any(_names(path) <= _names(others[0]) for path in splits.values())
    if others and len(splits) == 1 and not same_names:
        return
    if others and others[0].name.lower() in SPLIT_NAMES["train"]:
        raise _bad_train(others[0])
    found = " and ".join(f"{path.name}/" for path in splits.values())
    do = f"put photos to train on into {folder / 'train' / 'cat' / '1.jpg'}"
    if others and _folders(others[0]):
        do = f"if the training photos are those in {others[0]}, rename it to train"
    if same_names and len(splits) == 1:
        do += f"; if {next(iter(splits.values())).name} is a class, give it another name"
    why = "a network is trained on the class folders in train/"
    raise PhotosError(f"{folder} has {found} with class folders, but no train/", why, do)


def _names(folder: Path) -> set[str]:
    return {path.name for path in _folders(folder)}


def _bad_train(path: Path) -> PhotosError:
    """Return the error to raise for a folder that is meant as train.

    Its problem is its name if it has class folders, else that it has none.
    """
    if _folders(path):
        why = "splits are found by their names: train, val and test"
        what = f"{path} has class folders, but is not named train"
        return PhotosError(what, why, "rename it, and the other splits")
    do = f"sort the photos into one folder per class: {path / 'cat' / '1.jpg'}"
    return PhotosError(f"{path} has photos, but no class folders", "their class is unknown", do)


def _refuse_nested(path: Path, folder: Path) -> None:
    """Raise PhotosError if `path`, a class folder in `folder`, is itself a folder with photos in train/."""
    train = _split_folders(path).get("train")
    if train is not None and any(_find_classes(train, path).values()):
        raise PhotosError(
            f"{folder} has no class folders, but {path.name} in it is a folder of photos",
            f"{train} has class folders: {', '.join(each.name for each in _folders(train)[:3])}",
            f"give that folder instead: {path}",
        )


def _train_without_classes(classes: Mapping[str, list[str]]) -> str | None:
    """Return the name of the train folder if these "classes" are really splits, such as train and test1.

    They are if all are named like splits, apart from final digits, and train has photos; else return None.

    Args:
        classes: {folder name: paths of its photos}.
    """
    plain = {name: name.lower().rstrip("0123456789") for name in classes}
    if not set(plain.values()) <= ALL_SPLIT_NAMES:
        return None
    return next((name for name in classes if classes[name] and plain[name] in SPLIT_NAMES["train"]), None)


def _count_loose(folder: Path) -> int:
    """Count the photos directly in `folder`. 0 if it cannot be read."""
    return sum(1 for _ in _loose(folder))


def has_photos(folder: Path) -> bool:
    """Return whether photos lie directly in `folder`. False if it cannot be read."""
    return next(_loose(folder), None) is not None


def _loose(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(PermissionError), os.scandir(folder) as entries:
        yield from filter(is_photo, entries)


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, sorted, without hidden ones; [] if it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name))
    except PermissionError:
        return []


def is_hidden(name: str) -> bool:
    """Return whether a file or folder name starts with a dot or is one of SYSTEM_FOLDERS."""
    return name.startswith(".") or name in SYSTEM_FOLDERS


def _identity(path: Path | str) -> tuple[int, int]:
    """Return (device, inode) of a folder, equal for every link that leads to it."""
    status = os.stat(path)
    return status.st_dev, status.st_ino
