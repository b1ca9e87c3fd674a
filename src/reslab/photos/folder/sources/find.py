"""Find the photos of any source with their class and split: folder, table, names, archive, Parquet, list."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from reslab.errors import PhotosError
from reslab.files import user_path
from reslab.photos.folder import list_file
from reslab.photos.folder.layout import (
    SPLIT_NAMES,
    FoundPaths,
    check_folder,
    find_splits,
    find_test_folder,
    has_photos,
    is_photo,
    unused_photos,
)
from reslab.photos.folder.unused import unused_entries
from reslab.text import count_and_names, printable

from . import label_table, parquet
from .archive import is_archive, unpack
from .file_names import classes_by_name
from .label_table import NOT_LABELS, LabelTable, read_table
from .photo_index import PhotoIndex

# names of folders that hold photos of any class
CONTAINERS = (
    "images",
    "image",
    "imgs",
    "img",
    "photos",
    "photo",
    "pictures",
    "jpegimages",
    "jpgs",
    "jpg",
    "data",
)
TABLES_IN_FOLDERS = (".csv", ".tsv")


@dataclass(frozen=True)
class FoundPhotos:
    """Photos of a source, by names and places alone.

    Attributes:
        folder: folder that the paths are relative to.
        found: {split: {class: paths}} as find_splits returns it. A class may have no paths.
        notes: lines on where the labels are from and on what is not used.
        listed: content of a list file; None for other sources.
    """

    folder: Path
    found: FoundPaths
    notes: list[str] = field(default_factory=list)
    listed: list_file.ListedPhotos | None = None


def find_labeled(source: Path | str, *, progress: bool = True) -> FoundPhotos:
    """Find the photos of a source with their class and split.

    Args:
        source: a folder with train/ (and val/, test/), a folder of classes, a folder whose labels are in a
            table next to the photos or in the names of the photos, a table, a list, an archive of any of
            these, or a Parquet file or a folder of them. FILE#COLUMN names the column of labels.
        progress: show a progress bar while an archive or a Parquet file is unpacked.

    Raises:
        PhotosError: the source is missing, cannot be read, has no labels, or can be read in several ways.
    """
    path, column = _split_column(user_path(source))
    path, notes = _unpacked(path, progress)
    if shards := parquet.find_shards(path):
        table = parquet.unpack(path, shards, column=column, progress=progress)
        notes.append(f"unpacked {len(shards)} Parquet files into {table.parent}")
        return _of_tables([read_table(table)], table.parent, notes)
    if os.path.isfile(path):
        if path.suffix.lower() in label_table.SUFFIXES or column is not None:
            return _of_tables([read_table(path, column=column)], path.parent, notes)
        listed = list_file.read(path)
        listed.check_exist()
        return FoundPhotos(listed.folder, listed.found, [], listed)
    found = _in_folder(path)
    return FoundPhotos(path, found.found, notes + found.notes + _unused(path, found.found))


def find_to_evaluate(source: Path | str) -> FoundPhotos:
    """Find the photos of a source as find_labeled does, but also those of a folder with test/ alone, or val/.

    Raises:
        PhotosError: see find_labeled.
    """
    path, notes = _unpacked(user_path(source), progress=True)
    if not os.path.isdir(path) or (split := find_test_folder(path)) is None:
        found = find_labeled(path)
        return FoundPhotos(found.folder, found.found, notes + found.notes, found.listed)
    inside = _in_folder(split)
    renamed = {
        name: {label: [f"{split.name}/{path}" for path in paths] for label, paths in of.items()}
        for name, of in inside.found.items()
    }
    return FoundPhotos(path, renamed, notes + inside.notes + _unused(path, renamed))


def _unused(folder: Path, found: FoundPaths) -> list[str]:
    """Return a note on each kind of entry that is not among the paths of `found`, relative to `folder`."""
    return unused_entries(folder, (path for of in found.values() for paths in of.values() for path in paths))


def local_folder(source: Path | str) -> Path:
    """Return the folder on the disk that holds the photos of a source, whatever their labels are.

    Raises:
        PhotosError: the source is missing or cannot be unpacked.
    """
    path, _ = _split_column(user_path(source))
    path, _ = _unpacked(path, progress=True)
    if os.path.isdir(path) and not parquet.find_shards(path):
        return path
    return find_labeled(source).folder


def _unpacked(path: Path, progress: bool) -> tuple[Path, list[str]]:
    """Return the folder of an archive's photos and a note; a path of anything else, and [].

    Raises PhotosError if the path is missing or cannot be read.
    """
    if not os.path.isfile(path):
        check_folder(path)
        return path, []
    if not is_archive(path):
        return path, []
    folder = unpack(path, progress=progress)
    return folder, [f"unpacked {path.name} into {folder}"]


def _split_column(path: Path) -> tuple[Path, str | None]:
    """Return FILE and COLUMN of FILE#COLUMN; a path that exists has no column."""
    name, mark, column = path.name.rpartition("#")
    if not mark or not name or os.path.lexists(path):
        return path, None
    return path.with_name(name), column


