"""The verb compare: refusals, the template, the check of a block, and a long comparison in a pipe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLAGS = ["--network", "cifar_resnet20", "--size", "16", "--batch-size", "8", "--optimizer", "adamw"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["basic"], ["1 variant", "basic se"]),
        (["basic", "se", "se"], ["se is given twice"]),
        (["basic", "se", "--seed", "3"], ["--seed 3", "use --seeds 8"]),
        (["basic", "se", "--time", "5m"], ["time 5m", "--budget time"]),
        (["basic", "sq"], ["'sq'", "did you mean 'se'"]),
        (["--vary", "learning_rate=0.1"], ["fewer than two values"]),
        (["--vary", "lerning_rate=0.1,0.2"], ["lerning_rate", "did you mean 'learning_rate'"]),
        (["basic", "se", "--margin", "200"], ["margin 200"]),
        (["basic", "se", "--until-sure", "3"], ["at least 5 seeds"]),
        (["basic", "se", "--tune", "1"], ["tune 1"]),
        (["--vary", "learning_rate=0.1,0.2", "--tune", "3"], ["tune 3", "learning_rate=0.1"]),
        (["--vary", "precision=fp32,bf16"], ["'precision'", "one precision"]),
        (["--vary", "val_fraction=0.1,0.2"], ["'val_fraction'", "share their validation photos"]),
        (["--vary", "time=1m,2m"], ["'time'", "--budget time"]),
        (["--vary", "workers=0,2"], ["'workers'", "does not change the result"]),
    ],
)
def test_what_cannot_be_compared_is_refused(
    words: list[str], parts: list[str], photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    code, out, err = reslab_here("compare", photo_folder(), *words)
    assert (code, out) == (2, "")
    assert all(part in err for part in parts), err


def test_a_mistyped_folder_or_block_is_answered_with_the_right_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    photo_folder: Callable[..., Path],
    reslab_here: Callable[..., Any],
) -> None:
    photos = photo_folder(train=12, test=4)
    monkeypatch.chdir(tmp_path)
    Path("wide.py").write_text("class Wide5:\n    pass\n")
    Path("done/basic-vs-se").mkdir(parents=True)
    Path("done/basic-vs-se/plan.json").touch()
    for words, parts in {
        ("basic", "wide.py:Wide5"): ["basic is a block, not a folder", "photos comes first"],
        ("wide.py:Wide5", "basic"): ["wide.py:Wide5 is a block, not a folder"],
        ("done/basic-vs-nothing",): ["no folder done/basic-vs-nothing", "there are: done/basic-vs-se"],
        ("fotos", "basic", "se"): ["there is no folder fotos"],
        (photos, "basic", "wide.py"): ["it has Wide5", "write wide.py:Wide5"],
        (photos, "basic", "wide.py:wide5"): ["class or function 'wide5'", "write wide.py:Wide5"],
    }.items():
        code, _, err = reslab_here("compare", *words)
        assert (code, [part for part in parts if part not in err]) == (2, []), err
    (photos / "test").rename(photos / "other")
    assert reslab_here("compare", photos, "basic", "se")[0] == 2
    assert not Path("compare").exists()


def test_photos_without_a_test_split_are_refused(
    photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    code, _, err = reslab_here("compare", photo_folder(train=12), "basic", "se", *FLAGS)
    assert code == 2
    assert "no test photos" in err


def test_a_comparison_gets_a_folder_of_its_own(
    tmp_path: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    photos = photo_folder(train=12, test=4)
    (tmp_path / "file").touch()
    refused = {
        tmp_path / "file": "is not a folder",
        tmp_path / "file/out": "cannot be written",
        tmp_path / ("n" * 300): "cannot be written",
        photos: "holds other files",
    }
    for output, part in refused.items():
        code, _, err = reslab_here("compare", photos, "basic", "se", "--output", output)
        assert (code, part in err) == (2, True), err
    assert {path.name for path in photos.iterdir()} == {"train", "test"}


def test_a_template_is_written_once_and_passes_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reslab_here: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = reslab_here("compare", "--new", "my_block.py")
    assert code == 0
    command = "reslab compare FOLDER basic my_block.py:MyBlock --network cifar_resnet20 --size 32\n"
    assert out.endswith(command)
    assert f"#     {command}" in Path("my_block.py").read_text()
    code, _, err = reslab_here("compare", "--new", "my_block.py")
    assert (code, "exists already" in err) == (2, True)
    code, out, _ = reslab_here("compare", "--check", "my_block.py:MyBlock", "--network", "cifar_resnet20")
    assert (code, "can be compared" in out) == (0, True), out
    assert out.endswith(command)
    Path("my_block.py").write_text(Path("my_block.py").read_text().replace("3, stride,", "3, 1,"))
    code, out, _ = reslab_here("compare", "--check", "my_block.py:MyBlock", "--network", "cifar_resnet20")
    assert code == 1


@pytest.mark.slow
def test_a_long_comparison_in_a_pipe_wants_a_yes(
    tmp_path: Path, photo_folder: Callable[..., Path], reslab_here: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    words = ["basic", "se", *FLAGS, "--epochs", "100000", "--output", out]
    code, printed, err = reslab_here("compare", photo_folder(), *words)
    assert code == 2
    assert "16 cells of about" in printed
    assert "add --yes" in err
    assert not (out / "cells").exists()
