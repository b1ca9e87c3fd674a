"""Sources of photos: the same photos in any form give the same Photos; two readings are refused."""

from __future__ import annotations

import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reslab
from reslab import Photos
from reslab.errors import PhotosError
from reslab.evaluation.photo_paths import evaluation_paths
from reslab.photos.folder.sources.find import find_labeled
from reslab.training.runs.train_overlap import evaluation_photos


def add(path: Path, number: int) -> Path:
    """Write a small photo; another number gives other pixels, and from 1000 on they are brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 160, (36, 36, 3), dtype=np.uint8)
    Image.fromarray(pixels + np.uint8(90 * (number >= 1000))).save(path, "PNG")
    return path


def class_folders(folder: Path, count: int = 8) -> Path:
    for i in range(count):
        add(folder / "cat" / f"{i}.png", i)
        add(folder / "dog" / f"{i}.png", 1000 + i)
    return folder


FORMS: dict[str, Callable[[Path, Path], Path]] = {}


def form(make: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
    FORMS[make.__name__] = make
    return make


@form
def named(folder: Path, place: Path) -> Path:
    place.mkdir()
    for path in folder.rglob("*.png"):
        shutil.copy(path, place / f"{path.parent.name}.{path.name}")
    return place


@form
def named_in_zip(folder: Path, place: Path) -> Path:
    names = named(folder, place)
    with zipfile.ZipFile(place.with_suffix(".zip"), "w") as out:
        for path in names.iterdir():
            out.write(path, f"train/{path.name}")
    return place.with_suffix(".zip")


@form
def folders_in_tar(folder: Path, place: Path) -> Path:
    with tarfile.open(place.with_suffix(".tar.gz"), "w:gz") as out:
        out.add(folder, "pets")
    return place.with_suffix(".tar.gz")


@form
def table_in_folder(folder: Path, place: Path) -> Path:
    (place / "images").mkdir(parents=True)
    rows = ["id,breed"]
    for path in sorted(folder.rglob("*.png"), reverse=True):
        prefix = {"cat": "x", "dog": "a"}[path.parent.name]
        shutil.copy(path, place / "images" / f"{prefix}{path.name}")
        rows.append(f"{prefix}{path.stem},{path.parent.name}")
    (place / "labels.csv").write_text("\n".join(rows))
    return place


@form
def table(folder: Path, place: Path) -> Path:
    return table_in_folder(folder, place) / "labels.csv"


@form
def parquet(folder: Path, place: Path) -> Path:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    paths = sorted(folder.rglob("*.png"))
    label = {"_type": "ClassLabel", "names": ["cat", "dog"]}
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": label}}}
    columns = {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "label": [int(path.parent.name == "dog") for path in paths],
    }
    content = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps(features)})
    place.mkdir()
    pq.write_table(content.slice(0, 5), place / "train-00000-of-00002.parquet")
    pq.write_table(content.slice(5), place / "train-00001-of-00002.parquet")
    return place


def contents(photos: Photos) -> dict[str, list[tuple[str, str]]]:
    return {
        split: [(photos.classes[photo.label], photo.digest) for photo in of]
        for split, of in photos.splits.items()
    }


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_photos_in_the_same_order(tmp_path: Path, name: str) -> None:
    folder = class_folders(tmp_path / "folder")
    source = FORMS[name](folder, tmp_path / "other")
    assert contents(Photos(source)) == contents(Photos(folder))


@pytest.mark.slow
def test_every_form_gives_the_same_run_bit_for_bit(tmp_path: Path) -> None:
    recipe = reslab.Recipe(size=32, epochs=1, batch_size=4, precision="fp32", device="cpu")
    folder = class_folders(tmp_path / "folder")
    sources = {name: FORMS[name](folder, tmp_path / name) for name in ("named_in_zip", "table", "parquet")}
    results = []
    for name, source in {"folder": folder, **sources}.items():
        run = reslab.train(source, "cifar_resnet20", recipe, run=tmp_path / f"run {name}", say=lambda _: None)
        weights = reslab.load(run.folder).network.state_dict()
        results.append((weights, [row["train_loss"] for row in run.rows], run.result["test_accuracy"]))
        own, notes = evaluation_photos(run.folder, source)  # the source stands for the run's own test split
        assert isinstance(own, Photos)
        assert notes == [f"the run's own test split: {len(own.test)} photos"]
    for weights, *figures in results[1:]:
        assert all(weights[key].equal(value) for key, value in results[0][0].items())
        assert figures == [*results[0][1:]]


def test_flat_train_and_test_folders(tmp_path: Path) -> None:
    for i in range(8):
        add(tmp_path / "train" / f"cat.{i}.png", i)
        add(tmp_path / "train" / f"dog.{i}.png", 1000 + i)
        add(tmp_path / "test1" / f"{i}.png", 2000 + i)
    (tmp_path / "sampleSubmission.csv").write_text("id,label\n1,0\n2,0\n")
    found = find_labeled(tmp_path)
    assert {split: {n: len(p) for n, p in of.items()} for split, of in found.found.items()} == {
        "train": {"cat": 8, "dog": 8}
    }
    assert found.notes == [
        "labels from the names of the photos: train/cat.0.png is cat",
        "skipping photos without a class in their name: 8, test1/0.png, test1/1.png, test1/2.png, ...",
    ]


def test_tables_in_the_folders_of_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("test", 2)):
        rows = [f"{add(tmp_path / split / f'{i}.png', i).name},{'ab'[i % 2]}" for i in range(count)]
        (tmp_path / split / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    assert find_labeled(tmp_path).found == {
        "train": {"a": ["train/0.png", "train/2.png"], "b": ["train/1.png", "train/3.png"]},
        "test": {"a": ["test/0.png"], "b": ["test/1.png"]},
    }


def test_tables_named_like_splits(tmp_path: Path) -> None:
    for i in range(6):
        add(tmp_path / "images" / f"{i}.png", i)
    (tmp_path / "train.csv").write_text("file,label\n0.png,a\n1.png,b\n2.png,a\n")
    (tmp_path / "test_labels.csv").write_text("file,label\n3.png,b\n4.png,a\n")
    found = find_labeled(tmp_path)
    assert {split: sum(map(len, of.values())) for split, of in found.found.items()} == {"train": 3, "test": 2}
    assert "skipping photos without a row: 1, images/5.png" in found.notes


def test_a_table_that_agrees_with_the_folders_changes_nothing(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "folder")
    before = Photos(folder)
    rows = [f"{path.relative_to(folder)},{int(path.parent.name == 'dog')}" for path in folder.rglob("*.png")]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]))
    (folder / "sizes.csv").write_text("class,photos\ncat,8\ndog,8\n")
    (folder / "submission.csv").write_text("file,label\ncat/0.png,dog\ncat/1.png,cat\n")
    after = Photos(folder)
    assert (after, after.notes) == (before, before.notes)


def test_two_readings_are_refused(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    folder = class_folders(tmp_path / "folder")
    (folder / "labels.csv").write_text("file,label\ncat/0.png,x\ncat/1.png,y\ndog/0.png,x\n")
    with refuses(PhotosError, "two ways", "cat/0.png is in the folder cat, and its label is x", "labels.csv"):
        Photos(folder)
    assert find_labeled(folder / "labels.csv").found == {
        "all": {"x": ["cat/0.png", "dog/0.png"], "y": ["cat/1.png"]}
    }
    flat = named(class_folders(tmp_path / "more"), tmp_path / "flat")
    for name in ("a", "b"):
        (flat / f"{name}.csv").write_text("file,label\ncat.0.png,x\ndog.1.png,y\n")
    with refuses(PhotosError, "2 ways", "each of a.csv, b.csv labels its photos"):
        Photos(flat)


def test_a_folder_without_any_labels_says_so(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    for i in range(4):
        add(tmp_path / f"IMG_{i}.png", i)
    with refuses(PhotosError, "no class folders", "the same word, IMG", "labels.csv"):
        Photos(tmp_path)


def test_check_and_evaluate_take_every_form(tmp_path: Path) -> None:
    folder = class_folders(tmp_path / "folder", 3)
    for name, make in FORMS.items():
        source = make(folder, tmp_path / name)
        assert reslab.check(source, progress=False).photos == 6
        assert sum(map(len, evaluation_paths(source)[1].values())) == 6
