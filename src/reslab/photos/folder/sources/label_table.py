"""Labels in a table: a CSV or TSV file with a row for each photo: its file, its class, perhaps its split."""

from __future__ import annotations

import csv
import io
import os
import re
import reprlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reslab.errors import PhotosError
from reslab.photos.folder.layout import SPLIT_NAMES, FoundPaths, unreadable
from reslab.text import count_and_names, printable

from .photo_index import PhotoIndex, plain_name, without

SUFFIXES = (".csv", ".tsv", ".txt")
FILE_COLUMNS = (
    *("file", "filename", "filepath", "path", "image", "imagename", "imageid", "imagepath", "imagefile"),
    *("img", "imgname", "photo", "photoid", "picture", "id"),
)
LABEL_COLUMNS = (
    *("label", "labels", "labelname", "class", "classname", "category", "categoryname", "target"),
    *("breed", "species", "diagnosis"),
)
SPLIT_COLUMNS = ("split", "set", "subset", "partition")
NOT_LABELS = re.compile(r"submission|predict|probabilit", re.IGNORECASE)  # in the names of files and columns
DELIMITERS = "\t;,|"
SAMPLED_ROWS = 50
MAX_TABLE_BYTES = 2**28
HOW = "a table has a column file, a column label and perhaps a column split"


@dataclass(frozen=True)
class LabelTable:
    """Photos of a table.

    Attributes:
        path: the table.
        folder: folder that the paths are relative to: that of the table.
        found: {split: {class: sorted paths}}; the split is "all" if the table names none.
        missing: files of the table that are not in the folder.
        unlabeled: photos whose row has no label.
        unlisted: photos that have no row.
    """

    path: Path
    folder: Path
    found: FoundPaths
    missing: tuple[str, ...]
    unlabeled: tuple[str, ...]
    unlisted: tuple[str, ...]

    @property
    def labels(self) -> dict[str, str]:
        """{path: class} of all photos."""
        return {path: name for of in self.found.values() for name, paths in of.items() for path in paths}

    @property
    def notes(self) -> list[str]:
        """Lines on where the labels are from, and on rows and photos that are not used."""
        total = sum(len(paths) for of in self.found.values() for paths in of.values())
        lines = [f"labels from {self.path.name}: {total:,} photos"]
        for what, names in (
            ("rows of files that are missing", self.missing),
            ("photos whose row has no label", self.unlabeled),
            ("photos without a row", self.unlisted),
        ):
            if names:
                lines.append(f"skipping {what}: {count_and_names(names)}")
        return lines


@dataclass(frozen=True)
class _Rows:
    """Rows of a table: their line numbers and cells, and the names of the columns, or None."""

    path: Path
    lines: list[int]
    cells: list[list[str]]
    header: list[str] | None

    def column(self, index: int) -> list[str]:
        return [row[index].strip() for row in self.cells]

    def name(self, index: int) -> str:
        return repr(self.header[index]) if self.header else f"number {index + 1}"


def read_table(path: Path, *, column: str | None = None, photos: PhotoIndex | None = None) -> LabelTable:
    """Read a table of labels, and match its rows to the photos in its folder and the folders below.

    A file is named by its path, by the end of its path, and with or without its suffix. Numbers are names of
    classes like any other text.

    Args:
        path: the table, with or without a header.
        column: name of the column of labels, if several could be.
        photos: photos of the table's folder, if they were listed before.

    Raises:
        PhotosError: the file cannot be read, its columns can be understood in no way or in several, a row
            fits two photos, or a photo has two labels or two splits.
    """
    rows = _read_rows(path)
    photos = photos or PhotoIndex(path.parent)
    files, skipped = _file_column(rows, photos)
    rows = _with_header(rows, files, photos, skipped)
    rows = _with_labels(rows, files) if column is None else rows
    label = _label_column(rows, files, column)
    split = _split_column(rows, (files, label))
    return _match(rows, photos, files, label, split, skipped)


def _read_rows(path: Path) -> _Rows:
    """Return all rows of a table that are not blank, without a header yet. Raises PhotosError."""
    try:
        size = path.stat().st_size
        if size > MAX_TABLE_BYTES:
            why = f"it has {size:,} bytes, more than the limit of {MAX_TABLE_BYTES:,}"
            raise PhotosError(f"{path} is not a table of labels", why, HOW)
        content = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"byte {error.start:,} is not UTF-8 text"
        raise PhotosError(f"{path} cannot be read", why, "save it as CSV UTF-8") from error
    lines = list(io.StringIO(text, newline=""))
    delimiters = [each for each in DELIMITERS if _columns(lines[:SAMPLED_ROWS], each) > 1]
    delimiters = delimiters or [each for each in DELIMITERS if _columns(lines[:1], each) > 1]
    if not delimiters:
        first = printable(reprlib.repr(lines[0].strip())) if lines else "nothing"
        why = f"its lines are not cells between commas, semicolons or tabs; the first is {first}"
        raise PhotosError(f"{path} is not a table of labels", why, HOW)
    reader = csv.reader(lines, delimiter=delimiters[0], skipinitialspace=True)
    numbers, cells, start = list[int](), list[list[str]](), 1
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                numbers.append(start)
                cells.append(row)
            start = reader.line_num + 1
    except csv.Error as error:
        raise PhotosError(
            f"{path} cannot be read", f"line {start:,}: {error}", "correct this line"
        ) from error
    width = len(cells[0])
    for number, row in zip(numbers, cells, strict=True):
        if len(row) != width:
            why = f"line {number:,} has {len(row)} cells, line {numbers[0]:,} has {width}"
            raise PhotosError(f"{path} cannot be read", why, "put a cell with a comma in it into quotes")
    return _Rows(path, numbers, cells, None)


