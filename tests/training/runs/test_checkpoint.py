"""Checkpoints: complete or refused, never pickled, and damage on the disk is noticed."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from materials import without_permission
from safetensors.torch import save_file

from reslab import Recipe, Run, resume
from reslab.errors import RunError
from reslab.training.runs import checkpoint

Header = dict[str, Any]
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def open_run(finished: Run, tmp_path: Path) -> Run:
    """A copy of a finished run without its result."""
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    return Run(tmp_path / "run")


def refusal(run: Run) -> RunError:
    with pytest.raises(RunError) as caught:
        resume(run, progress=False, say=str)
    assert "\n" not in caught.value.why
    assert caught.value.why
    assert caught.value.do
    return caught.value


def rewrite(run: Run, change: Callable[[Header, Tensors], object]) -> None:
    """Change a checkpoint and give it a valid checksum again."""
    header, tensors = checkpoint.read(run.folder)
    content = header.model_dump()
    change(content, tensors)
    checkpoint.write(run.folder, content, tensors)


def test_a_file_that_is_not_a_checkpoint_is_refused(open_run: Run) -> None:
    path = open_run.folder / checkpoint.NAME
    good = path.read_bytes()
    for content in (b"", b"no checkpoint", good[:1000], good[:-30]):
        path.write_bytes(content)
        assert refusal(open_run).what == f"{path} cannot be read"
    save_file({"weight": torch.zeros(3)}, path)
    assert refusal(open_run).what == f"{path} cannot be read"
    path.unlink()
    assert refusal(open_run).what == f"there is no checkpoint {path}"
    path.write_bytes(good)
    rewrite(open_run, lambda header, tensors: header.update(version=7))
    assert "version 7, and this reslab reads version 3" in refusal(open_run).why
    path.write_bytes(good)
    assert resume(open_run, progress=False, say=str).state == "finished"


@pytest.mark.slow
def test_every_changed_byte_is_noticed(open_run: Run) -> None:
    path, dice = open_run.folder / checkpoint.NAME, random.Random(0)
    good = path.read_bytes()
    for place in [dice.randrange(len(good)) for _ in range(100)]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
        with pytest.raises(RunError, match="cannot be read"):
            checkpoint.read(open_run.folder)


def test_a_checkpoint_of_another_recipe_does_not_fit(open_run: Run) -> None:
    settings = open_run.recipe.with_settings(optimizer="adam", learning_rate=0.01, weight_averaging=0.9)
    settings.save(open_run.folder / "recipe.json")
    error = refusal(open_run)
    assert "does not fit this run" in error.what
    assert "start a new run" in error.do


def test_tensors_keep_their_values_and_types_whatever_their_layout(finished: Run, tmp_path: Path) -> None:
    header, _ = checkpoint.read(finished.folder)
    shared = torch.arange(6.0)
    tensors = {
        "scalar": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "shared": shared,
        "also shared": shared[:4].clone(),
    }
    checkpoint.write(tmp_path, header.model_dump(), tensors)
    found = checkpoint.read(tmp_path)[1]
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name], tensor)
        assert found[name].dtype == tensor.dtype


CHANGES: dict[str, Callable[[Header, Tensors], object]] = {
    "no epoch": lambda header, tensors: header.pop("epoch"),
    "epoch of text": lambda header, tensors: header.update(epoch="2"),
    "an epoch more": lambda header, tensors: header.update(epoch=3),
    "step": lambda header, tensors: header.update(step=10**30),
    "step without a plan": lambda header, tensors: header.update(step=1, images=8),
    "loss": lambda header, tensors: header.update(loss_sum=float("nan")),
    "number of no float": lambda header, tensors: header.update(seconds=10**400),
    "plan": lambda header, tensors: header.update(plan={"size": 10**9}),
    "steps of an epoch": lambda header, tensors: header["past_epochs"][0].update(steps=0),
    "size": lambda header, tensors: header["past_epochs"][0].update(size=2**40),
    "epochs": lambda header, tensors: header["epochs"].pop(),
    "val_loss": lambda header, tensors: header["epochs"][0].update(val_loss=float("nan")),
    "replacements": lambda header, tensors: header.update(replacements=[]),
    "time budget": lambda header, tensors: header.update(time_budget={"spent": "now"}),
    "learning rates": lambda header, tensors: header.update(learning_rates=["fast"]),
    "groups": lambda header, tensors: header["learning_rates"].pop(),
    "weights": lambda header, tensors: tensors.update({"network.conv1.weight": torch.zeros(0)}),
    "no weights": lambda header, tensors: tensors.pop("network.conv1.weight"),
    "averages": lambda header, tensors: tensors.update({"optimizer.0.average": torch.zeros(3)}),
    "half of the averages": lambda header, tensors: tensors.pop(
        next(name for name in tensors if name.endswith(".square"))
    ),
    "parameters": lambda header, tensors: tensors.update({"optimizer.1000000.average": torch.zeros(3)}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_with_invalid_values_is_refused(change: str, open_run: Run) -> None:
    rewrite(open_run, CHANGES[change])
    error = refusal(open_run)
    assert "does not fit this run" in error.what or "cannot be read" in error.what


def test_a_checkpoint_without_read_permission_is_not_given_up(finished: Run) -> None:
    with without_permission(finished.folder / checkpoint.NAME) as path, pytest.raises(RunError) as caught:
        checkpoint.read(path.parent)
    assert caught.value.why == "Permission denied"
    assert caught.value.do == "check its permissions and its disk, and try again"


@pytest.mark.parametrize("kind", ["pipe", "link to itself", "device", "folder"])
def test_a_path_that_is_not_a_file_is_refused_at_once(kind: str, open_run: Run) -> None:
    path = open_run.folder / checkpoint.NAME
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(RunError, match="there is no checkpoint"):
        resume(open_run, progress=False, say=str)


def test_settings_of_the_optimizer_come_from_the_edited_recipe(
    open_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    decays: list[set[float]] = []
    save = checkpoint.save

    def recorded(state: Any, *arguments: Any) -> None:
        decays.append({group["weight_decay"] for group in state.optimizer.param_groups})
        save(state, *arguments)

    monkeypatch.setattr(checkpoint, "save", recorded)
    open_run.recipe.with_settings(epochs=3, weight_decay=0.25).save(open_run.folder / "recipe.json")
    lines: list[str] = []
    resume(open_run, progress=False, say=lines.append)
    assert any("weight_decay 0.05 -> 0.25" in line for line in lines)
    assert decays == [{0.25, 0.0}]


def test_the_recipe_of_a_run_is_the_one_it_was_started_with(finished: Run) -> None:
    assert finished.recipe == Recipe(
        epochs=2, size=16, resize=18, batch_size=8, precision="fp32", seed=3, cache=False
    )
