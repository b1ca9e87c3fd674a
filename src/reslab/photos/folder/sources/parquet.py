"""Parquet files with a column of images and one of labels, as hubs ship data sets: unpacked as files."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab import files
from reslab.errors import PhotosError, UsageError
from reslab.files import cache_path
from reslab.photos.decoding.decode import MAGIC_BYTES, SUFFIXES
from reslab.photos.folder.layout import SPLIT_NAMES
from reslab.text import printable

from .archive import check_ratio, content_digest, make_once
from .label_table import LABEL_COLUMNS

if TYPE_CHECKING:
    from pyarrow import Schema
    from pyarrow.parquet import ParquetFile

MAGIC = b"PAR1"
TABLE = "labels.csv"
ROWS_PER_BATCH = 16  # in memory at a time
IMAGE_COLUMNS = ("image", "img", "photo", "picture", "jpg", "png")
PLACES = (".", "data", "default")  # folders of a data set's copy that hold its files


@dataclass(frozen=True)
class _Columns:
    """Columns of a Parquet file: of images, whether they are structs, of labels, and the labels' names."""

    image: str
    is_struct: bool
    label: str
    names: tuple[str, ...] | None


def find_shards(path: Path) -> list[tuple[str, Path]]:
    """Return (split, file) of the Parquet files that a path stands for, sorted; [] if it stands for none.

    Splits are named by the files, train-00000-of-00002.parquet, or by their folders, train/0000.parquet. The
    split is "all" if no name is one of a split.
    """
    if os.path.isfile(path):
        if path.suffix.lower() != ".parquet":
            return []
        found = [path]
    else:
        found = list(_in_folder(path))
    named = [(_split_of(file), file) for file in found]
    if any(split for split, _ in named):
        return [(split, file) for split, file in named if split]
    return [("all", file) for _, file in named]


def unpack(path: Path, shards: Sequence[tuple[str, Path]], *, column: str | None, progress: bool) -> Path:
    """Write the images of Parquet files into the user's cache folder, with a table of their labels.

    The cache is found by the content of the files. Images keep their bytes, so nothing is decoded.

    Args:
        path: file or folder that was given, for errors.
        shards: (split, file) of each Parquet file.
        column: name of the column of labels, if several could be.
        progress: show a progress bar, if stderr is a terminal.

    Returns:
        The table, with the columns file, label and split.

    Raises:
        PhotosError: a file is damaged, has no column of images, none of labels or several, or lacks the bytes
            of an image; or the disk is too full.
        UsageError: pyarrow is missing.
    """
    try:
        from pyarrow.lib import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise UsageError(
            f"{path} is Parquet, which is read by pyarrow", str(error), 'pip install "reslab[parquet]"'
        ) from error
    key = content_digest([file for _, file in shards])
    place = cache_path("unpacked") / (key if column is None else f"{key}-{column.encode().hex()[:32]}")
    with make_once(place) as unfinished:
        if unfinished is not None:
            try:
                opened = [(split, file, ParquetFile(file)) for split, file in shards]
                for _, file, shard in opened:
                    groups = map(shard.metadata.row_group, range(shard.metadata.num_row_groups))
                    check_ratio(file, file.stat().st_size, sum(group.total_byte_size for group in groups))
                columns = [_find_columns(file, parquet.schema_arrow, column) for _, file, parquet in opened]
                _write(opened, columns, unfinished, progress)
            except (ArrowException, EOFError, MemoryError) as error:
                why = printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
                raise PhotosError(f"{path} is damaged", why, "download it again") from error
    return place / TABLE


def _in_folder(folder: Path) -> Iterator[Path]:
    for place in PLACES:
        inside = folder / place
        if inside.is_dir():
            found = sorted(inside.glob("*.parquet")) + sorted(inside.glob("*/*.parquet"))
            if found:
                yield from (file for file in found if file.is_file())
                return


def _split_of(file: Path) -> str | None:
    """Return the split that a file's name or its folder's name begins with, else None."""
    for name in (file.stem, file.parent.name):
        first = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
        for split, names in SPLIT_NAMES.items():
            if first in names:
                return split
    return None


def _find_columns(file: Path, schema: Schema, wanted: str | None) -> _Columns:
    """Return the columns of images and labels. Raises PhotosError if they are missing or not clear."""
    import pyarrow.types as types

    features = _features(schema)
    images = [
        name
        for name in schema.names
        if types.is_binary(schema.field(name).type)
        or types.is_large_binary(schema.field(name).type)
        or (
            types.is_struct(schema.field(name).type) and schema.field(name).type.get_field_index("bytes") >= 0
        )
    ]
    declared = [name for name in images if features.get(name, {}).get("_type") == "Image"]
    usual = [name for name in images if name.lower() in IMAGE_COLUMNS]
    images = declared or usual or images
    columns = printable(", ".join(f"{field.name} ({field.type})" for field in schema))
    if len(images) != 1:
        what = f"{len(images)} columns of images" if images else "no column of images"
        do = "give a file with a column image, which holds the bytes of JPEG or PNG files"
        raise PhotosError(f"{file} has {what}", f"its columns are {columns}", do)
    simple = [
        name
        for name in schema.names
        if types.is_integer(schema.field(name).type) or types.is_string(schema.field(name).type)
        or types.is_large_string(schema.field(name).type) or types.is_dictionary(schema.field(name).type)
    ]  # fmt: skip
    declared = [name for name in simple if features.get(name, {}).get("_type") == "ClassLabel"]
    usual = [name for name in simple if re.sub(r"[^a-z]", "", name.lower()) in LABEL_COLUMNS]
    labels = declared or usual or simple
    if wanted is not None:
        labels = [wanted] if wanted in simple else []
    if len(labels) != 1:
        if not labels:
            what = f"{file} has no column of labels" + (f" {wanted!r}" if wanted else "")
            raise PhotosError(what, f"its columns are {columns}", "a column label holds numbers or texts")
        example = printable(shlex.quote(f"{file}#{labels[0]}"))
        why = f"each of the columns {printable(', '.join(labels[:8]))} may hold the labels"
        raise PhotosError(f"{file} can be read in {len(labels)} ways", why, f"name one: {example}")
    names = features.get(labels[0], {}).get("names")
    is_number = types.is_integer(schema.field(labels[0]).type)
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    is_struct = types.is_struct(schema.field(images[0]).type)
    return _Columns(images[0], is_struct, labels[0], tuple(names) if is_number and is_list else None)