def _in_folder(folder: Path) -> FoundPhotos:
    """Find the photos of a folder. Class folders come first, then tables, then names. Raises PhotosError."""
    problem, found, notes = None, FoundPaths(), list[str]()
    try:
        found, notes = find_splits(folder), unused_photos(folder)
    except PhotosError as error:
        if not os.path.isdir(folder):
            raise
        problem = error
    tables, unread = _tables_in(folder)
    trained = found.get("train") or found.get("all") or {}
    if sum(map(bool, trained.values())) > 1:
        for table in tables:
            notes += _compare(folder, found, table)
        return FoundPhotos(folder, found, notes)
    if tables:
        return _of_tables(tables, folder, [])
    why_not = ""
    if flat := _flat_folders(folder, trained):
        by_name, why_not = _in_flat_folders(folder, flat)
        if by_name is not None:
            return by_name
    if unread:
        raise unread[0]
    if problem is None:
        return FoundPhotos(folder, found, notes)
    if why_not:
        why = f"{problem.why}; the names of the photos give none: {why_not}"
        do = f"{problem.do}; or put a table next to them: labels.csv with the columns file and label"
        raise PhotosError(problem.what, printable(why), do) from problem
    raise problem


def _tables_in(folder: Path) -> tuple[list[LabelTable], list[PhotosError]]:
    """Return the tables in a folder that label its photos, and the errors of the others."""
    paths = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in TABLES_IN_FOLDERS and not path.name.startswith(".") and path.is_file()
    )
    paths = [path for path in paths if not NOT_LABELS.search(path.name)]
    if not paths:
        return [], []
    photos, tables, unread = PhotoIndex(folder), list[LabelTable](), list[PhotosError]()
    for path in paths:
        try:
            tables.append(read_table(path, photos=photos))
        except PhotosError as error:
            unread.append(error)
    return tables, unread


def _of_tables(tables: list[LabelTable], folder: Path, notes: list[str]) -> FoundPhotos:
    """Return the photos of one table, or of tables that are named like splits: train.csv and test.csv.

    Raises PhotosError for other tables.
    """
    if len(tables) == 1:
        return FoundPhotos(folder, tables[0].found, notes + tables[0].notes)
    splits = [_split_of_name(table.path.stem) for table in tables]
    names = ", ".join(table.path.name for table in tables)
    if None in splits or len(set(splits)) < len(splits) or any("all" not in table.found for table in tables):
        raise PhotosError(
            f"{folder} can be read in {len(tables)} ways",
            printable(f"each of {names} labels its photos"),
            f"give the one to use: {printable(shlex.quote(str(tables[0].path)))}",
        )
    found: FoundPaths = {split or "": table.found["all"] for split, table in zip(splits, tables, strict=True)}
    paths = list(chain.from_iterable(chain.from_iterable(of.values() for of in found.values())))
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        why = f"{printable(twice)} is in two of {printable(names)}"
        raise PhotosError(f"{folder} has a photo in two splits", why, "keep it in one of the tables")
    for table in tables:
        others = {path for other in tables for path in other.labels}
        notes += [line for line in table.notes if not line.startswith("skipping photos without a row")]
    unlisted = [path for path in tables[0].unlisted if path not in others]
    if unlisted:
        notes.append(f"skipping photos without a row: {count_and_names(unlisted)}")
    return FoundPhotos(folder, found, notes)


