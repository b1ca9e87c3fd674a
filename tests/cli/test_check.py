"""The verb check: its table, JSON, page, list and exit codes."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from materials import network_of
from PIL import Image

from reslab import Classifier
from reslab.networks.registry import NetworkSpec
from reslab.photos.loading.preprocess import Preprocess


def test_a_clean_folder_gives_exit_code_0_and_the_next_command(
    photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    folder = photo_folder(train=8, test=4)
    code, out, err = reslab_here("check", folder)
    assert (code, err) == (0, "")
    assert out == f"{folder}: 12 photos, nothing found\n\nnext:  reslab train {folder}\n"
    _, out, _ = reslab_here("check", folder, "--truncated", "keep")
    assert out.endswith(f"next:  reslab train {folder} --truncated keep\n")


def test_only_findings_that_spoil_a_training_give_exit_code_1(
    photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    folder = photo_folder(train=8, test=4)
    shutil.copy(folder / "train" / "red" / "001.jpg", folder / "train" / "red" / "copy.jpg")
    assert reslab_here("check", folder).code == 0
    shutil.copy(folder / "train" / "red" / "001.jpg", folder / "test" / "red" / "copy.jpg")
    code, out, err = reslab_here("check", folder)
    assert (code, err) == (1, "")
    assert "leak           1  yes                test/red/copy.jpg" in out
    assert out.endswith(
        f"\nnext:  fix what spoils a training, or leave it out: reslab check {folder} --fix LIST\n"
    )


def test_json_has_the_documented_fields(
    photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    folder = photo_folder(train=8, test=4)
    name = os.fsdecode(b"caf\xe9\n.jpg")
    (folder / "test" / "red" / name).write_bytes(b"")
    (folder / "train" / "green").mkdir()
    code, out, err = reslab_here("check", folder, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "photos": 13,
        "findings": [
            {
                "kind": "empty file",
                "path": f"test/red/{name}",
                "split": "test",
                "class": "red",
                "why": "zero bytes",
                "other": None,
            },
            {
                "kind": "empty class",
                "path": None,
                "split": "train",
                "class": "green",
                "why": "its folder has no photos",
                "other": None,
            },
        ],
        "spoils_training": False,
        "notes": [],
    }


def test_a_missing_or_empty_folder_gives_exit_code_2(tmp_path: Path, reslab_here: Callable[..., Any]) -> None:
    for arguments in (["nowhere"], [tmp_path], []):
        code, out, err = reslab_here("check", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")


def test_a_real_process_writes_only_json_to_standard_output(
    photo_folder: Callable[..., Path], start: Callable[..., subprocess.Popen[str]]
) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"GIF89a")
    process = start("check", folder, "--json")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert json.loads(out)["photos"] == 13


@pytest.mark.slow
def test_ctrl_c_ends_a_check_with_130(
    tmp_path: Path, start: Callable[..., subprocess.Popen[str]], own_cache: Path
) -> None:
    folder = tmp_path / "photos"
    buffer = io.BytesIO()
    Image.effect_noise((3000, 3000), 90).save(buffer, "PNG", compress_level=1)  # slow to decode
    for i in range(40):
        path = folder / ("cat", "dog")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue() + bytes([i]))
    process, deadline = start("check", folder), time.monotonic() + 120
    while not list(own_cache.rglob("*.sqlite")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


@pytest.mark.slow
def test_train_and_evaluate_use_a_list(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    folder, new, run = photo_folder(train=20, test=8), tmp_path / "new.jsonl", tmp_path / "run"
    shutil.copy(folder / "train/red/001.jpg", folder / "test/red/same.jpg")
    (folder / "train/red/bad.jpg").write_bytes(b"<html>")
    code, out, err = reslab_here("check", folder, "--fix", new)
    assert (code, err) == (0, "")
    assert (
        f"list: {new}: 28 of 30 photos; no file was changed. Not in the list:\n  1  not an image: it" in out
    )
    assert out.endswith(f"next:  reslab train {new}\n")
    code, out, err = reslab_here("check", folder, "--fix", new)
    assert (code, out) == (2, "")
    assert f"{new} exists already" in err

    code, out, err = reslab_here("train", folder, *small, "--run", tmp_path / "with the leak")
    assert code == 0, err
    assert "WARNING: skipping 1 of 30 photos that cannot be read: 1 of train\n" in out
    assert "WARNING: leak: 1 photo in two splits" in out
    assert "not an image" not in out  # which is said already
    assert f"reslab check {folder} --fix list.jsonl; reslab train list.jsonl" in out
    assert "skipped 1 photo that could not be read: 1 of train\n" in out
    code, out, err = reslab_here("train", new, *small, "--run", run)
    assert code == 0, err
    assert "WARNING" not in out
    for judged in (folder, new):
        code, out, err = reslab_here("evaluate", run, judged, "--json")
        assert json.loads(out)["photos"] == 9
        assert err == "note: the run's own test split: 9 photos\n"
    code, out, err = reslab_here("evaluate", run / "model.safetensors", new, "--json")
    assert json.loads(out)["photos"] == 9


def test_standard_output_has_only_json_next_to_a_list_and_a_page(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    folder = photo_folder(train=8, test=4)
    new, page = tmp_path / "new.jsonl", tmp_path / "check.html"
    code, out, err = reslab_here("check", folder, "--json", "--fix", new, "--report", page)
    assert code == 0
    assert json.loads(out)["photos"] == 12
    assert f"{new}: all 12 photos; nothing had to be removed" in err
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_unwritable_outputs_are_reported_before_the_check(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], own_cache: Path
) -> None:
    folder = photo_folder(train=8, test=4)
    for flags in (
        ["--report", "check.pdf"],
        ["--report", tmp_path / "no/x.html"],
        ["--fix", tmp_path / "no/x"],
    ):
        code, out, err = reslab_here("check", folder, *flags)
        assert (code, out) == (2, "")
        assert "do: " in err
    assert not list(own_cache.rglob("*.sqlite"))


def test_a_model_ranks_the_labels(
    photo_folder: Callable[..., Path], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    folder, model, ranked = photo_folder(train=40), tmp_path / "model.safetensors", tmp_path / "labels.csv"
    preprocess, spec = Preprocess(size=16, resize=16), NetworkSpec("cifar_resnet20", 4, 3)
    Classifier(network_of("cifar_resnet20"), tuple("abcd"), preprocess, spec).save(model)
    wrong = folder / "train/blue/wrong.jpg"
    shutil.move(folder / "train/red/001.jpg", wrong)
    code, out, err = reslab_here("check", folder, "--model", model, "--labels", ranked)
    assert (code, err) == (0, "")
    assert "labels to look at: 1 of 40 photos resemble another class\n" in out
    assert "train/blue/wrong.jpg blue red 0." in " ".join(out.split())
    assert f"labels: {ranked}\n" in out
    lines = ranked.read_text().splitlines()
    assert lines[0] == '"path","label","suggested","probability"'
    assert lines[1].startswith('"train/blue/wrong.jpg","blue","red",0.')
    assert len(lines) == 41
    (row,) = json.loads(reslab_here("check", folder, "--model", model, "--json").out)["labels_to_look_at"]
    assert (row["path"], row["label"], row["suggested"]) == ("train/blue/wrong.jpg", "blue", "red")


def test_a_ranking_that_cannot_be_written_is_refused(
    photo_folder: Callable[..., Path], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    folder = photo_folder(train=4)
    assert "--labels without --model" in reslab_here("check", folder, "--labels", "labels.csv").err
    nowhere = tmp_path / "none" / "labels.csv"
    code, _, err = reslab_here("check", folder, "--model", "runs/first", "--labels", nowhere)
    assert code == 2
    assert f"--labels {nowhere} cannot be written" in err
