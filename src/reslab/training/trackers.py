"""Trackers: send the figures of each epoch to TensorBoard or MLflow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from reslab import files
from reslab.errors import UsageError, nearest
from reslab.untrusted import read_json, read_text

FIGURES = ("train_loss", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second", "size")
TEST_FIGURE = "test_accuracy"
EXPERIMENT = "reslab"  # of MLflow
ARTIFACTS = ("recipe.json", "environment.json", "curves.png", "result.json", "test.csv")
MLFLOW_SETTINGS = {  # environment variables, unless the user sets them
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves the machine unasked
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the training waits for the server
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}

Row = Mapping[str, Any]  # the fields of an Epoch


@dataclass(frozen=True)
class TrackedRun:
    """Facts about a run that a tracker shows.

    Attributes:
        folder: of the run.
        settings: network, number of classes, and all settings of the recipe, by name.
        rows: figures of the epochs that are finished already, as `Run.rows`.
    """

    folder: Path
    settings: Mapping[str, Any]
    rows: Sequence[Row]


class Tracker(Protocol):
    """Consumer of a run's epochs. Any method may raise any exception: the training continues without it."""

    def log(self, row: Row) -> None:
        """Send the figures of one epoch."""

    def close(self, result: Mapping[str, Any] | None) -> None:
        """Send the result, None if the run was interrupted, and close the connection."""


class TensorBoard:
    """Event files in the folder `tensorboard` of the run. `tensorboard --logdir runs` shows all runs.

    Args:
        run: its finished epochs are written again, so that a resumed run lacks none.
    """

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=0)  # hides earlier files
        lines = ["| setting | value |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in run.settings.items()]
        self._writer.add_text("settings", "\n".join(lines), 0)
        for row in run.rows:
            self.log(row)

    def log(self, row: Row) -> None:
        for name in FIGURES:
            self._writer.add_scalar(name, row[name], row["epoch"])
        self._writer.flush()

    def close(self, result: Mapping[str, Any] | None) -> None:
        if result is not None and result["test_accuracy"] is not None:
            self._writer.add_scalar(TEST_FIGURE, result["test_accuracy"], result["best_epoch"])
        self._writer.close()


class MLflow:
    """Run in MLflow's experiment `reslab`.

    It goes to the server that MLFLOW_TRACKING_URI names, else to the SQLite database mlflow.db and the folder
    mlartifacts in the current folder. mlflow.json in the run folder lets a resumed run continue there. The
    files in ARTIFACTS are copied, the model is not.

    Args:
        run: continues its MLflow run if it has an mlflow.json.
    """

    def __init__(self, run: TrackedRun) -> None:
        for name, value in MLFLOW_SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._folder, memory = run.folder, run.folder / "mlflow.json"
        if memory.is_file():
            kept = read_json(read_text(memory))
            database, self._id = kept["database"], kept["run_id"]
            self._client = MlflowClient(database and f"sqlite:///{database}")
            self._client.update_run(self._id, "RUNNING")
            history = self._client.get_metric_history(self._id, FIGURES[0])
            self._last_epoch = max((metric.step for metric in history), default=0)
        else:
            database = None if "MLFLOW_TRACKING_URI" in os.environ else str(Path("mlflow.db").absolute())
            self._client = MlflowClient(database and f"sqlite:///{database}")
            made = self._client.create_run(self._experiment(database), run_name=run.folder.name)
            self._id, self._last_epoch = made.info.run_id, 0
            files.write_json(memory, {"database": database, "run_id": self._id})
            settings = [Param(name, str(value)) for name, value in run.settings.items()]
            self._client.log_batch(self._id, params=settings)
            self._client.set_tag(self._id, "reslab.run", str(run.folder.absolute()))
        for row in run.rows:
            self.log(row)

    def _experiment(self, database: str | None) -> str:
        """Return the id of the experiment, which is created if it does not exist."""
        if found := self._client.get_experiment_by_name(EXPERIMENT):
            return found.experiment_id
        # without a location, artifacts of an SQLite database go where the program was started
        location = database and Path(database).with_name("mlartifacts").as_uri()
        return self._client.create_experiment(EXPERIMENT, location)

    def log(self, row: Row) -> None:
        from mlflow.entities import Metric

        if row["epoch"] <= self._last_epoch:  # it was sent before the run was killed
            return
        now = round(time.time() * 1000)
        metrics = [Metric(name, float(row[name]), now, row["epoch"]) for name in FIGURES]
        self._client.log_batch(self._id, metrics)

    def close(self, result: Mapping[str, Any] | None) -> None:
        if result is None:
            self._client.set_terminated(self._id, "KILLED")
            return
        if result["test_accuracy"] is not None:
            self._client.log_metric(self._id, TEST_FIGURE, result["test_accuracy"], step=result["best_epoch"])
        for name in ARTIFACTS:
            if (self._folder / name).is_file():
                self._client.log_artifact(self._id, str(self._folder / name))
        self._client.set_terminated(self._id, "FINISHED")


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow}


def check_tracker(name: str) -> None:
    """Raise UsageError if there is no tracker of this name, or its package is not installed."""
    if name not in TRACKERS:
        raise UsageError(f"there is no tracker '{name}'", "", nearest(name, TRACKERS))
    if find_spec(name) is None:
        do = f'pip install "reslab[{name}]"'
        raise UsageError(f"{name} is not installed", f"--track {name} needs it", do)
