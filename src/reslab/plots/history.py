"""History: a log of metrics for a hand-written training loop.

    history = History()
    history.log(epoch, train_loss=loss.item(), val_loss=val_loss)
    history["train_loss"].data

The calls are hiddenlayer's, so its tutorials run unchanged. There are two differences: files are JSON instead
of pickles, and a metric has values only at the steps where it was logged.
"""

from __future__ import annotations

import base64
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab import files
from reslab.errors import UsageError, nearest

Step = int | tuple[int, int]  # epoch, number of updates, or (epoch, update within the epoch)
Value = int | float | NDArray[Any] | None  # None: not measured at this step

FORMAT = "reslab history 1"


class UnknownMetricError(UsageError, KeyError):
    """Error for a metric that was never logged."""


@dataclass(frozen=True, eq=False)
class Metric:
    """Values of one metric over time.

    Attributes:
        name: of the metric.
        data: (N,) floats; for images of one shape (N, ...); for images of several shapes (N,) objects.
        steps: N steps in order; `data[i]` was logged at `steps[i]`.
    """

    name: str
    data: NDArray[Any]
    steps: list[Step]

    @property
    def formatted_steps(self) -> list[str]:
        """Steps as text, in the order of `steps`: "7", or "2:150" for update 150 of epoch 2."""
        return [format_step(step) for step in self.steps]


