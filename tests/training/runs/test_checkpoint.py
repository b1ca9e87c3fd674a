"""A checkpoint comes back whole or is refused; bits that were lost on the disk are noticed."""

import io
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reslab import Recipe, Run, resume
from reslab.errors import RunError


@pytest.fixture
def open_run(finished: Run, tmp_path: Path) -> Run:
    """A copy of a run that has everything but its result."""
    shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    return Run(tmp_path / "run")


def refusal(run: Run, content: bytes | None) -> RunError:
    path = run.folder / "checkpoint"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(RunError) as caught:
        resume(run, progress=False, say=str)
    return caught.value


def test_what_is_no_checkpoint_is_answered(open_run: Run) -> None:
    path = open_run.folder / "checkpoint"
    good = path.read_bytes()
    others = io.BytesIO(), io.BytesIO()
    torch.save([1], others[0])
    torch.save({"version": 7}, others[1])
    for content in (b"", b"no checkpoint", good[:1000], good[:-30], others[0].getvalue()):
        error = refusal(open_run, content)
        assert error.what == f"{path} cannot be read"
        assert error.why
        assert "\n" not in error.why
    assert "has version 7, this reslab reads 2" in str(refusal(open_run, others[1].getvalue()))
    assert "has no checkpoint" in str(refusal(open_run, None))
    path.write_bytes(good)
    assert resume(open_run, progress=False, say=str).state == "finished"


def test_a_changed_byte_is_refused_or_is_of_no_weight(open_run: Run) -> None:
    path, dice, refused = open_run.folder / "checkpoint", random.Random(0), 0
    good = path.read_bytes()
    expected = torch.load(io.BytesIO(good), weights_only=True)["network"]
    for place in [dice.randrange(len(good)) for _ in range(40)]:
        path.write_bytes(good[:place] + bytes([good[place] ^ 255]) + good[place + 1 :])
        try:
            resume(open_run, progress=False, say=str)
        except RunError as error:
            assert "cannot be read" in error.what  # noqa: PT017
            refused += 1
        else:
            now = torch.load(path, weights_only=True)["network"]
            assert all(torch.equal(now[name], expected[name]) for name in expected)
            (open_run.folder / "result.json").unlink()
    assert refused > 25


def test_a_checkpoint_of_another_network_or_recipe_does_not_fit(open_run: Run) -> None:
    settings = open_run.recipe.with_settings(optimizer="adam", learning_rate=0.01, weight_averaging=0.9)
    settings.save(open_run.folder / "recipe.json")
    with pytest.raises(RunError, match="does not fit this run") as caught:
        resume(open_run, progress=False, say=str)
    assert "start a new run" in caught.value.do


def test_nothing_in_a_checkpoint_is_executed(open_run: Run, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch.__call__, (tmp_path / "harm",)  # type: ignore[return-value]

    buffer = io.BytesIO()
    torch.save({"version": 1, "network": Evil()}, buffer)
    assert "cannot be read" in refusal(open_run, buffer.getvalue()).what
    assert not (tmp_path / "harm").exists()


def test_a_few_bytes_never_ask_for_much_memory(open_run: Run) -> None:
    class Large:
        def __reduce__(self) -> tuple[object, tuple[int]]:
            return bytearray, (2**40,)

    buffer = io.BytesIO()
    torch.save({"version": 2, "network": Large()}, buffer)
    assert "bytearray" in refusal(open_run, buffer.getvalue()).why


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "no epoch": lambda content: content.pop("epoch"),
    "epoch of text": lambda content: content.update(epoch="2"),
    "an epoch more": lambda content: content.update(epoch=3),
    "step": lambda content: content.update(step=10**30),
    "version": lambda content: content.update(version=torch.zeros(3)),
    "leg": lambda content: content.update(leg={"size": 10**9}),
    "past": lambda content: content["past"][0].update(steps=0),
    "size": lambda content: content["past"][0].update(size=2**40),
    "epochs": lambda content: content["epochs"].pop(),
    "a loss": lambda content: content["epochs"][0].update(val_loss=float("nan")),
    "replacements": lambda content: content.update(replacements=[]),
    "clock": lambda content: content.update(clock={"began": "now"}),
    "weights": lambda content: content["network"].update({"conv1.weight": torch.zeros(0)}),
    "no weights": lambda content: content.update(network=[1]),
    "averages": lambda content: content["optimizer"]["state"][0].update(average=torch.zeros(3)),
    "no averages": lambda content: content["optimizer"]["state"].update({0: {}}),
    "parameters": lambda content: content["optimizer"]["state"].update({10**6: {}}),
    "groups": lambda content: content["optimizer"].update(param_groups=[{"lr": "fast"}]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_whole_checkpoint_of_wrong_values_is_answered(change: str, open_run: Run) -> None:
    content = torch.load(open_run.folder / "checkpoint", weights_only=True)
    CHANGES[change](content)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    error = refusal(open_run, buffer.getvalue())
    assert "does not fit this run" in error.what or "cannot be read" in error.what
    assert error.why
    assert error.do


@pytest.mark.parametrize("kind", ["pipe", "link to itself", "device", "folder"])
def test_what_is_no_file_is_answered_and_not_waited_for(kind: str, open_run: Run) -> None:
    path = open_run.folder / "checkpoint"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path)
    with pytest.raises(RunError, match="has no checkpoint"):
        resume(open_run, progress=False, say=str)


def test_a_recipe_that_was_edited_decides_how_the_optimizer_goes_on(open_run: Run) -> None:
    """The checkpoint keeps the averages only: a weight decay from it would be that of before."""
    open_run.recipe.with_settings(epochs=3, weight_decay=0.25).save(open_run.folder / "recipe.json")
    said: list[str] = []
    resume(open_run, progress=False, say=said.append)
    assert any("weight_decay 0.05, now 0.25" in line for line in said)
    groups = torch.load(open_run.folder / "checkpoint", weights_only=True)["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.25, 0.0}


def test_the_recipe_of_a_run_is_that_of_its_start(finished: Run) -> None:
    assert finished.recipe == Recipe(
        epochs=2, size=16, resize=18, batch_size=8, precision="fp32", seed=3, cache=False
    )
