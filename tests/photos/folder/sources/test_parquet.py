"""Parquet files as hubs ship them: columns, names of classes, splits and shards."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from reslab.errors import PhotosError, UsageError
from reslab.photos.folder.sources.find import find_labeled

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
JPEG = b"\xff\xd8\xff"


def write(path: Path, columns: dict[str, Any], features: dict[str, Any] | None = None) -> Path:
    """Write a Parquet file, with the features that a hub would write into its metadata."""
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def images(*names: str) -> list[dict[str, Any]]:
    return [{"bytes": JPEG + name.encode(), "path": f"{name}.jpg"} for name in names]


def content(source: Path) -> dict[str, dict[str, list[bytes]]]:
    found = find_labeled(source)
    return {
        split: {name: [(found.folder / path).read_bytes() for path in paths] for name, paths in of.items()}
        for split, of in found.found.items()
    }


HUB = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog/wolf"]}}
BOTH = {"all": {"cat": [JPEG + b"1", JPEG + b"3"], "dog/wolf": [JPEG + b"2"]}}


@pytest.mark.parametrize(
    ("columns", "features"),
    [
        ({"image": images("1", "2", "3"), "label": [0, 1, 0]}, HUB),
        (
            {"label": ["cat", "dog/wolf", "cat"], "img": [each["bytes"] for each in images("1", "2", "3")]},
            None,
        ),
        ({"picture": images("1", "2", "3"), "kind": ["cat", "dog/wolf", "cat"]}, None),
        ({"image": images("1", "1", "1"), "label": [0, 1, 0]}, HUB),  # two images of one name
        ({"image": images("3", "1", "2"), "label": [0, 0, 1], "width": [1, 2, 3]}, HUB),
    ],
)
def test_images_are_unpacked_with_the_names_of_their_classes(
    tmp_path: Path, columns: dict[str, Any], features: dict[str, Any] | None
) -> None:
    found = content(write(tmp_path / "x.parquet", columns, features))
    if len({each["path"] for each in columns.get("image", []) if isinstance(each, dict)}) == 1:
        assert found == {"all": {"cat": [JPEG + b"1"] * 2, "dog/wolf": [JPEG + b"1"]}}
    else:
        assert found == BOTH


@pytest.mark.parametrize(
    ("files", "splits"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"], {"all": 4}),
        (["data/train-00000-of-00001-ab12.parquet", "data/test-00000-of-00001-cd34.parquet"],
         {"train": 2, "test": 2}),
        (["train.parquet", "validation.parquet", "test.parquet"], {"train": 2, "val": 2, "test": 2}),
        (["default/train/0000.parquet", "default/test/0000.parquet"], {"train": 2, "test": 2}),
        (["0000.parquet", "0001.parquet"], {"all": 4}),
    ],
)  # fmt: skip
def test_splits_are_named_by_the_files(tmp_path: Path, files: list[str], splits: dict[str, int]) -> None:
    for number, file in enumerate(files):
        write(tmp_path / file, {"image": images(f"{number}a", f"{number}b"), "label": [0, 1]}, HUB)
    (tmp_path / "README.md").write_text("a data set")
    found = find_labeled(tmp_path).found
    assert {split: sum(map(len, of.values())) for split, of in found.items()} == splits


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    found = find_labeled(
        write(tmp_path / "x.parquet", {"image": images("1", "2", "3"), "label": [0, -1, 1]}, HUB)
    )
    assert sum(map(len, found.found["all"].values())) == 2
    assert any(note.startswith("skipping photos whose row has no label: 1") for note in found.notes)


FINE = {"_type": "ClassLabel", "names": ["a", "b"]}


@pytest.mark.parametrize(
    ("columns", "features", "words"),
    [
        ({"text": ["a", "b"], "label": [0, 1]}, None, ["no column of images", "text (string), label"]),
        ({"image": images("1", "2"), "x": [1.0, 2.0]}, None, ["no column of labels"]),
        ({"img": images("1", "2"), "fine": [0, 1], "coarse": [1, 0]}, {"fine": FINE, "coarse": FINE},
         ["2 ways", "fine, coarse", "x.parquet#fine"]),
        ({"a": images("1", "2"), "b": images("3", "4"), "label": [0, 1]}, None, ["2 columns of images"]),
        ({"image": [{"bytes": None, "path": "1.jpg"}], "label": [0]}, HUB, ["row 1 has a path and no bytes"]),
        ({"image": images("1"), "label": [5]}, HUB, ["label 5", "names for 2 classes"]),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_refused(
    tmp_path: Path,
    refuses: Callable[..., AbstractContextManager[None]],
    columns: dict[str, Any],
    features: dict[str, Any] | None,
    words: list[str],
) -> None:
    path = write(tmp_path / "x.parquet", columns, features)
    if not isinstance(columns.get("image", [{}])[0].get("bytes", b""), bytes):
        columns["image"] = [{"bytes": None, "path": "1.jpg"}]
    with refuses(PhotosError, *words):
        find_labeled(path)


def test_a_column_of_labels_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"img": images("1", "2"), "fine": ["a", "b"], "coarse": ["c", "c"]})
    assert set(content(Path(f"{path}#fine"))["all"]) == {"a", "b"}
    assert set(content(Path(f"{path}#coarse"))["all"]) == {"c"}


def test_damage_and_a_missing_pyarrow_are_named(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.parquet", {"image": images("1", "2"), "label": [0, 1]}, HUB)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with refuses(PhotosError, "x.parquet is damaged"):
        find_labeled(path)
    path.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with refuses(UsageError, "Parquet", 'pip install "reslab[parquet]"'):
        find_labeled(path)