class History:
    """Metrics by step, logged by a training loop. `history["train_loss"]` is a `Metric`.

    Attributes:
        step: the step logged last; None before the first.
        metrics: names of all metrics.
        history: maps each step to its metrics.
    """

    def __init__(self) -> None:
        self.step: Step | None = None
        self.metrics: set[str] = set()
        self.history: dict[Step, dict[str, Value]] = {}
        self._times: dict[Step, float] = {}  # seconds since 1970; rows of from_rows have no time

    def log(self, step: Step, **metrics: Any) -> None:
        """Record metrics at `step`. Logging a step again adds to it and replaces values of the same name.

        `step` becomes the step logged last, even if it is lower than others.

        Args:
            step: an int, or a tuple (epoch, update within the epoch).
            metrics: numbers; tensors or arrays of one element, on any device, with or without gradient; or
                larger arrays such as images, which are copied. NaN is kept. None stands for "not measured".

        Raises:
            UsageError: another kind of step or value, or ints and tuples in one history.
        """
        step = _checked_step(step)
        if self.step is not None and isinstance(step, tuple) != isinstance(self.step, tuple):
            raise UsageError(
                f"step {format_step(step)} cannot follow step {format_step(self.step)}",
                "one history has either plain steps or (epoch, step) pairs, which have no common order",
                "log the same kind of step everywhere, or use two histories",
            )
        values = {name: _checked_value(name, value) for name, value in metrics.items()}
        self.history.setdefault(step, {}).update(values)
        self.metrics |= values.keys()
        self.step = step
        self._times[step] = time.time()

    @property
    def steps(self) -> list[Step]:
        """Steps logged so far, sorted: ints, or (epoch, update) tuples."""
        return sorted(self.history)

    @property
    def formatted_steps(self) -> list[str]:
        """Steps as text, in the order of `steps`: "7", or "2:150" for update 150 of epoch 2."""
        return [format_step(step) for step in self.steps]

    def __getitem__(self, metric: str) -> Metric:
        """Return the metric of this name, at the steps where it was measured.

        Raises:
            UnknownMetricError: the metric was never logged. It is a KeyError and a UsageError.
        """
        if metric not in self.metrics:
            raise UnknownMetricError(
                f"there is no metric {metric!r} in this history",
                nearest(metric, self.metrics) if self.metrics else "nothing has been logged yet",
                f"log it first: history.log(epoch, {metric}=value)",
            )
        steps = [step for step in self.steps if self.history[step].get(metric) is not None]
        return Metric(metric, _as_array([self.history[step][metric] for step in steps]), steps)

    def progress(self) -> None:
        """Print the step logged last and its numbers on one line, without arrays and None.

        Before the first step the line is "Nothing logged yet".
        """
        if self.step is None:
            print("Nothing logged yet")
            return
        values = self.history[self.step].items()
        numbers = [f"{name}: {value:.4g}" for name, value in values if isinstance(value, int | float)]
        print("  ".join([f"Step {format_step(self.step)}:", *numbers]))

    def summary(self) -> None:
        """Print two lines: the step logged last, "none" before the first, and the total time."""
        print(f"Last Step: {'none' if self.step is None else format_step(self.step)}")
        print(f"Training Time: {self.get_total_time()}")

    def get_total_time(self) -> timedelta:
        """Return the time from the first to the last logged step; of a step the last call of log() counts.

        Zero for fewer than two steps, and for the rows of `from_rows`, which have no times.
        """
        times = self._times.values()
        return timedelta(seconds=max(times) - min(times)) if times else timedelta()

    def rows(self) -> list[dict[str, Any]]:
        """Return a dict for each step, sorted by step: "step", and the values logged at it by name."""
        return [{"step": step, **self.history[step]} for step in self.steps]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> History:
        """Return a new history of rows like those of `rows()`. "step" may be a list of two ints.

        The last row's step becomes the step logged last. The history has no times.

        Raises:
            UsageError: a row has no "step", or a value that log() does not accept.
        """
        history = cls()
        for number, row in enumerate(rows, 1):
            if "step" not in row:
                raise UsageError(f'row {number} has no "step"', f"it has {', '.join(row) or 'nothing'}")
            history.log(row["step"], **{name: value for name, value in row.items() if name != "step"})
        history._times.clear()  # the rows were not measured now
        return history

    def save(self, file_name: str | os.PathLike[str]) -> None:
        """Write metrics and times as a JSON file, atomically. An existing file is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        rows = [
            {
                "step": step,
                "time": self._times.get(step),
                "metrics": {name: _to_json(value) for name, value in self.history[step].items()},
            }
            for step in self.steps
        ]
        files.write_json(Path(file_name), {"format": FORMAT, "rows": rows})

    def load(self, file_name: str | os.PathLike[str]) -> None:
        """Replace this history by one that `save` has written. The highest step becomes the one logged last.

        On an error the history is unchanged.

        Raises:
            UsageError: the file is not a saved history.
            OSError: the file cannot be read.
        """
        loaded = History()
        try:
            content = json.loads(Path(file_name).read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            for row in content["rows"]:
                loaded.log(row["step"], **{name: _from_json(value) for name, value in row["metrics"].items()})
            times = {_checked_step(row["step"]): row["time"] for row in content["rows"]}
            loaded._times = {step: float(moment) for step, moment in times.items() if moment is not None}
        except OSError:
            raise
        except Exception as error:  # a file of another kind may raise any
            raise UsageError(
                f"{file_name} is not a saved history",
                "a history is a JSON file; pickles are not read, since reading one can execute code",
                "give a file that History.save() has written",
            ) from error
        self.__dict__.update(loaded.__dict__)


def format_step(step: Step) -> str:
    """Return a step as text: "7" for 7, "2:150" for (2, 150)."""
    return str(step) if isinstance(step, int) else f"{step[0]}:{step[1]}"


def _checked_step(step: Any) -> Step:
    if isinstance(step, Integral):
        return int(step)
    if isinstance(step, tuple | list) and len(step) == 2 and all(isinstance(part, Integral) for part in step):
        return int(step[0]), int(step[1])
    raise UsageError(
        f"{step!r} is not a step",
        "a step is an int, or a tuple of two ints: (epoch, step within the epoch)",
        "history.log(epoch, train_loss=loss)",
    )


def _checked_value(name: str, value: Any) -> Value:
    if value is None:
        return None
    if hasattr(value, "detach"):  # a tensor; torch need not be imported
        tensor = value.detach().cpu()
        try:
            value = tensor.numpy()
        except TypeError:  # NumPy has no bfloat16
            value = tensor.float().numpy()
    try:
        array = np.array(value)  # a copy: weights and images may change later
    except ValueError:  # a ragged list
        array = np.array(None)
    if array.dtype.kind not in "biuf" or array.size == 0:
        raise UsageError(
            f"{name} cannot be logged: {value!r:.60} is not a number",
            "a metric is a number, a tensor of one element, or an array such as an image",
            f"log a number: history.log(step, {name}=float(value))",
        )
    if array.size > 1:
        return array
    return int(array.item()) if array.dtype.kind in "biu" else float(array.item())


def _as_array(values: list[Value]) -> NDArray[Any]:
    if not any(isinstance(value, np.ndarray) for value in values):
        return np.array(values, dtype=float)
    if len({np.shape(value) for value in values}) == 1:  # type: ignore[arg-type]
        return np.stack(values)  # type: ignore[arg-type]
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def _to_json(value: Value) -> Any:
    """Return a value for JSON: a dict for an array, text for NaN and infinity, else the value itself."""
    if isinstance(value, np.ndarray):
        content = base64.b64encode(value.tobytes()).decode()
        return {"dtype": value.dtype.str, "shape": value.shape, "base64": content}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        array = np.frombuffer(base64.b64decode(value["base64"]), np.dtype(value["dtype"]))
        return array.reshape(value["shape"])
    return float(value) if isinstance(value, str) else value
