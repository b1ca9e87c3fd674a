"""The verb explain: a page, a folder, JSON, photos that cannot be read, and wrong requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import reslab
from reslab.networks.registry import NetworkSpec

PREPROCESS = reslab.Preprocess(size=32, resize=32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    path = tmp_path / "some model.safetensors"
    reslab.Classifier(spec.build().eval(), ("blue", "red"), PREPROCESS, spec).save(path)
    return path


@pytest.fixture
def photos(photo_folder: Callable[..., Path]) -> Path:
    folder = photo_folder(test=4) / "test"
    (folder / "red" / "broken.jpg").write_text("no photo")
    return folder


def test_a_page_a_table_with_the_worth_and_the_next_command(
    model: Path, photos: Path, reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    page = tmp_path / "heat.html"
    code, out, err = reslab_here("explain", model, photos, "-o", page)
    assert code == 0
    assert err == "1 of 5 could not be read\n"
    assert page.read_text(encoding="utf-8").count("Its heat map for") == 4
    broken = next(line for line in out.splitlines() if "broken.jpg" in line)
    assert broken.count("broken.jpg") == 1
    assert "cannot be read as a photo" in broken
    assert "4 heat maps of cifar_resnet20, layer layer3. On " in out
    assert "Five photos or more give a verdict on the maps." in out
    assert out.splitlines()[-1].startswith(f"next: reslab walk '{model}' {photos}/blue/000.jpg   ")


def test_json_has_the_documented_fields(
    model: Path, photos: Path, reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "heat"
    code, out, err = reslab_here("explain", model, photos, "-o", folder, "--layer", "layer2", "--json")
    rows = {Path(row["path"]).name: row for row in map(json.loads, out.splitlines())}
    assert (code, err, len(rows)) == (0, "", 5)
    assert set(rows.pop("broken.jpg")) == {"path", "error"}
    predictions = reslab.load(model)
    for row in rows.values():
        assert {"path", "label", "probability", "heat_map", "worth"} <= row.keys()
        assert row["layer"] == "layer2"
        assert row["label"] == predictions.predict(row["path"]).label
        assert {"score", "random_score", "center_score", "beats_random", "beats_center", "judged"} == set(
            row["worth"]
        )
        with Image.open(row["heat_map"]) as picture:
            assert picture.format == "PNG"
    assert (folder / "index.html").is_file()


def test_the_exit_code_is_2_if_no_photo_can_be_read_or_the_request_is_wrong(
    model: Path, photos: Path, reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    page = tmp_path / "heat.html"
    code, out, _ = reslab_here("explain", model, photos / "red" / "broken.jpg", "-o", page)
    assert code == 2
    assert "cannot be read as a photo" in out
    assert "next:" not in out
    assert reslab_here("explain", model, photos / "missing.jpg", "-o", page, "--json").code == 2
    for arguments, message in (
        ([photos, "--layer", "layr3"], "did you mean 'layer3'?"),
        ([photos, "--jsno"], "there is no flag and no photo --jsno"),
        ([""], "an empty name among the photos"),
        ([photos, "-o", tmp_path / "heat.pdf"], "neither a page nor a folder"),
    ):
        code, out, err = reslab_here("explain", model, *arguments)
        assert (code, out) == (2, "")
        assert message in err
