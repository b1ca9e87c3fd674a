"""How long the epochs of a training will take, by steps that are timed before the first."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from reslab.errors import NetworkError
from reslab.evaluation.inference import predict_logits, read_photo
from reslab.hardware import cores, threads
from reslab.networks.precision import parse_precision
from reslab.networks.registry import check_input
from reslab.photos.loading.preprocess import Preprocess
from reslab.training.timing.autotune import measure_precision

from .epoch_plan import (
    EpochPlan,
    TimeBudget,
    choose_clock,
    epochs_left,
    next_leg,
    sizes_in_time,
    sizes_now,
    sizes_of,
)
from .failures import memory_answered

if TYPE_CHECKING:
    from reslab.photos.folder.photos import Photos

    from .setup import TrainingSetup

KEEPING = 0.5  # seconds of an epoch for checkpoint and model file
AFTER = 3.5  # seconds for the end of a run, its curves too, beside its test
TRIED, READ = 32, 8  # photos by which the seconds of the test are measured; as many or fewer are read
GONE_THROUGH = 1000  # epochs; a plan of more is not gone through one by one, which would take minutes
WAY_IN = 1 / 3  # of a step: a pass without a way back, and without an update


def estimate(prepared: TrainingSetup, name: str, loading: float) -> dict[int, float]:
    """Seconds of an epoch at each size that its pictures may have, validation included.

    `loading`: seconds that one batch of full size costs in this process before it reaches the network.
    """
    state = prepared.state
    sizes = sorted({size for sizes in _possible(prepared, name) for size in sizes})
    own = {size: _step(prepared, name, size) for size in {min(sizes_of(state.recipe)), state.recipe.size}}
    costs = {}
    for size in sizes:
        step = between(own, size)
        look, load = WAY_IN * step, loading * (size / state.recipe.size) ** 2
        if state.recipe.workers:
            step, look = (max(seconds, load / state.recipe.workers) for seconds in (step, look))
        else:
            step, look = step + load, look + load
        costs[size] = step * len(prepared.train) + look * len(prepared.val) + KEEPING
    return costs


def _possible(prepared: TrainingSetup, name: str) -> list[dict[int, float]]:
    """The sizes that a run may have, without those that its network does not take."""

    def fit(sizes: dict[int, float]) -> bool:
        try:
            for size in sizes:
                check_input(prepared.state.network, name, prepared.preprocess.channels, size)
        except NetworkError:
            return False
        return True

    own, *smaller = sizes_in_time(prepared.state.recipe)
    return [own, *filter(fit, smaller)]


def _step(prepared: TrainingSetup, name: str, size: int) -> float:
    """Seconds of a step with pictures of this size, as the training will take it."""
    recipe, measured = prepared.state.recipe, prepared.measured
    # what a run of a given time chose by a first look is measured by whole batches, as the smaller size is
    known = recipe.time is None or measured.busy or parse_precision(measured.precision).compiled
    if size == recipe.size and known:
        return measured.seconds_per_step
    fixed = recipe.with_settings(
        size=size, resize=None, progressive_resizing=False, precision=measured.precision
    )
    with threads(measured.threads):
        return measure_precision(
            prepared.state.network, name, fixed, prepared.preprocess, len(prepared.train.photos),
            prepared.state.device, lambda text: None,
        ).seconds_per_step  # fmt: skip


def between(steps: dict[int, float], size: int) -> float:
    """Seconds of a step of any size by those of two: one part grows with the area, one does not."""
    small, large = min(steps), max(steps)
    if small == large:
        return steps[small]
    slope = max(0.0, steps[large] - steps[small]) / (large**2 - small**2)
    return max(steps[small] + slope * (size**2 - small**2), steps[small] * min(1.0, (size / small) ** 2))


def start_clock(
    prepared: TrainingSetup, costs: Mapping[int, float], tested: Photos | None, began: float
) -> None:
    """Gives a training of a given time its clock; `tested`: whose test split is looked at when it is over."""
    state, look = prepared.state, prepared.preprocess
    if state.recipe.time is None:
        return
    images = torch.zeros(min(TRIED, prepared.train.batch_size), look.channels, look.size, look.size)
    seconds = []
    for _ in range(2):  # the first builds what it computes with
        started = time.monotonic()
        with memory_answered(state.recipe):
            list(predict_logits(state.network, [images], state.device))  # in fp32, as the test at the end is
        seconds.append(time.monotonic() - started)
    looking = min(seconds) / len(images) * (len(tested.test if tested else ()) + len(prepared.val.photos))
    after = AFTER + (_reading(tested, look) if tested else 0.0)
    state.time_budget = choose_clock(
        state.recipe,
        [
            TimeBudget(
                began,
                {size: costs[size] for size in sizes},
                after + looking * (max(sizes) / look.size) ** 2,
            )
            for sizes in sizes_in_time(state.recipe)
            if sizes.keys() <= costs.keys()
        ],
    )


def _reading(photos: Photos, look: Preprocess) -> float:
    """Seconds in which all cores read the test photos from their files, by a few of them."""
    every = range(0, len(photos.test), max(1, -(-len(photos.test) // READ)))
    started = time.monotonic()
    for place in every:
        read_photo(photos.folder / photos.test[place].path, look)
    return (time.monotonic() - started) / max(1, len(every)) * len(photos.test) / cores()


def planned(prepared: TrainingSetup, costs: dict[int, float]) -> list[tuple[int, int]]:
    """(size, epochs) as planned now, if every epoch takes what it is expected to."""
    state, steps = prepared.state, len(prepared.train)
    past: list[EpochPlan] = []
    clock = state.time_budget
    if clock is not None:
        seconds = state.recipe.seconds - clock.reserve - clock.spent
        left = epochs_left(sizes_now(state.recipe, clock), seconds, clock.costs)
        if sum(left.values()) > GONE_THROUGH:
            return [(size, round(epochs)) for size, epochs in left.items()]
    while leg := next_leg(state.recipe, clock, past, steps):
        past.append(replace(leg, seconds=costs[leg.size] * leg.steps / steps))
        if clock is not None:
            clock = replace(clock, began=clock.began - past[-1].seconds)
    return [(size, sum(leg.size == size for leg in past)) for size in sizes_now(state.recipe, state.time_budget)]
