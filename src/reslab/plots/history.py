"""History: the log of a hand-written training loop.

    history = History()
    history.log(epoch, train_loss=loss.item(), val_loss=val_loss)
    history["train_loss"].data

The calls are hiddenlayer's, so its tutorials run unchanged. What differs: files are JSON and never pickles,
and a metric has values only at the steps where it was logged.
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

Step = int | tuple[int, int]  # an epoch or a count of updates; or (epoch, update within the epoch)
Value = int | float | NDArray[Any] | None  # None: known by name, not measured at this step

FORMAT = "reslab history 1"


class UnknownMetricError(UsageError, KeyError):
    """A metric was asked for that has never been logged."""


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric over time: `data[i]` was logged at `steps[i]`, earliest step first.

    Numbers make an array of floats. Images of one shape make one array with the step as its first axis,
    images of several shapes an array of objects.
    """

    name: str
    data: NDArray[Any]
    steps: list[Step]

    @property
    def formatted_steps(self) -> list[str]:
        """The steps as text: 7, or 2:150 for update 150 of epoch 2."""
        return [format_step(step) for step in self.steps]


class History:
    """What was measured at each step.

    `step` is the step logged last (None before the first), `metrics` the names of all metrics, and `history`
    maps each step to its metrics.
    """

    def __init__(self) -> None:
        self.step: Step | None = None
        self.metrics: set[str] = set()
        self.history: dict[Step, dict[str, Value]] = {}
        self._times: dict[Step, float] = {}  # seconds since 1970; none for rows that come without

    def log(self, step: Step, **metrics: Any) -> None:
        """Records metrics at `step`: an int, or a tuple (epoch, update within the epoch).

        A value is a number, a tensor or array of one element (on any device, with or without gradient), or a
        larger array such as an image, which is copied. NaN is kept; None means "not measured yet". Logging a
        step again adds to it, and a new value replaces the old one of the same name.

        Raises UsageError for another kind of step or value, or if ints and tuples are mixed in one history.
        """
        step = _checked_step(step)
        if self.step is not None and isinstance(step, tuple) != isinstance(self.step, tuple):
            raise UsageError(
                f"step {format_step(step)} cannot stand beside step {format_step(self.step)}",
                "one history has either plain steps or (epoch, step) pairs: the two have no common order",
                "log the same kind of step everywhere, or use two histories",
            )
        values = {name: _checked_value(name, value) for name, value in metrics.items()}
        self.history.setdefault(step, {}).update(values)
        self.metrics |= values.keys()
        self.step = step
        self._times[step] = time.time()

    @property
    def steps(self) -> list[Step]:
        """All steps logged so far, in order."""
        return sorted(self.history)

    @property
    def formatted_steps(self) -> list[str]:
        """All steps logged so far, in order, as text."""
        return [format_step(step) for step in self.steps]

    def __getitem__(self, metric: str) -> Metric:
        """The metric of that name with the values logged so far. UnknownMetricError if it never was."""
        if metric not in self.metrics:
            raise UnknownMetricError(
                f"there is no metric {metric!r} in this history",
                nearest(metric, self.metrics) if self.metrics else "nothing has been logged yet",
                f"log it first: history.log(epoch, {metric}=value)",
            )
        steps = [step for step in self.steps if self.history[step].get(metric) is not None]
        return Metric(metric, _as_array([self.history[step][metric] for step in steps]), steps)

    def progress(self) -> None:
        """Prints the numbers of the step logged last, on one line."""
        if self.step is None:
            print("Nothing logged yet")
            return
        values = self.history[self.step].items()
        numbers = [f"{name}: {value:.4g}" for name, value in values if isinstance(value, int | float)]
        print("  ".join([f"Step {format_step(self.step)}:", *numbers]))

    def summary(self) -> None:
        """Prints the last step and the total time."""
        print(f"Last Step: {'none' if self.step is None else format_step(self.step)}")
        print(f"Training Time: {self.get_total_time()}")

    def get_total_time(self) -> timedelta:
        """The time between the first and the last call of log(); zero if fewer than two steps are timed."""
        times = self._times.values()
        return timedelta(seconds=max(times) - min(times)) if times else timedelta()

    def rows(self) -> list[dict[str, Any]]:
        """One dict a step, in order: {"step": 3, "train_loss": 0.41, ...}."""
        return [{"step": step, **self.history[step]} for step in self.steps]

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> History:
        """A history of rows like those of `rows()`; in "step" a list of two ints does for a tuple.

        Raises UsageError if a row has no "step", or for what log() does not take.
        """
        history = cls()
        for number, row in enumerate(rows, 1):
            if "step" not in row:
                raise UsageError(f'row {number} has no "step"', f"it has {', '.join(row) or 'nothing'}")
            history.log(row["step"], **{name: value for name, value in row.items() if name != "step"})
        history._times.clear()  # now is not when they were measured
        return history

    def save(self, file_name: str | os.PathLike[str]) -> None:
        """Writes everything as JSON, atomically. Raises OSError if the file cannot be written."""
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
        """Replaces this history by a saved one. The step that comes last becomes the last one logged.

        Raises UsageError if the file is not a saved history, and OSError if it cannot be read; the history is
        then as it was before.
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
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
            UsageError,
        ) as error:
            raise UsageError(
                f"{file_name} is not a saved history",
                "a history is a JSON file; pickles are not read, because reading one can run any program",
                "give it a file that History.save() has written",
            ) from error
        self.__dict__.update(loaded.__dict__)


def format_step(step: Step) -> str:
    """7 as 7, (2, 150) as 2:150."""
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
    if hasattr(value, "detach"):  # a tensor, known by its method so that torch need not be imported
        tensor = value.detach().cpu()
        try:
            value = tensor.numpy()
        except TypeError:  # NumPy has no bfloat16
            value = tensor.float().numpy()
    try:
        array = np.array(value)  # a copy: weights and images change under the hands of the one who logs them
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
    """One array of all values, whatever they are."""
    if not any(isinstance(value, np.ndarray) for value in values):
        return np.array(values, dtype=float)
    if len({np.shape(value) for value in values}) == 1:  # type: ignore[arg-type]  # no None comes here
        return np.stack(values)  # type: ignore[arg-type]
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value
    return array


def _to_json(value: Value) -> Any:
    """JSON knows neither arrays nor NaN and infinity: those become text."""
    if isinstance(value, np.ndarray):
        content = base64.b64encode(value.tobytes()).decode()
        return {"dtype": value.dtype.str, "shape": value.shape, "base64": content}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        array = np.frombuffer(base64.b64decode(value["base64"]), np.dtype(value["dtype"]))
        return array.reshape(value["shape"])
    return float(value) if isinstance(value, str) else value
