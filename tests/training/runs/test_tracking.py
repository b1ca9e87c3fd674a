"""Trackers: TensorBoard and MLflow get the figures of each epoch, and one that fails changes nothing."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import reslab
from reslab import Recipe, Run, resume
from reslab.errors import UsageError
from reslab.training import trackers
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import start_run
from reslab.training.trackers import FIGURES, TRACKERS, TrackedRun

needs_tensorboard = pytest.mark.skipif(not find_spec("tensorboard"), reason='needs "reslab[tensorboard]"')
needs_mlflow = pytest.mark.skipif(not find_spec("mlflow"), reason='needs "reslab[mlflow]"')


def start(photos: Path, run: Path, recipe: Recipe, track: str | None = None) -> Run:
    return start_run(
        photos, "cifar_resnet20", recipe, weights=None, run=run, progress=False, say=str, track=track
    )


def finish(run: Run | Path) -> tuple[Run, list[str]]:
    lines: list[str] = []
    return resume(run, progress=False, say=lines.append), lines


def interrupt(run: Run, epochs: int) -> None:
    """Train some epochs, and stop as Ctrl-C does."""
    training = train_epochs(run, progress=False, say=str)
    for _ in range(epochs):
        next(training)
    training.close()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def as_expected(run: Run) -> dict[str, list[tuple[int, Any]]]:
    """Figures that a tracker should have of a finished run, by name."""
    result = run.result
    assert result is not None
    figures = {name: [(row["epoch"], pytest.approx(row[name])) for row in run.rows] for name in FIGURES}
    return figures | {"test_accuracy": [(result["best_epoch"], pytest.approx(result["test_accuracy"]))]}


@pytest.mark.slow
@needs_tensorboard
def test_tensorboard_reads_the_figures_of_a_resumed_run_once(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = start(photo_folder(), tmp_path / "run", small.with_settings(epochs=3), "tensorboard")
    interrupt(run, 2)
    assert [step for step, _ in scalars(run.folder / "tensorboard")["val_accuracy"]] == [1, 2]
    finish(run)
    assert len(list((run.folder / "tensorboard").iterdir())) == 2  # one file before, one after
    assert scalars(run.folder / "tensorboard") == as_expected(run)


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, without MLflow's variables."""
    for name in ("MLFLOW_TRACKING_URI", *trackers.MLFLOW_SETTINGS):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
@needs_mlflow
def test_mlflow_reads_the_figures_of_a_resumed_run_once(
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    in_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlflow import MlflowClient

    run = start(photo_folder(), tmp_path / "run", small.with_settings(epochs=3), "mlflow")
    interrupt(run, 1)
    client = MlflowClient(f"sqlite:///{in_folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("reslab")
    assert experiment is not None
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert tracked.info.status == "KILLED"
    checkpoint = run.folder / "checkpoint.safetensors"
    after_one = checkpoint.read_bytes()
    interrupt(run, 1)
    checkpoint.write_bytes(after_one)  # a kill before the checkpoint: the second epoch is repeated
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)  # the run continues in its database, wherever it is resumed
        finish(run)
    assert not (tmp_path / "mlflow.db").exists()
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert (tracked.info.status, tracked.info.run_name) == ("FINISHED", "run")
    history = {name: client.get_metric_history(tracked.info.run_id, name) for name in tracked.data.metrics}
    expected = as_expected(run)
    assert history.keys() == expected.keys()
    for name, metrics in history.items():
        found = [(metric.step, metric.value) for metric in metrics]
        if name in ("seconds", "images_per_second"):  # those of the first time
            assert [step for step, _ in found] == [1, 2, 3]
        else:
            assert found == expected[name]
    assert tracked.data.params["network"] == "cifar_resnet20"
    assert tracked.data.params["epochs"] == "3"
    assert tracked.data.tags["reslab.run"] == str(run.folder)
    artifacts = in_folder / "mlartifacts" / tracked.info.run_id / "artifacts"
    assert {path.name for path in artifacts.iterdir()} >= {"recipe.json", "result.json", "test.csv"}
    assert {path.name for path in in_folder.iterdir()} == {"mlflow.db", "mlartifacts"}


class Failing:
    """A tracker that raises in one of its methods, after it has drawn random numbers."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __call__(self, run: TrackedRun) -> "Failing":
        return self.fail("start") or self

    def log(self, row: Any) -> None:
        self.fail("log")

    def close(self, result: Any) -> None:
        self.fail("close")

    def fail(self, method: str) -> None:
        torch.manual_seed(0)
        np.random.seed(0)
        torch.rand(3)
        if method == self.method:
            raise RuntimeError(f"no disk in {method}\nand more")


@pytest.mark.slow
def test_a_tracker_that_fails_changes_no_bit_and_is_named_in_one_line(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photo_folder()
    plain, lines = finish(start(photos, tmp_path / "plain", small))
    weights = load_file(plain.folder / "model.safetensors")
    assert not [line for line in lines if "WARNING" in line]
    for method in ("start", "log", "close", "never"):
        monkeypatch.setitem(TRACKERS, "tensorboard", Failing(method))
        run = start(photos, tmp_path / method, small)
        name_tracker(run, "tensorboard")
        before = torch.get_rng_state()
        run, lines = finish(run)
        assert torch.equal(torch.get_rng_state(), before)
        warning = f"WARNING: tensorboard failed, and the training continues without it: no disk in {method}"
        assert [line for line in lines if "WARNING" in line] == [warning] * (method != "never")
        found = load_file(run.folder / "model.safetensors")
        assert found.keys() == weights.keys()
        assert all(torch.equal(found[name], weights[name]) for name in weights), method
        assert run.result is not None
        assert plain.result is not None
        assert run.result["test_accuracy"] == plain.result["test_accuracy"]


def name_tracker(run: Run, name: str) -> None:
    """Write the tracker into run.json, as `start_run` does for an installed one."""
    from reslab import files

    path = run.folder / "run.json"
    files.write_json(path, files.add_checksum(run.about | {"tracker": name}))


@pytest.mark.slow
def test_a_resumed_run_continues_where_its_tracker_is_not_installed(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(run: TrackedRun) -> None:
        raise ModuleNotFoundError("No module named 'tensorboard'")

    run = start(photo_folder(), tmp_path / "run", small.with_settings(epochs=1))
    name_tracker(run, "tensorboard")
    monkeypatch.setitem(TRACKERS, "tensorboard", missing)
    run, lines = finish(run)
    assert run.state == "finished"
    assert any("No module named 'tensorboard'" in line for line in lines)


def test_a_tracker_that_is_unknown_or_not_installed_is_refused_before_the_training(
    photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = photo_folder(train=4)
    with pytest.raises(UsageError, match="did you mean 'mlflow'"):
        reslab.train(photos, run=tmp_path / "run", track="mlfow")
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match='pip install "reslab\\[mlflow\\]"'):
        reslab.train(photos, run=tmp_path / "run", track="mlflow")
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_tracker_writes_for_none(finished: Run) -> None:
    assert json.loads((finished.folder / "run.json").read_text())["tracker"] is None
    assert not (finished.folder / "tensorboard").exists()
    assert not (finished.folder / "mlflow.json").exists()
