"""The verbs evaluate and predict."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from reslab import Classifier, Preprocess, Run, evaluate_corrupted
from reslab.networks.registry import NetworkSpec


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    path = tmp_path / "some model.safetensors"
    Classifier(spec.build().eval(), ("blue", "red"), Preprocess(size=16, resize=18), spec).save(path)
    return path


def test_evaluate_json_has_the_documented_fields(
    model: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    photos = photo_folder(train=4, test=10)
    code, out, err = reslab_here("evaluate", model, photos, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert {"photos", "accuracy", "accuracy_low", "accuracy_high", "classes", "per_class"} <= result.keys()
    assert result["photos"] == 10
    assert result["classes"] == ["blue", "red"]
    assert result["accuracy_low"] <= result["accuracy"] <= result["accuracy_high"]
    for row in result["per_class"].values():
        assert {"photos", "precision", "recall"} <= row.keys()
    table = reslab_here("evaluate", model, photos / "test").out
    assert table.startswith(f"accuracy {result['accuracy']:.3f} [")
    assert "red" in table


def test_evaluate_names_confusions_and_wrong_photos_and_writes_all_rows(
    model: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    photos, rows_file = photo_folder(test=40), tmp_path / "rows.csv"
    code, out, err = reslab_here("evaluate", model, photos, "--rows", rows_file)
    assert (code, err) == (0, "")
    found = Classifier.load(model).evaluate(photos)
    with open(rows_file, newline="") as file:
        lines = list(csv.DictReader(file))
    wrong = [line for line in lines if line["label"] != line["predicted"]]
    assert len(lines) == found.photos == 40
    assert f"wrong photos: {len(wrong)} of 40; {rows_file} has a row for every photo" in out
    for confusion in found.confusions():
        assert f"{confusion.photos} of 20 photos of {confusion.label} taken for {confusion.predicted}" in out
    wrong.sort(key=lambda line: -float(line[line["predicted"]]))
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("test/")]
    assert listed == [line["path"] for line in wrong[:10]]
    for words in ("balanced accuracy", "area under the ROC curve", "F1", "few photos: over 40", "chance"):
        assert words in out


def test_reject_below_is_reported_kept_in_the_model_and_honoured_by_predict(
    model: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    photos, kept = photo_folder(test=40) / "test", tmp_path / "kept.safetensors"
    confidence = Classifier.load(model).evaluate(photos).rows.confidence
    threshold = float(np.median(confidence))
    plain = json.loads(reslab_here("evaluate", model, photos, "--json").out)
    assert plain["rejection"] is None
    arguments = ("--reject-below", threshold, "--save-model", kept)
    code, out, err = reslab_here("evaluate", model, photos, "--json", *arguments)
    result = json.loads(out)
    rejection = result.pop("rejection")
    left = int((confidence >= threshold).sum())
    assert (code, rejection["photos"], rejection["coverage"]) == (0, left, left / 40)
    assert result == {name: value for name, value in plain.items() if name != "rejection"}
    assert str(kept) in err
    assert f"not sure below {threshold:g}: {left} photos are left" in (
        reslab_here("evaluate", kept, photos).out
    )
    rows = [json.loads(line) for line in reslab_here("predict", kept, photos, "--json").out.splitlines()]
    assert sum(row["sure"] for row in rows) == left
    assert all(row["sure"] == (row["probability"] >= threshold) for row in rows)
    assert {row["label"] for row in rows} <= {"blue", "red"}
    table = reslab_here("predict", model, photos, "--reject-below", threshold).out
    assert table.count("not sure") == 40 - left
    header, *lines = csv.reader(io.StringIO(reslab_here("predict", kept, photos, "--csv").out))
    assert header == ["path", "label", "probability", "sure", "blue", "red", "error"]
    assert [line[3] for line in lines] == ["true" if row["sure"] else "false" for row in rows]


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
@pytest.mark.parametrize("threshold", ["90", "-0.1", "nan"])
def test_an_impossible_threshold_is_an_error(
    verb: str, threshold: str, model: Path, tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    code, out, err = reslab_here(verb, model, tmp_path, f"--reject-below={threshold}")
    assert (code, out) == (2, "")
    assert "a probability lies between 0 and 1" in err


def test_a_file_that_cannot_be_written_is_an_error_before_the_work(
    tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    for flag, path, why in (
        ("--rows", tmp_path / "no" / "rows.csv", "not a folder that you can write to"),
        ("--save-model", tmp_path, "it is a folder"),
    ):
        code, out, err = reslab_here("evaluate", "no model", "no photos", flag, path)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {flag} {path} cannot be written\n")
        assert why in err
    code, _, err = reslab_here(
        "evaluate", "no model", "no photos", "--save-model", tmp_path / "kept.safetensors"
    )
    assert code == 2
    assert "add --reject-below 0.9" in err


def test_against_compares_on_the_same_photos(
    model: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    photos, rival = photo_folder(test=40) / "test", tmp_path / "rival.safetensors"
    torch.manual_seed(1)
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    Classifier(spec.build().eval(), ("red", "blue"), Preprocess(size=16, resize=18), spec).save(rival)
    first, second = (Classifier.load(path).evaluate(photos) for path in (model, rival))
    code, out, _ = reslab_here("evaluate", model, photos, "--against", rival, "--json")
    result = json.loads(out)["against"]
    assert (code, result["model"]) == (0, str(rival))
    assert result["difference"] == pytest.approx(first.accuracy - second.accuracy)
    labels = [[rows.classes[i] for i in rows.predicted] for rows in (first.rows, second.rows)]
    differing = [path for path, a, b in zip(first.rows.paths, *labels, strict=True) if a != b]
    assert [row["path"] for row in result["differing"]] == differing
    text = reslab_here("evaluate", model, photos, "--against", rival).out
    assert f"they differ on {len(differing)} photos" in text
    assert "McNemar's exact test" in text
    same = reslab_here("evaluate", model, photos, "--against", model).out
    assert "difference +0.000" in same
    assert "they differ on" not in same
    others = replace(Classifier.load(rival), classes=("red", "gr\neen"))
    others.save(rival)
    code, _, err = reslab_here("evaluate", model, photos, "--against", rival)
    assert code == 2
    assert f"--against {rival} does not know the class blue" in err


def test_predict_says_if_the_accuracy_of_the_model_is_of_few_photos(
    model: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    figures = {"test_accuracy": 0.8, "test_photos": 5}
    replace(Classifier.load(model), figures=figures).save(tmp_path / "few.safetensors")
    code, _, err = reslab_here("predict", tmp_path / "few.safetensors", photo_folder(test=2))
    assert code == 0
    assert err.startswith("note: few photos: over 5 of them, the test accuracy of this model is only known")


def test_predict_reads_files_folders_globs_and_a_list(
    model: Path,
    photo_folder: Callable[..., Path],
    reslab_here: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = photo_folder(test=8)
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    listed = photos / "test" / "blue" / "000.jpg"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(f"{listed}\r\n\n".encode())))
    arguments = [bad, photos / "test" / "red", f"{photos}/test/blue/00[24].jpg", "-", "missing.jpg"]
    code, out, err = reslab_here("predict", model, *arguments, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    red = [str(path) for path in sorted((photos / "test" / "red").iterdir())]
    blue = [str(photos / "test" / "blue" / name) for name in ("002.jpg", "004.jpg", "000.jpg")]
    assert [row["path"] for row in rows] == [str(bad), *red, *blue, "missing.jpg"]
    assert set(rows[0]) == set(rows[-1]) == {"path", "error"}
    for row in rows[1:-1]:
        assert set(row) == {"path", "label", "probability", "probabilities"}
        assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["label"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    code, out, err = reslab_here("predict", model, bad, listed)
    assert code == 0
    assert "bad.jpg" in out.splitlines()[2]
    assert err == "1 of 2 could not be read\n"


def test_csv_keeps_file_names_intact(model: Path, tmp_path: Path, reslab_here: Callable[..., Any]) -> None:
    names = ['a,"b".jpg', "two\nlines.jpg", "carriage\rreturn.jpg", "猫.jpg", " =1+1;.jpg"]
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in names:
        Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"")
    out = reslab_here(
        "predict", model, *(folder / name for name in names), folder / "broken.jpg", "--csv"
    ).out
    header, *rows = csv.reader(io.StringIO(out, newline=""))
    assert header == ["path", "label", "probability", "blue", "red", "error"]
    assert [row[0] for row in rows] == [str(folder / name) for name in [*names, "broken.jpg"]]
    for row in rows[:-1]:
        assert float(row[2]) == max(float(row[3]), float(row[4]))
        assert row[1] in ("blue", "red")
        assert row[5] == ""
    assert rows[-1][1:5] == [""] * 4
    assert rows[-1][5]


def test_a_name_that_is_not_utf8_is_escaped(
    model: Path, tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(os.fsdecode(path))
    for form in ("--json", "--csv"):
        code, out, _ = reslab_here("predict", model, os.fsdecode(path), form)
        assert code == 0
        assert "caf\\udce9.png" in out


def test_a_photo_may_start_with_a_hyphen_and_a_mistyped_flag_is_an_error(
    model: Path,
    photo_folder: Callable[..., Path],
    reslab_here: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(photo_folder(test=2) / "test" / "red")
    Path("001.jpg").rename("-odd.jpg")
    (row,) = map(json.loads, reslab_here("predict", model, "-odd.jpg", "--json").out.splitlines())
    assert row["path"] == "-odd.jpg"
    code, out, err = reslab_here("predict", model, "-odd.jpg", "--jsno")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no flag and no photo --jsno\n")


def test_a_folder_without_photos_gives_an_error(
    model: Path, tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = reslab_here("predict", model, tmp_path / "empty")
    assert code == 2
    assert err.startswith(f"error: no photos in {tmp_path / 'empty'}")


def test_the_exit_code_is_2_if_no_photo_can_be_read(
    model: Path, tmp_path: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    missing, good = tmp_path / "missing.jpg", next(photo_folder(train=2).rglob("*.jpg"))
    for form in ([], ["--json"], ["--csv"]):
        assert reslab_here("predict", model, missing, *form).code == 2
        assert reslab_here("predict", model, missing, good, *form).code == 0


@pytest.mark.slow
def test_every_verb_has_a_device_flag(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    photos, run, cpu = photo_folder(train=20, test=8), tmp_path / "run", ("--device", "cpu")
    code, out, err = reslab_here("train", photos, *small, *cpu, "--run", run, "--json")
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert Run(run).recipe.device == Run(run).environment["device"] == "cpu"
    evaluated = json.loads(reslab_here("evaluate", run, photos, *cpu, "--json").out)
    assert evaluated["accuracy"] == result["test_accuracy"]
    rows = [
        json.loads(line)
        for line in reslab_here("predict", run, photos / "test", *cpu, "--json").out.splitlines()
    ]
    right = [row["label"] == Path(row["path"]).parent.name for row in rows]
    assert sum(right) / 8 == result["test_accuracy"]
    for verb in ("evaluate", "predict"):
        code, out, err = reslab_here(verb, run, photos, "--device", "abacus")
        assert (code, out) == (2, "")
        assert "there is no device 'abacus'" in err


def test_an_empty_name_gives_an_error(model: Path, reslab_here: Callable[..., Any]) -> None:
    code, out, err = reslab_here("predict", model, "")
    assert (code, out) == (2, "")
    assert err.startswith("error: an empty name among the photos")


@pytest.mark.slow
def test_a_closed_standard_input_has_no_photos(model: Path) -> None:
    command = f"{sys.executable} -m reslab predict {shlex.quote(str(model))} - <&-"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no photos in -\n")


@pytest.mark.slow
def test_evaluate_measures_corrupted_photos(
    model: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    photos = photo_folder(test=6)
    code, out, err = reslab_here("evaluate", model, photos, "--corrupt", "3,1", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)["corruptions"]
    assert found == evaluate_corrupted(Classifier.load(model), photos, (1, 3), progress=False).as_json()
    out = reslab_here("evaluate", model, photos, "--corrupt", "1,3").out
    worst = found["worst"]
    assert f"worst: {worst['corruption']} at severity {worst['severity']}, accuracy" in out
    assert "corruption      severity 1  change  severity 3  change" in out
    for text in ("6", "0", "1,,3", "all"):
        code, out, err = reslab_here("evaluate", model, photos, "--corrupt", text)
        assert (code, out) == (2, "")
        assert "severities go from 1 to 5" in err