def _features(schema: Schema) -> dict[str, Any]:
    """Return the features that a hub wrote into the metadata of a schema; {} without valid ones."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: value for name, value in features.items() if isinstance(value, dict)}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}


def _write(
    opened: Sequence[tuple[str, Path, ParquetFile]], columns: Sequence[_Columns], folder: Path, progress: bool
) -> None:
    """Write the images as split/class number/name, and the table. Raises PhotosError and OSError."""
    from tqdm.auto import tqdm

    total = sum(parquet.metadata.num_rows for _, _, parquet in opened)
    packed = sum(file.stat().st_size for _, file, _ in opened)
    keep_names = _names_are_different(opened, columns)
    numbers, rows, written = dict[str, int](), [("file", "label", "split")], 0
    bar = tqdm(total=total, desc="unpacking", unit=" photos", disable=None if progress else True)
    with bar:
        for (split, file, parquet), own in zip(opened, columns, strict=True):
            for name, content, label in _images(file, parquet, own):
                number = len(rows)
                bar.update()
                stem = f"{number:08}{_suffix(content)}"
                where = numbers.setdefault(label, len(numbers)) if label else 0
                target = f"{split}/{where:05}/{name if keep_names else stem}"
                written += len(content)
                check_ratio(file, packed, written)
                files.check_free_disk(folder.parent, len(content))
                path = folder / target
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                rows.append((target, label, split))
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(
        rows if len({split for split, _, _ in opened}) > 1 else [r[:2] for r in rows]
    )
    files.write(folder / TABLE, buffer.getvalue().encode())


def _images(file: Path, parquet: ParquetFile, columns: _Columns) -> Iterator[tuple[str, bytes, str]]:
    """Yield (name, bytes, class) of each row; "" for a name or a class that is not there."""
    batches = parquet.iter_batches(ROWS_PER_BATCH, columns=[columns.image, columns.label])
    row = 0
    with closing(batches):
        for batch in batches:
            images, labels = batch.column(columns.image), batch.column(columns.label)
            for image, label in zip(images, labels, strict=True):
                row += 1
                value = image.as_py()
                content = value.get("bytes") if isinstance(value, dict) else value
                if not isinstance(content, bytes):
                    why = f"row {row:,} has a path and no bytes" if value else f"row {row:,} has no image"
                    raise PhotosError(
                        f"{file} lacks images", why, "download the images, and give their folder"
                    )
                yield _name(value), content, _class(file, row, label.as_py(), columns.names)


def _class(file: Path, row: int, label: object, names: tuple[str, ...] | None) -> str:
    """Return the name of a label; "" for none, which data sets write as null or -1."""
    if label is None or (names is not None and label == -1):
        return ""
    if names is None:
        return str(label)
    assert isinstance(label, int)
    if not 0 <= label < len(names):
        why = f"row {row:,} has the label {label}, and there are names for {len(names):,} classes"
        raise PhotosError(f"{file} is damaged", why, "download it again")
    return names[label]


def _name(value: object) -> str:
    """Return the file name of an image, or ""."""
    path = value.get("path") if isinstance(value, dict) else None
    name = re.split(r"[/\\]", path)[-1] if isinstance(path, str) else ""
    is_plain = name.lower().endswith(SUFFIXES) and not name.startswith(".") and "\0" not in name
    return name if is_plain and len(name.encode()) < 200 else ""


def _names_are_different(
    opened: Sequence[tuple[str, Path, ParquetFile]], columns: Sequence[_Columns]
) -> bool:
    """Return whether every image has a file name of its own within its split and class."""
    seen = set[tuple[str, object, str]]()
    for (split, _, parquet), own in zip(opened, columns, strict=True):
        if not own.is_struct or parquet.schema_arrow.field(own.image).type.get_field_index("path") < 0:
            return False
        for batch in parquet.iter_batches(2**14, columns=[f"{own.image}.path", own.label]):
            paths, labels = batch.column(0).field("path"), batch.column(1)
            for path, label in zip(paths, labels, strict=True):
                place = (split, label.as_py(), _name({"path": path.as_py()}).casefold())
                if not place[2] or place in seen:
                    return False
                seen.add(place)
    return True


def _suffix(content: bytes) -> str:
    """Return the suffix of an image's format by its first bytes; .jpg if it is not one of the usual ones."""
    for kind, magic in MAGIC_BYTES.items():
        if content.startswith(magic):
            return {"JPEG": ".jpg"}.get(kind, f".{kind.lower()}")
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    return ".tif" if content[:4] in (b"II*\0", b"MM\0*") else ".bmp" if content[:2] == b"BM" else ".jpg"