def _split_of_name(stem: str) -> str | None:
    """Return train, val or test for a table named like one: train, train_labels or labels_train."""
    plain = stem.lower().replace("labels", "").strip("_-. ")
    return next((split for split, names in SPLIT_NAMES.items() if plain in names), None)


def _compare(folder: Path, found: FoundPaths, table: LabelTable) -> list[str]:
    """Return a note if a table has splits that class folders lack, else [].

    Raises PhotosError if the table divides the photos into other classes than the folders do.
    """
    by_folder = {path: name for of in found.values() for name, paths in of.items() for path in paths}
    pairs = {(by_folder[path], label): path for path, label in table.labels.items() if path in by_folder}
    quoted = printable(shlex.quote(str(table.path)))
    if len({name for name, _ in pairs}) < len(pairs) or len({label for _, label in pairs}) < len(pairs):
        (name, label), path = next(iter(pairs.items()))
        raise PhotosError(
            f"{folder} can be read in two ways",
            printable(
                f"its folders and {table.path.name} divide the photos differently: {path} is in the folder "
                f"{name}, and its label is {label}"
            ),
            f"to use the table, give {quoted} in place of the folder; to use the folders, move the table",
        )
    if "all" in found and "all" not in table.found:
        return [f"{table.path.name} has splits that are not used; to use them, give {quoted}"]
    return []


def _flat_folders(folder: Path, classes: Iterable[str]) -> dict[str, Path]:
    """Return {split: folder} of folders with photos and without class folders; {} if there are none.

    That is the folder itself as "all", or its train/ with val/ and test/, or its one folder named images.

    Args:
        folder: the folder.
        classes: names of the folders that find_splits took for classes.
    """
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if has_photos(folder):
        return {"all": folder}
    flat = {path.name.lower(): path for path in inside if has_photos(path)}
    splits = {
        split: flat[name]
        for name in reversed(flat)
        for split, names in SPLIT_NAMES.items()
        if name.rstrip("0123456789") in names
    }
    if "train" in splits:
        return splits
    if len(flat) == 1 and next(iter(flat)) in CONTAINERS:
        return {"all": next(iter(flat.values()))}
    return {}


def _in_flat_folders(folder: Path, flat: dict[str, Path]) -> tuple[FoundPhotos | None, str]:
    """Return the photos of flat folders by tables in them or by names, and ""; or None and the reason."""
    found, notes, example = FoundPaths(), list[str](), ""
    for split, place in flat.items():
        tables = _tables_in(place)[0] if place != folder else []
        if len(tables) == 1:  # train/metadata.csv
            prefix = place.name
            labels = [pair for of in tables[0].found.values() for pair in of.items()]
            for label, paths in labels:
                found.setdefault(split, {}).setdefault(label, []).extend(
                    os.path.join(prefix, path) for path in paths
                )
            notes += [f"{line} in {prefix}" for line in tables[0].notes]
            continue
        names = sorted(path.name for path in place.iterdir() if is_photo(path))
        base = os.path.relpath(place, folder)
        named = classes_by_name(names)
        if not named.classes and split in ("all", "train"):
            return None, named.why_not
        if named.classes:
            found[split] = {
                label: [name if base == "." else os.path.join(base, name) for name in of]
                for label, of in named.classes.items()
            }
            label, paths = next(iter(found[split].items()))
            example = example or f"labels from the names of the photos: {paths[0]} is {label}"
        if named.others:
            where = "" if base == "." else f"{base}/"
            notes.append(
                f"skipping photos without a class in their name: {count_and_names(named.others, where)}"
            )
    return FoundPhotos(folder, found, [*filter(None, [example]), *notes]), ""
