"""Promises of compare(): paired cells, nothing repeated, the same weights after a kill, honest verdicts."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from materials import make_photo

import reslab
from reslab.cli.main import run as reslab_command
from reslab.evaluation.model_file import read_model
from reslab.lab.cells import ANSWERS, CHECKSUMS
from reslab.lab.compare import plan_comparison
from reslab.lab.estimate import estimate
from reslab.lab.plan import PLAN, Plan
from reslab.lab.request import Request
from reslab.photos.folder import list_file
from reslab.photos.folder.photos import Photos
from reslab.training.recipe import OPTIMIZER_DEFAULTS

TINY = reslab.Recipe(epochs=1, size=16, batch_size=8, progressive_resizing=False, optimizer="adamw")
FLAGS = ["--network", "cifar_resnet20", "--size", "16", "--batch-size", "8", "--optimizer", "adamw"]
BLOCK = """
from reslab import BasicBlock
from part import SCALE

class Scaled(BasicBlock):
    def forward(self, x):
        return SCALE * super().forward(x)
"""


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared") / "photos"
    for split, count in (("train", 24), ("test", 10)):
        for i in range(count):
            label, color = (("blue", (60, 90, 170)), ("red", (170, 90, 60)))[i % 2]
            make_photo(folder / split / label / f"{i:03}.jpg", 1000 * len(split) + i, color)
    return folder


def run(folder: Path, variants: list[str], output: Path, **changed: Any) -> reslab.Comparison:
    settings = {"network": "cifar_resnet20", "recipe": TINY, "seeds": 2, "jobs": 1, "progress": False}
    return reslab.compare(
        folder, variants, output=output, **{"say": lambda text: None, **settings, **changed}
    )


@pytest.fixture(scope="module")
def finished(few: Path, tmp_path_factory: pytest.TempPathFactory) -> reslab.Comparison:
    return run(few, ["basic", "se"], tmp_path_factory.mktemp("finished") / "out")


@pytest.fixture
def again(finished: reslab.Comparison, tmp_path: Path) -> Path:
    """Copy the folder of the finished comparison, to change something in it."""
    return shutil.copytree(finished.folder, tmp_path / "again")


def seconds_left(output: Path) -> float:
    plan = Plan.load(output)
    return estimate(plan, output, Request.stored(plan))[0]


def start(*words: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "reslab", "compare", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_cells(output: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while len(list(output.glob(f"cells/*/{CHECKSUMS}"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def weights_and_answers(output: Path) -> dict[str, bytes]:
    """Read what every cell computed. The header of a model file also has durations."""
    found = {}
    for path in output.glob("cells/*"):
        tensors = read_model(path).tensors
        weights = [tensors[name].numpy().tobytes() for name in sorted(tensors)]
        found[path.name] = b"".join(
            [*weights, *((path / name).read_bytes() for name in (ANSWERS, CHECKSUMS))]
        )
    return found


@pytest.mark.slow
def test_a_variant_that_is_the_baseline_answers_the_same_and_is_equivalent(few: Path, tmp_path: Path) -> None:
    comparison = run(few, ["basic", "BasicBlock"], tmp_path / "out", until_sure=20)
    (difference,) = comparison.differences.values()
    assert (difference.difference, difference.verdict) == (0.0, "equivalent")
    assert len(comparison.seeds) == 5  # the first of four looks is clear
    assert not comparison.exploratory
    assert seconds_left(tmp_path / "out") == 0
    first, second = comparison.variants
    for a, b in zip(first.cells, second.cells, strict=True):
        for name in (ANSWERS, CHECKSUMS):
            paths = (tmp_path / "out" / cell.folder / name for cell in (a, b))
            assert len({path.read_bytes() for path in paths}) == 1
    row = comparison.as_json()["variants"][1]
    assert (row["verdict"], len(row["accuracies"])) == ("equivalent", 5)


@pytest.mark.slow
def test_cells_are_runs_and_know_no_label_of_a_test_photo(few: Path, finished: reslab.Comparison) -> None:
    cell = finished.variants[1].cells[0]
    found = reslab.Run(finished.folder / cell.folder)
    assert (found.state, found.about["network"]) == ("finished", "cifar_resnet20:se")
    assert not found.photos.test
    assert not list_file.read(finished.folder / "photos/test.jsonl").splits["test"].labels.any()
    assert found.classifier.evaluate(few).accuracy == cell.accuracy
    assert finished.verdicts == {"se": None}  # two seeds
    outputs = {"plan.json", "results.jsonl", "looks.jsonl", "report.html", "forest.svg", "table.tex"}
    assert outputs <= {path.name for path in finished.folder.iterdir() if path.stat().st_size}


@pytest.mark.slow
def test_a_seed_has_the_split_of_train(few: Path, finished: reslab.Comparison) -> None:
    for seed in (0, 1):
        listed = Photos.load(finished.folder / f"photos/seed-{seed}.jsonl")
        trained = Photos(few, val_fraction=TINY.val_fraction, seed=seed)
        assert (listed.train, listed.val) == (trained.train, trained.val)


@pytest.mark.slow
def test_two_kills_change_nothing_and_finished_cells_are_not_repeated(
    few: Path, finished: reslab.Comparison, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    words = [few, "basic", "se", *FLAGS, "--epochs", "1", "--seeds", "2", "--jobs", "1", "--output", out]
    words.append("--no-progressive-resizing")
    for cells in (1, 3):
        process = start(*words)
        wait_for_cells(out, cells, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    done = {path: path.stat().st_mtime_ns for path in out.glob(f"cells/*/{ANSWERS}")}
    process = start(*words)
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert weights_and_answers(out) == weights_and_answers(finished.folder)
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_the_folder_alone_continues(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(few, "basic", "se", *FLAGS, "--epochs", "4", "--seeds", "1", "--output", out)
    wait_for_cells(out, 1, process)
    process.send_signal(signal.SIGINT)
    printed, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (130, "interrupted\n")
    assert "stopping: finishing the current steps ..." in printed
    assert f"to continue: reslab compare {out}" in printed
    process = start(out, "--json")
    result = json.loads(process.communicate()[0])
    assert (result["baseline"], result["seeds"], result["test_photos"]) == ("basic", 1, 10)


@pytest.mark.slow
def test_an_edited_helper_file_makes_new_cells_and_the_old_variant_still_counts(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("block.py").write_text(BLOCK)
    Path("part.py").write_text("SCALE = 1.0\n")
    first = run(few, ["basic", "block.py:Scaled"], tmp_path / "out", seeds=1)
    Path("part.py").write_text("SCALE = 2.0\n")
    second = run(few, ["basic", "block.py:Scaled"], tmp_path / "out", seeds=1)
    assert first.cells[0].folder == second.cells[0].folder
    assert first.cells[1].folder != second.cells[1].folder
    assert (first.also_run, second.also_run) == (0, 1)


@pytest.mark.slow
def test_one_changed_image_is_caught(
    few: Path, finished: reslab.Comparison, again: Path, refuses: Any
) -> None:
    path = again / finished.variants[1].cells[1].folder / CHECKSUMS
    checksums = np.fromfile(path, "<u4")
    checksums[2] += 1
    checksums.tofile(path)
    with refuses(reslab.RunError, "seed 1", "basic and se", "step 3"):
        run(few, ["basic", "se"], again)


@pytest.mark.slow
def test_more_seeds_after_a_look_are_exploratory(few: Path, again: Path) -> None:
    comparison = run(few, ["basic", "se"], again, seeds=3)
    assert comparison.exploratory
    looks = [json.loads(line) for line in (again / "looks.jsonl").read_text().splitlines()]
    assert [look["seeds"] for look in looks] == [2, 3]


@pytest.mark.slow
def test_fewer_seeds_or_another_margin_after_a_look_are_exploratory(few: Path, again: Path) -> None:
    assert run(few, ["basic", "se"], again, margin=2.0).exploratory
    assert run(few, ["basic", "se"], again, seeds=1).exploratory
    assert not run(few, ["basic", "se"], again).exploratory  # as planned before the first look


@pytest.mark.slow
def test_a_finished_comparison_is_shown_without_its_photos(
    again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = json.loads((again / PLAN).read_text())
    (again / PLAN).write_text(json.dumps(plan | {"photos": "/nowhere"}))
    assert reslab_command(["compare", str(again), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == 2


@pytest.mark.slow
def test_what_a_stored_comparison_has_fixed_is_refused(
    again: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag, value in (("--epochs", "3"), ("--network", "resnet18"), ("--output", "other")):
        assert reslab_command(["compare", str(again), flag, value]) == 2
        assert f"{flag} for the comparison" in capsys.readouterr().err


@pytest.mark.slow
def test_a_stored_recipe_still_gives_an_optimizer_its_learning_rate(finished: reslab.Comparison) -> None:
    recipe = Plan.load(finished.folder).recipe
    assert recipe == TINY
    assert recipe.with_settings(optimizer="sgd").learning_rate == OPTIMIZER_DEFAULTS["sgd"]["learning_rate"]


@pytest.mark.slow
def test_photos_given_as_a_value_are_kept_and_lists_of_an_interrupted_plan_are_not(
    few: Path, tmp_path: Path
) -> None:
    photos, folder = Photos(few, val_fraction=0.25, seed=3), tmp_path / "out"
    (folder / "photos").mkdir(parents=True)
    (folder / "photos/seed-0.jsonl").write_text("of other photos")
    request = Request("cifar_resnet20", TINY, seeds=1, jobs=1, progress=False)
    plan = plan_comparison(photos, ["basic", "se"], request, folder, lambda text: None)
    assert Photos(plan.photos) == photos
    assert Photos.load(folder / "photos/seed-0.jsonl").val == photos.val
    same = ["learning_rate=0.002", "learning_rate=2e-3"]
    with pytest.raises(reslab.UsageError, match="the same training"):
        plan_comparison(photos, same, request, folder, lambda text: None)


@pytest.mark.slow
def test_a_diverged_variant_stays_in_the_table(few: Path, tmp_path: Path) -> None:
    comparison = run(few, ["learning_rate=0.001", "learning_rate=1e30"], tmp_path / "out")
    diverged = comparison.variants[1]
    assert len(diverged.failures) == 2
    assert diverged.difference is None
    assert "the loss became nan" in str(diverged.failures[0].error)
    assert "learning_rate=1e30" in comparison.table()


@pytest.mark.slow
def test_unused_seeds_are_other_trainings(few: Path, finished: reslab.Comparison, tmp_path: Path) -> None:
    confirmed = run(few, ["basic", "se"], tmp_path / "out", first_seed=1, seeds=1)
    assert confirmed.seeds == (1,)
    assert confirmed.cells[0].folder == finished.variants[0].cells[1].folder


@pytest.mark.slow
def test_another_comparison_is_not_mixed_in(few: Path, again: Path, refuses: Any) -> None:
    with refuses(reslab.RunError, "epochs changed: 1 -> 2", "--output"):
        run(few, ["basic", "se"], again, recipe=TINY.with_settings(epochs=2))


@pytest.mark.slow
def test_tuning_tries_the_same_rates_for_each_variant_and_judges_with_other_seeds(
    few: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    comparison = run(few, ["basic", "se"], tmp_path / "out", tune=3, seeds=1, say=lines.append)
    assert sum("of 3 tried" in line for line in lines) == 2
    assert len(list((tmp_path / "out/cells").iterdir())) == 8
    assert {cell.seed for cell in comparison.cells} == {0}
    assert seconds_left(tmp_path / "out") == 0


@pytest.mark.slow
def test_equal_multiply_adds_change_the_epochs_and_equal_parameters_the_width(
    few: Path, tmp_path: Path
) -> None:
    settings = {"recipe": TINY.with_settings(epochs=8), "seeds": 1}
    names = ["cifar_resnet20", "cifar_resnet56"]
    small, large = run(few, names, tmp_path / "flops", budget="flops", **settings).variants
    epochs = round(8 * small.multiply_adds / large.multiply_adds)
    assert [len(variant.cells[0].val_accuracies) for variant in (small, large)] == [8, epochs]
    small, large = run(few, names, tmp_path / "parameters", budget="parameters", **settings).variants
    assert large.parameters == pytest.approx(small.parameters, rel=0.05)
    folder = tmp_path / "parameters" / large.cells[0].folder
    assert reslab.Run(folder).about["spec"]["width_mult"] < 1