def _columns(lines: Sequence[str], delimiter: str) -> int:
    """Return the number of cells in each of the lines; 0 if they differ."""
    try:
        counts = {len(row) for row in csv.reader(lines, delimiter=delimiter, skipinitialspace=True) if row}
    except csv.Error:
        return 0
    return counts.pop() if len(counts) == 1 else 0


def _file_column(rows: _Rows, photos: PhotoIndex) -> tuple[int, int]:
    """Return the column that names photos, and how many first parts of its paths to leave out.

    Raises PhotosError if no column does, or two columns name different photos.
    """
    named = [i for i, cell in enumerate(rows.cells[0]) if _key(cell) in FILE_COLUMNS]
    found = dict[int, tuple[int, list[tuple[str, ...]]]]()
    for index in named or range(len(rows.cells[0])):
        names = [plain_name(cell) for cell in rows.column(index)]
        parts = photos.strip(names[1:] or names)
        matches = [tuple(photos.find(without(name, parts))) for name in names]
        if any(matches):
            found[index] = parts, matches
    if not found:
        where = f"{len(photos.paths):,} photos in {rows.path.parent} and below"
        example = printable(reprlib.repr(rows.cells[-1][named[0] if named else 0]))
        raise PhotosError(
            f"{rows.path} names no photo", f"compared its cells, such as {example}, with {where}",
            "put the table into the folder of the photos, with a column file: cat/1.jpg",
        )  # fmt: skip
    best = max(found, key=lambda index: (sum(map(bool, found[index][1])), -index))
    for index, (_, matches) in found.items():
        both = zip(matches, found[best][1], strict=True)
        if index != best and sum(map(bool, matches)) > len(matches) / 2 and any(a != b for a, b in both):
            both_names = f"{rows.cells[0][best]!r} and {rows.cells[0][index]!r}"
            why = f"the columns that begin with {printable(both_names)} name different photos"
            raise PhotosError(f"{rows.path} can be read in two ways", why, "keep one of the columns: file")
    return best, found[best][0]


def _with_header(rows: _Rows, files: int, photos: PhotoIndex, skipped: int) -> _Rows:
    """Return the rows without their header, if the first row is one: it names columns and no photo."""
    first = rows.cells[0]
    known = FILE_COLUMNS + LABEL_COLUMNS + SPLIT_COLUMNS
    is_photo = bool(photos.find(without(plain_name(first[files]), skipped)))
    looks_like_file = bool(re.search(r"\.\w{2,5}$", first[files].strip()))
    if is_photo or (looks_like_file and not any(_key(cell) in known for cell in first)):
        return rows
    return _Rows(rows.path, rows.lines[1:], rows.cells[1:], [cell.strip() for cell in first])


def _with_labels(rows: _Rows, files: int) -> _Rows:
    """Return the rows with a column of labels in place of one column of 0 and 1 for each class.

    Other rows are returned as they are. Raises PhotosError if a photo is in several classes, or in none.
    """
    header = rows.header or []
    known = LABEL_COLUMNS + SPLIT_COLUMNS + FILE_COLUMNS
    classes = [i for i, name in enumerate(header) if i > files and _key(name) not in known]
    has_label = any(_key(name) in LABEL_COLUMNS for name in header)
    if (
        has_label
        or len(classes) < 2
        or not set().union(*map(rows.column, classes)) <= {"0", "1", "0.0", "1.0"}
    ):
        return rows
    cells = list[list[str]]()
    for number, row in zip(rows.lines, rows.cells, strict=True):
        own = [header[i] for i in classes if float(row[i]) == 1]
        if len(own) != 1:
            what = f"line {number:,} of {rows.path} puts {printable(row[files])} into {len(own)} classes"
            why = f"its columns of 1 are {', '.join(own)}" if own else "each of its columns has 0"
            why += "; a photo has one label, several are not supported"
            raise PhotosError(what, printable(why), "give each photo one class")
        cells.append([cell for i, cell in enumerate(row) if i not in classes] + own)
    kept = [name for i, name in enumerate(header) if i not in classes]
    return _Rows(rows.path, rows.lines, cells, [*kept, LABEL_COLUMNS[0]])


