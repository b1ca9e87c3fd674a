"""The verbs `experiment` and `compare --ideas` on tiny networks and photos."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reslab.lab.literature.experiments import EXPERIMENTS, Claim, Experiment
from reslab.lab.literature.ideas import load_ideas


@pytest.mark.slow
def test_an_experiment_runs_on_a_folder_and_is_continued(
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    reslab_here: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = (
        Claim("plain", "basic", "worse", "it loses", "table 1"),
        Claim("se", "plain", "better", "it gains", "table 2"),
    )
    tiny = Experiment(
        "Is it?", "A, B, C, 2015", "cifar_resnet20", ("basic", "plain", "se"), claims, seeds=1,
        recipe={"epochs": 1, "size": 16, "batch_size": 8, "optimizer": "adamw", "precision": "fp32"},
        train=16, test=8,
    )  # fmt: skip
    listed = reslab_here("experiment").out
    assert all(name in listed for name in EXPERIMENTS)
    monkeypatch.setattr("reslab.lab.literature.experiments.EXPERIMENTS", {"tiny": tiny})
    source, output = photo_folder(train=40, test=20), tmp_path / "out"
    shown = reslab_here("experiment", "tiny", source, "--output", output)
    assert shown.code == 0, shown.err
    assert "se, compared with plain\n  paper     it gains (table 2)\n  measured  " in shown.out
    again = reslab_here("experiment", "tiny", source, "--output", output, "--json")
    result = json.loads(again.out)
    assert [claim["verdict"] for claim in result["claims"]] == [None, None]
    rows = {row["name"]: row["mean"] for row in result["comparison"]["variants"]}
    assert result["claims"][1]["difference"] == pytest.approx(rows["se"] - rows["plain"])
    assert "finished" not in again.err  # no cell was repeated
    assert len(list((output / "cells").iterdir())) == 3
    refused = reslab_here("experiment", "tinny")
    assert refused.code == 2
    assert "tiny" in refused.err


@pytest.mark.slow
def test_all_ideas_are_compared_with_their_baselines(
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    reslab_here: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    by_variant = {idea.variant: idea for idea in load_ideas()}
    few = tuple(
        by_variant[name] for name in ("label_smoothing=0", "nesterov=true", "progressive_resizing=false")
    )
    monkeypatch.setattr("reslab.lab.literature.compare_ideas.load_ideas", lambda: few)
    monkeypatch.setattr("reslab.lab.literature.ideas.load_ideas", lambda: few)
    flags = ["--size", "16", "--batch-size", "8", "--epochs", "1", "--precision", "fp32", "--seeds", "1"]
    flags += ["--first-seed", "3"]
    output = tmp_path / "out"
    command = ["compare", "--ideas", photo_folder(train=24, test=10), *flags, "--output", output]
    shown = reslab_here(*command)
    assert shown.code == 0, shown.err
    assert "Progressive resizing: left out, images of 16 pixels are not made smaller" in shown.out
    assert [line.split()[0] for line in shown.out.splitlines() if "no verdict" in line][-2:] == [
        "Label", "Nesterov",
    ]  # fmt: skip
    result = json.loads((output / "ideas.json").read_text())
    assert {name: len(c["variants"]) for name, c in result["comparisons"].items()} == {
        "optimizer=sgd": 2, "basic": 2,
    }  # fmt: skip
    assert str(tmp_path) not in json.dumps(result)
    assert result["recipe"]["optimizer"] == "muon"  # of the recipe, not of the group that runs first
    variants = {row["name"]: row for row in result["comparisons"]["basic"]["variants"]}
    assert variants["basic"]["epochs"] == variants["label_smoothing=0"]["epochs"]  # of equal workload
    again = reslab_here(*command, "--json")
    assert json.loads(again.out) == result
    assert "finished" not in again.err  # no cell was repeated
    both = reslab_here("compare", "--ideas", tmp_path, "se")
    assert both.code == 2
    assert "the list names the variants" in both.err


def test_ideas_refuse_a_network_that_takes_no_block(tmp_path: Path, reslab_here: Callable[..., Any]) -> None:
    refused = reslab_here("compare", "--ideas", tmp_path, "--network", "torchvision:vgg16")
    assert refused.code == 2
    assert "of the family" in refused.err
