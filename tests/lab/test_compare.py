"""Promises of compare(): paired cells, nothing repeated, the same bits after a kill, honest verdicts."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab.evaluation.model_file import read_model
from reslab.lab.cells import ANSWERS, CHECKSUMS
from reslab.lab.plan import Plan
from reslab.photos.folder import list_file
from reslab.photos.folder.photos import Photos

TINY = reslab.Recipe(epochs=2, size=16, batch_size=8, progressive_resizing=False, optimizer="adamw")
FLAGS = [
    "--network",
    "cifar_resnet20",
    "--size",
    "16",
    "--batch-size",
    "8",
    "--optimizer",
    "adamw",
    "--epochs",
]
BLOCK = """
from reslab import BasicBlock
from part import SCALE

class Scaled(BasicBlock):
    def forward(self, x):
        return SCALE * super().forward(x)
"""


@pytest.fixture
def few(photo_folder: Callable[..., Path]) -> Path:
    return photo_folder(train=24, test=10)


def run(folder: Path, variants: list[str], output: Path, **changed: Any) -> reslab.Comparison:
    settings = {
        "network": "cifar_resnet20",
        "recipe": TINY,
        "seeds": 2,
        "progress": False,
        "say": lambda _: 0,
    }
    return reslab.compare(folder, variants, output=output, **(settings | changed))


def weights_and_answers(output: Path) -> dict[str, bytes]:
    """Read what every cell computed. The header of a model file also has durations."""
    found = {}
    for path in output.glob("cells/*"):
        tensors = read_model(path).tensors
        found[path.name] = b"".join(
            [(path / ANSWERS).read_bytes(), (path / CHECKSUMS).read_bytes()]
            + [tensors[name].numpy().tobytes() for name in sorted(tensors)]
        )
    return found


@pytest.mark.slow
def test_a_variant_that_is_the_baseline_answers_the_same_and_is_equivalent(few: Path, tmp_path: Path) -> None:
    comparison = run(few, ["basic", "BasicBlock"], tmp_path / "out", seeds=5)
    (difference,) = comparison.differences.values()
    assert (difference.difference, difference.verdict) == (0.0, "equivalent")
    assert len(comparison.cells) == 10
    assert len(list((tmp_path / "out/cells").iterdir())) == 10
    first, second = comparison.variants
    assert first.accuracies == second.accuracies
    for a, b in zip(first.cells, second.cells, strict=True):
        for name in (ANSWERS, CHECKSUMS):
            assert (tmp_path / "out" / a.folder / name).read_bytes() == (
                tmp_path / "out" / b.folder / name
            ).read_bytes()
    for name in ("plan.json", "results.jsonl", "looks.jsonl", "report.html", "forest.svg", "table.tex"):
        assert (tmp_path / "out" / name).stat().st_size
    row = comparison.as_json()["variants"][1]
    assert row["verdict"] == "equivalent"
    assert len(row["accuracies"]) == 5


@pytest.mark.slow
def test_cells_are_runs_and_know_no_label_of_a_test_photo(few: Path, tmp_path: Path) -> None:
    comparison = run(few, ["basic", "se"], tmp_path / "out", seeds=1)
    cell = comparison.cells[1]
    folder = tmp_path / "out" / cell.folder
    found = reslab.Run(folder)
    assert (found.state, found.about["network"]) == ("finished", "cifar_resnet20:se")
    assert not found.photos.test
    assert not list_file.read(tmp_path / "out/photos/test.jsonl").splits["test"].labels.any()
    assert found.classifier.evaluate(few).accuracy == cell.accuracy
    assert comparison.differences["se"].verdict is None  # one seed


def test_a_seed_has_the_split_of_train(few: Path, tmp_path: Path) -> None:
    plan = tmp_path / "out"
    run(few, ["basic", "se"], plan, seeds=2, recipe=TINY.with_settings(epochs=1))
    for seed in (0, 1):
        listed = Photos.load(plan / f"photos/seed-{seed}.jsonl")
        trained = Photos(few, val_fraction=TINY.val_fraction, seed=seed)
        assert (listed.train, listed.val) == (trained.train, trained.val)


@pytest.mark.slow
def test_two_kills_change_nothing_and_finished_cells_are_not_repeated(few: Path, tmp_path: Path) -> None:
    recipe = TINY.with_settings(epochs=4)
    run(few, ["basic", "se"], tmp_path / "whole", recipe=recipe)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "reslab", "compare", few, "basic", "se", *FLAGS, "4", "--seeds", "2"]
    command += ["--output", out, "--no-progressive-resizing"]
    for cells in (1, 3):
        process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while sum(1 for _ in out.glob(f"cells/*/{CHECKSUMS}")) < cells and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = {path: path.stat().st_mtime_ns for path in out.glob(f"cells/*/{ANSWERS}")}
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    assert weights_and_answers(out) == weights_and_answers(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_folder_alone_continues(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "reslab", "compare", few, "basic", "se", *FLAGS, "6", "--seeds", "2"]
    process = subprocess.Popen(
        list(map(str, [*command, "--output", out])), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not list(out.glob(f"cells/*/{CHECKSUMS}")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"to continue: reslab compare {out}" in printed
    assert error == "interrupted\n"
    done = subprocess.run(
        [sys.executable, "-m", "reslab", "compare", out, "--json"], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert (result["baseline"], result["seeds"], result["test_photos"]) == ("basic", 2, 10)


@pytest.mark.slow
def test_an_edited_helper_file_makes_new_cells_and_the_old_variant_still_counts(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("block.py").write_text(BLOCK)
    Path("part.py").write_text("SCALE = 1.0\n")
    recipe = TINY.with_settings(epochs=1)
    first = run(few, ["basic", "block.py:Scaled"], tmp_path / "out", recipe=recipe, seeds=1)
    Path("part.py").write_text("SCALE = 2.0\n")
    second = run(few, ["basic", "block.py:Scaled"], tmp_path / "out", recipe=recipe, seeds=1)
    assert first.cells[0].folder == second.cells[0].folder
    assert first.cells[1].folder != second.cells[1].folder
    assert (first.also_run, second.also_run) == (0, 1)


@pytest.mark.slow
def test_one_changed_image_is_caught(few: Path, tmp_path: Path, refuses: Callable[..., Any]) -> None:
    comparison = run(few, ["basic", "se"], tmp_path / "out")
    path = tmp_path / "out" / comparison.variants[1].cells[1].folder / CHECKSUMS
    checksums = np.fromfile(path, "<u4")
    checksums[3] += 1
    checksums.tofile(path)
    with refuses(reslab.RunError, "seed 1", "basic and se", "step 4"):
        run(few, ["basic", "se"], tmp_path / "out")


@pytest.mark.slow
def test_more_seeds_after_a_look_are_exploratory_unless_planned(few: Path, tmp_path: Path) -> None:
    recipe = TINY.with_settings(epochs=1)
    assert not run(few, ["basic", "BasicBlock"], tmp_path / "out", recipe=recipe, seeds=1).exploratory
    assert run(few, ["basic", "BasicBlock"], tmp_path / "out", recipe=recipe, seeds=2).exploratory
    planned = run(few, ["basic", "BasicBlock"], tmp_path / "sure", recipe=recipe, until_sure=20)
    assert len(planned.seeds) == 5  # the first look is clear
    assert not planned.exploratory
    looks = [json.loads(line) for line in (tmp_path / "out/looks.jsonl").read_text().splitlines()]
    assert [look["seeds"] for look in looks] == [1, 2]


@pytest.mark.slow
def test_a_diverged_variant_stays_in_the_table(few: Path, tmp_path: Path) -> None:
    variants = ["learning_rate=0.001", "learning_rate=1e30"]
    comparison = run(few, variants, tmp_path / "out")
    diverged = comparison.variants[1]
    assert len(diverged.failures) == 2
    assert diverged.difference is None
    assert "the loss became nan" in str(diverged.failures[0].error)
    assert "learning_rate=1e30" in comparison.table()


@pytest.mark.slow
def test_another_comparison_is_not_mixed_in(few: Path, tmp_path: Path, refuses: Callable[..., Any]) -> None:
    run(few, ["basic", "se"], tmp_path / "out", seeds=1, recipe=TINY.with_settings(epochs=1))
    with refuses(reslab.RunError, "epochs changed: 1 -> 2", "--output"):
        run(few, ["basic", "se"], tmp_path / "out", seeds=1)


@pytest.mark.slow
def test_tuning_tries_the_same_rates_for_each_variant_and_judges_with_other_seeds(
    few: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    recipe = TINY.with_settings(epochs=1)
    comparison = run(few, ["basic", "se"], tmp_path / "out", recipe=recipe, tune=3, seeds=1, say=said.append)
    assert sum("of 3 tried" in line for line in said) == 2
    assert len(list((tmp_path / "out/cells").iterdir())) == 8
    assert {cell.seed for cell in comparison.cells} == {0}


def test_equal_time_gives_a_slower_variant_fewer_epochs(few: Path, tmp_path: Path) -> None:
    recipe = TINY.with_settings(epochs=8)
    run(few, ["cifar_resnet20", "cifar_resnet56"], tmp_path / "out", recipe=recipe, budget="flops", seeds=1)
    small, large = Plan.load(tmp_path / "out").variants
    assert small.recipe["epochs"] == 8
    assert large.recipe["epochs"] == round(8 * small.multiply_adds / large.multiply_adds) == 3


@pytest.mark.slow
def test_equal_parameters_change_the_width(few: Path, tmp_path: Path) -> None:
    recipe = TINY.with_settings(epochs=1)
    comparison = run(few, ["basic", "plain"], tmp_path / "out", recipe=recipe, seeds=1, budget="parameters")
    basic, plain = comparison.variants
    assert plain.parameters == pytest.approx(basic.parameters, rel=0.05)
    assert reslab.Run(tmp_path / "out" / plain.cells[0].folder).about["spec"]["width_mult"] > 1
