"""Cost of a cell before it runs: seconds of its steps, measured, and of the whole training, estimated."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median

import torch

from reslab.evaluation.inference import predict_logits
from reslab.hardware import threads
from reslab.photos.folder import list_file
from reslab.training.epoch_plan import image_sizes
from reslab.training.loop import train_step
from reslab.training.runs import checkpoint
from reslab.training.setup import TrainingSetup
from reslab.training.time_budget import FORWARD_FRACTION, planned_epochs

from .cells import Cell, prepare_cell

MIN_TIMED_STEPS, MAX_TIMED_STEPS = 4, 30  # the first is a warm-up
TIMED_S = 2.0  # of steps that are measured, where they are short
MODEL_FRACTION = 0.5  # of the time to save a checkpoint: the model file, saved when an epoch is the best
FINISHING_S = 1.0  # calibration, curves and result of a run


@dataclass(frozen=True)
class CellCost:
    """Measured and estimated seconds of a cell.

    Attributes:
        seconds_per_step: of a training step at the recipe's image size, with its loading.
        seconds_per_epoch: of an epoch on average over all image sizes, with validation and saving.
        seconds_besides: of the start, the end and the test.
        steps_per_epoch: number of training steps.
    """

    seconds_per_step: float
    seconds_per_epoch: float
    seconds_besides: float
    steps_per_epoch: int

    def seconds(self, epochs: int) -> float:
        """Return the estimated seconds of a cell with this number of epochs."""
        return self.seconds_besides + epochs * self.seconds_per_epoch


def is_busy() -> bool:
    """Return True if more processes want to compute than the machine has cores, on average over a minute."""
    has_load = hasattr(os, "getloadavg")  # Windows has none
    return has_load and os.getloadavg()[0] > (os.cpu_count() or 1)


def measure_cost(cell: Cell) -> CellCost:
    """Measure a few training steps of a cell at each of its image sizes. Nothing of it is kept.

    Raises:
        NetworkError: the network cannot be built or does not fit the photos.
        TrainingError: the memory is too small for a batch.
    """
    started = time.perf_counter()
    _, setup, _ = prepare_cell(cell)
    opening = time.perf_counter() - started
    state = setup.state
    with threads(state.threads):
        steps = {size: _step_seconds(setup, size) for size in image_sizes(state.recipe)}
        test = _test_seconds(setup, len(list_file.read(cell.test).splits["test"]))
    saving = (1 + MODEL_FRACTION) * _saving_seconds(setup)
    costs = {
        size: step * (len(setup.train) + FORWARD_FRACTION * len(setup.val)) + saving
        for size, step in steps.items()
    }
    plan = planned_epochs(setup, costs)
    epochs = sum(count for _, count in plan)
    per_epoch = sum(count * costs[size] for size, count in plan) / epochs
    return CellCost(steps[state.recipe.size], per_epoch, 2 * opening + test + FINISHING_S, len(setup.train))


def _step_seconds(setup: TrainingSetup, size: int) -> float:
    """Return the median seconds of a training step with its loading, at an image size in pixels.

    On a CPU they are seconds of this process's computing: other programs do not change them, and every
    variant is measured alike.
    """
    clock = time.process_time if setup.state.device.type == "cpu" else time.perf_counter
    seconds = []
    with closing(setup.train.epoch(0, size=size)) as batches:
        steps = islice(batches, MAX_TIMED_STEPS)
        started = clock()
        for images, labels in steps:
            train_step(setup.state, images, labels, 1e-6).item()
            seconds.append(clock() - started)
            if len(seconds) >= MIN_TIMED_STEPS and sum(seconds) > TIMED_S:
                break
            started = clock()
    return median(seconds[1:] or seconds)


def _test_seconds(setup: TrainingSetup, count: int) -> float:
    """Return the seconds to predict `count` photos in fp32, estimated from one batch."""
    state, size = setup.state, setup.preprocess.size
    images, seconds = torch.zeros(32, setup.preprocess.channels, size, size), []
    for _ in range(2):  # the first call is slower
        started = time.perf_counter()
        list(predict_logits(state.network, [images], state.device))
        seconds.append(time.perf_counter() - started)
    return min(seconds) * count / len(images)


def _saving_seconds(setup: TrainingSetup) -> float:
    """Return the seconds to save a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        checkpoint.save(setup.state, [], Path(folder))
        return time.perf_counter() - started