def _label_column(rows: _Rows, files: int, wanted: str | None) -> int:
    """Return the column of labels. Raises PhotosError if there is none, or several could be."""
    header = rows.header or []
    others = [i for i in range(len(rows.cells[0])) if i != files] if rows.cells else []
    if wanted is not None:
        if wanted in header:
            return header.index(wanted)
        why = f"its columns are {printable(', '.join(header))}" if header else "it has no header"
        raise PhotosError(f"{rows.path} has no column {wanted!r}", why, "name one of its columns after #")
    if header and any(NOT_LABELS.search(name) for name in header):
        why = f"its columns are {printable(', '.join(header))}"
        raise PhotosError(
            f"{rows.path} holds predictions, not labels", why, f"give {_example(rows, 'label')}"
        )
    named = [i for i in others if header and _key(header[i]) in LABEL_COLUMNS]
    plain = [i for i in others if not (header and _key(header[i]) in SPLIT_COLUMNS + FILE_COLUMNS)]
    if not header and len(others) == 2:  # a split in the third or second column
        plain = [i for i in plain if not _are_splits(rows.column(i))]
    candidates = named or plain or (others if len(others) == 1 else [])
    if len(candidates) == 1:
        return candidates[0]
    names = [rows.name(i) for i in candidates]
    if not candidates:
        raise PhotosError(f"{rows.path} has no column of labels", f"its columns are {', '.join(header)}", HOW)
    first = header[candidates[0]] if header else "label"
    raise PhotosError(
        f"{rows.path} can be read in {len(candidates)} ways",
        printable(f"each of the columns {', '.join(names[:8])} may hold the labels"),
        f"name the one to use: {_example(rows, first)}" if header else "give it a header: file,label",
    )


def _example(rows: _Rows, column: str) -> str:
    return printable(shlex.quote(f"{rows.path}#{column}"))


def _split_column(rows: _Rows, used: tuple[int, int]) -> int | None:
    """Return the column of splits, or None. Raises PhotosError if its cells are not splits."""
    if rows.header is None:
        others = [i for i in range(len(rows.cells[0])) if i not in used]
        return next((i for i in others if _are_splits(rows.column(i))), None)
    found = [i for i, name in enumerate(rows.header) if _key(name) in SPLIT_COLUMNS and i not in used]
    if not found:
        return None
    for number, cell in zip(rows.lines, rows.column(found[0]), strict=True):
        if _split(cell) is None:
            why = f"line {number:,} has {reprlib.repr(cell)}; the splits are train, val and test"
            do = "correct it, or give the column another name, so that photos are split at random"
            raise PhotosError(f"{rows.path} has an unknown split", printable(why), do)
    return found[0]


def _match(
    rows: _Rows, photos: PhotoIndex, files: int, label: int, split: int | None, skipped: int
) -> LabelTable:
    """Return the photos of all rows. Raises PhotosError for a row of two photos, or a photo of two rows."""
    row_of, missing, unlabeled = dict[str, int](), list[str](), list[str]()
    labels, splits = rows.column(label), None if split is None else rows.column(split)
    for row, cell in enumerate(rows.column(files)):
        found = photos.find(without(plain_name(cell), skipped))
        if len(found) > 1:
            raise PhotosError(
                f"line {rows.lines[row]:,} of {rows.path} fits {len(found)} photos: {printable(cell)}",
                printable(f"they are {' and '.join(found[:2])}"),
                "write the whole path of each photo into the table, relative to its folder",
            )
        if not found:
            missing.append(cell)
            continue
        if not labels[row]:
            unlabeled.append(found[0])
            continue
        before = row_of.setdefault(found[0], row)
        for values, what in ((labels, "label"), (splits, "split")):
            if values is not None and values[before] != values[row]:
                raise PhotosError(
                    f"{rows.path} gives {printable(found[0])} two {what}s",
                    printable(
                        f"line {rows.lines[before]:,} has {values[before]}, line {rows.lines[row]:,} has "
                        f"{values[row]}; a photo has one {what}, several labels a photo are not supported"
                    ),
                    "keep one of the two lines",
                )
    if not row_of:
        why = f"{len(missing):,} rows name missing files, {len(unlabeled):,} have no label"
        raise PhotosError(f"{rows.path} labels no photo", why, HOW)
    by_folder = {path.split(os.sep)[0].lower() for path in row_of}
    has_split_folders = len(by_folder) > 1 and _are_splits([*by_folder])
    result: FoundPaths = {}
    for path in photos.paths:  # sorted
        if path in row_of:
            row = row_of[path]
            where = path.split(os.sep)[0] if has_split_folders else "all"
            name = _split(where if splits is None else splits[row]) or "all"
            result.setdefault(name, {}).setdefault(labels[row], []).append(path)
    known = row_of.keys() | set(unlabeled)
    unlisted = [path for path in photos.paths if path not in known]
    return LabelTable(rows.path, rows.path.parent, result, tuple(missing), tuple(unlabeled), tuple(unlisted))


def _are_splits(cells: Sequence[str]) -> bool:
    return all(_split(cell) is not None for cell in cells)


def _split(cell: str) -> str | None:
    """Return train, val or test for a name of it, else None."""
    return next((split for split, names in SPLIT_NAMES.items() if cell.lower() in names), None)


def _key(name: str) -> str:
    """Return the name of a column in lower case, without anything but letters: imagepath for Image_Path."""
    return re.sub(r"[^a-z]", "", name.casefold())
