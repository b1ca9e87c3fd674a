"""PhotoRows: the CSV file keeps every digit and every file name, and paths lead to the photos."""

import csv
import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reslab import Classifier, Photos, Preprocess
from reslab.errors import ClassifierError
from reslab.evaluation.photo_paths import LabeledPaths
from reslab.evaluation.rows import PhotoRows
from reslab.networks.registry import NetworkSpec
from reslab.photos.folder import list_file

ODD_NAMES = ['a,"b".jpg', "two\nlines.jpg", "carriage\rreturn.jpg", "猫.jpg", " =1+1;.jpg", "0012"]
NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


def rows_of(paths: list[str], classes: tuple[str, ...] = ("cat", "dog"), seed: int = 0) -> PhotoRows:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 4, (len(paths), len(classes))).astype(np.float32)
    labels = generator.integers(0, len(classes), len(paths))
    return PhotoRows.from_logits(logits, labels, classes, paths=paths)


@pytest.mark.parametrize("classes", [("cat", "dog"), ("loss", "path", 'a,"b"', "犬\n", "1")])
def test_a_file_is_read_back_with_every_digit_and_name(classes: tuple[str, ...], tmp_path: Path) -> None:
    rows = rows_of([*ODD_NAMES, NOT_UTF8], classes)
    rows.write(tmp_path / "rows.csv")
    found = PhotoRows.read(tmp_path / "rows.csv", tmp_path)
    assert (found.classes, found.paths, found.folder) == (rows.classes, rows.paths, tmp_path)
    for name in ("labels", "predicted", "correct", "probabilities", "losses", "confidence", "mistakes"):
        assert np.array_equal(getattr(found, name), getattr(rows, name)), name


def test_any_csv_reader_gets_the_documented_columns(tmp_path: Path) -> None:
    rows = rows_of(ODD_NAMES)
    rows.write(tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["path", "label", "predicted", "loss", "cat", "dog"]
    assert [line["path"] for line in lines] == ODD_NAMES
    for i, line in enumerate(lines):
        assert line["label"] == rows.classes[rows.labels[i]]
        assert line["predicted"] == max(("cat", "dog"), key=lambda name: float(line[name]))
        assert float(line["loss"]) == pytest.approx(-np.log(float(line[line["label"]])))


def test_a_loss_stays_finite_where_its_probability_is_zero() -> None:
    rows = PhotoRows.from_logits(np.array([[0, 3e4]], np.float32), np.array([0]), ("cat", "dog"))
    assert rows.probabilities.tolist() == [[0, 1]]
    assert rows.losses.tolist() == [3e4]


def test_mistakes_come_with_the_surest_first() -> None:
    logits = np.array([[2, 0], [0, 1], [3, 0], [0, 9], [0, 1]], np.float32)
    rows = PhotoRows.from_logits(logits, np.array([1, 0, 1, 1, 0]), ("cat", "dog"))
    assert rows.mistakes.tolist() == [2, 0, 1, 4]


def test_the_temperature_divides_the_logits() -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 4)).astype(np.float32)
    rows = PhotoRows.from_logits(logits, np.arange(20) % 4, "abcd", temperature=1.7)
    expected = (torch.from_numpy(logits).double() / 1.7).softmax(1)
    assert rows.probabilities == pytest.approx(expected.numpy(), rel=1e-6)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "path,label,predicted,loss,cat,dog\n",
        "path,label,cat,dog\na,cat,1,0\n",
        "path,label,predicted,loss,cat,dog\na.jpg,fox,cat,0.1,0.5,0.5\n",
        "path,label,predicted,loss,cat,dog\na.jpg,cat,cat,0.1,0.5,0.5\nb.jpg,cat\n",
        "path,label,predicted,loss,cat,dog\na.jpg,cat,cat,0.1,much,0.5\n",
        "path,label,predicted,loss,cat,dog\n\n",
        "\0",
    ],
)
def test_a_damaged_file_raises(
    content: str, tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    (tmp_path / "rows.csv").write_text(content)
    with refuses(ClassifierError, f"{tmp_path / 'rows.csv'} is not a file of rows", "--rows"):
        PhotoRows.read(tmp_path / "rows.csv")


def test_a_missing_file_raises(tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]) -> None:
    with refuses(ClassifierError, "rows.csv cannot be read", "--rows"):
        PhotoRows.read(tmp_path / "rows.csv")


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    return Classifier(spec.build().eval(), ("blue", "red"), Preprocess(size=16, resize=18), spec)


def test_paths_are_relative_to_the_folder_and_lead_to_the_photos(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(train=4, test=6)
    photos = Photos(folder)
    below, elsewhere = folder / "list.jsonl", tmp_path / "lists" / "list.jsonl"
    elsewhere.parent.mkdir()
    for path in (below, elsewhere):
        list_file.write(path, folder, photos.classes, photos.splits)
    expected = [f"test/blue/00{i}.jpg" for i in (0, 2, 4)] + [f"test/red/00{i}.jpg" for i in (1, 3, 5)]
    for source in (folder, str(folder), photos, below, elsewhere):
        labeled = LabeledPaths.of(source, ("blue", "red"))
        assert list(labeled.paths) == expected
        assert labeled.labels.tolist() == [0, 0, 0, 1, 1, 1]
        assert labeled.folder.samefile(folder)
        assert all(file.is_file() for file in labeled.files)
    assert LabeledPaths.of(folder / "test", ("blue", "red")).paths[0] == "blue/000.jpg"


def test_a_row_has_the_prediction_of_its_photo(
    classifier: Classifier, photo_folder: Callable[..., Path]
) -> None:
    folder = photo_folder(test=6) / "test"
    (folder / "blue" / "000 broken.jpg").write_bytes(b"no photo")  # sorts first, so that rows could shift
    Image.new("RGB", (40, 40), (255, 255, 0)).save(folder / "red" / "a yellow one.png")
    rows = classifier.evaluate(folder).rows
    assert len(rows) == 7
    for index in range(len(rows)):
        prediction = classifier.predict(rows.file(index))
        assert prediction.label == rows.classes[rows.predicted[index]]
        assert list(prediction.probabilities.values()) == pytest.approx(rows.probabilities[index], abs=1e-6)


def test_an_evaluation_hides_its_rows_from_json_and_text(
    classifier: Classifier, photo_folder: Callable[..., Path]
) -> None:
    evaluation = classifier.evaluate(photo_folder(test=6))
    assert "rows" not in json.loads(json.dumps(evaluation.as_json()))
    assert "PhotoRows" not in repr(evaluation)
    assert str(evaluation.rows) == "PhotoRows(6 photos, 2 classes)"
