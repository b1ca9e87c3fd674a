"""Estimated duration of epochs, measured before the first, and the time budget of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from reslab.errors import NetworkError
from reslab.evaluation.inference import predict_logits, read_photo
from reslab.hardware import cores
from reslab.networks.registry import check_input
from reslab.photos.loading.preprocess import Preprocess
from reslab.training.timing.autotune import measure_precision

from .epoch_plan import (
    EpochPlan,
    TimeBudget,
    choose_time_budget,
    epochs_left,
    image_sizes,
    next_epoch_plan,
    possible_image_sizes,
)
from .failures import translate_out_of_memory

if TYPE_CHECKING:
    from reslab.photos.folder.photos import Photos

    from .recipe import Recipe
    from .setup import TrainingSetup

SAVING_S = 0.5  # checkpoint and model file of an epoch
FINISHING_S = 3.5  # end of a run, with its curves and without its test
MAX_REPORT_S = 60.0
REPORT_FRACTION = 0.1  # of a short time, for the report after the test
TIMED_TEST_IMAGES = 32
TIMED_TEST_PHOTOS = 8
MAX_SIMULATED_EPOCHS = 1000  # the plan of a longer run is estimated at once: a simulation would take minutes
FORWARD_FRACTION = 1 / 3  # of a training step's time: no backward pass, no update


def estimate_epoch_seconds(setup: TrainingSetup, name: str, loading: float) -> dict[int, float]:
    """Return {image size: seconds of an epoch, validation and saving included} for each possible size.

    It times training steps at the smallest size, unless this machine has done so before.

    Args:
        name: of the network, for errors.
        loading: seconds to load a batch of full-size images in this process.

    Raises:
        TrainingError: the memory is too small for a batch.
        RecipeError: the step cannot be compiled.
    """
    state, recipe = setup.state, setup.state.recipe
    steps = {recipe.size: setup.measured.seconds_per_step}
    if (small := min(image_sizes(recipe))) < recipe.size:
        fixed = recipe.with_settings(
            size=small, resize=None, progressive_resizing=False, precision=setup.measured.precision
        )
        num_photos = len(setup.train.photos)
        measured = measure_precision(state.network, fixed, num_photos, state.device, lambda text: None)
        steps[small] = measured.seconds_per_step
    costs = {}
    for size in sorted({size for sizes in _supported_sizes(setup, name) for size in sizes}):
        step = interpolate_step_seconds(steps, size)
        forward, load = FORWARD_FRACTION * step, loading * (size / recipe.size) ** 2
        if recipe.workers:
            step, forward = (max(seconds, load / recipe.workers) for seconds in (step, forward))
        else:
            step, forward = step + load, forward + load
        costs[size] = step * len(setup.train) + forward * len(setup.val) + SAVING_S
    return costs


def _supported_sizes(setup: TrainingSetup, name: str) -> list[dict[int, float]]:
    """Return the recipe's own image sizes, unchecked, then the smaller ones that the network accepts.

    The choices are those of `possible_image_sizes`.
    """

    def is_supported(sizes: dict[int, float]) -> bool:
        try:
            for size in sizes:
                check_input(setup.state.network, name, setup.preprocess.channels, size)
        except NetworkError:
            return False
        return True

    own, *smaller = possible_image_sizes(setup.state.recipe)
    return [own, *filter(is_supported, smaller)]


def interpolate_step_seconds(steps: Mapping[int, float], size: int) -> float:
    """Return the seconds of a training step at image size `size`, estimated from measured ones.

    They are linear in the number of pixels. With one measured size, every size takes its seconds.

    Args:
        steps: seconds of a step by image size, at one or two sizes.
        size: side of the images in pixels.
    """
    small, large = min(steps), max(steps)
    if small == large:
        return steps[small]
    slope = max(0.0, steps[large] - steps[small]) / (large**2 - small**2)
    return max(steps[small] + slope * (size**2 - small**2), steps[small] * min(1.0, (size / small) ** 2))


def report_seconds(recipe: Recipe) -> float | None:
    """Return the part of the recipe's time that is kept for a report; None if the recipe sets no time.

    It is a tenth, but at most a minute.
    """
    return None if recipe.time is None else min(MAX_REPORT_S, REPORT_FRACTION * recipe.seconds)


def start_time_budget(
    setup: TrainingSetup,
    costs: Mapping[int, float],
    photos: Photos | None,
    began: float,
    *,
    report: bool = False,
) -> None:
    """Set `setup.state.time_budget` if the recipe has a time; otherwise do nothing.

    The reserve is estimated by timing the network and the reading of some test photos.

    Args:
        costs: seconds of an epoch at each image size.
        photos: their test split is evaluated after the training; None if there is no test.
        began: time.monotonic() at the start of the run.
        report: keep `report_seconds`, too.

    Raises:
        TrainingError: the memory is too small for a batch.
    """
    state, preprocess = setup.state, setup.preprocess
    if state.recipe.time is None:
        return
    count = min(TIMED_TEST_IMAGES, setup.train.batch_size)
    images = torch.zeros(count, preprocess.channels, preprocess.size, preprocess.size)
    seconds = []
    for _ in range(2):  # the first call is slower
        started = time.monotonic()
        with translate_out_of_memory(state.recipe):
            list(predict_logits(state.network, [images], state.device))  # fp32, as in the test
        seconds.append(time.monotonic() - started)
    evaluating = min(seconds) / count * (len(photos.test if photos else ()) + len(setup.val.photos))
    reserve = FINISHING_S + (_test_reading_seconds(photos, preprocess) if photos else 0.0)
    reserve += (report_seconds(state.recipe) or 0.0) if report else 0.0
    budgets = [
        TimeBudget(
            began,
            {size: costs[size] for size in sizes},
            reserve + evaluating * (max(sizes) / preprocess.size) ** 2,
        )
        for sizes in possible_image_sizes(state.recipe)
        if sizes.keys() <= costs.keys()
    ]
    state.time_budget = choose_time_budget(state.recipe, budgets)


def _test_reading_seconds(photos: Photos, preprocess: Preprocess) -> float:
    """Return the seconds that all cores need to read the test photos, estimated from a few; 0 without any."""
    sample = range(0, len(photos.test), max(1, -(-len(photos.test) // TIMED_TEST_PHOTOS)))
    started = time.monotonic()
    for index in sample:
        read_photo(photos.folder / photos.test[index].path, preprocess)
    return (time.monotonic() - started) / max(1, len(sample)) * len(photos.test) / cores()


def planned_epochs(setup: TrainingSetup, costs: Mapping[int, float]) -> list[tuple[int, int]]:
    """Return (image size, number of epochs) of the run, if every epoch takes its estimated time.

    A number may be 0. Over MAX_SIMULATED_EPOCHS in a time they are rounded estimates.

    Args:
        costs: seconds of an epoch at each image size.

    Raises:
        RecipeError: the recipe's time is too short for one epoch.
    """
    recipe, budget, steps = setup.state.recipe, setup.state.time_budget, len(setup.train)
    sizes = image_sizes(recipe, budget)
    if budget is not None:
        seconds = recipe.seconds - budget.reserve - budget.spent
        left = epochs_left(sizes, seconds, budget.costs)
        if sum(left.values()) > MAX_SIMULATED_EPOCHS:
            return [(size, round(epochs)) for size, epochs in left.items()]
    past: list[EpochPlan] = []
    while plan := next_epoch_plan(recipe, budget, past, steps):
        past.append(replace(plan, seconds=costs[plan.size] * plan.steps / steps))
        if budget is not None:
            budget = replace(budget, began=budget.began - past[-1].seconds)
    return [(size, sum(plan.size == size for plan in past)) for size in sizes]
