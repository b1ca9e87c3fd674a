"""Plan of each epoch: its image size, its steps, its part of the learning-rate schedule.

A recipe fixes the number of epochs, or the time. With a time, each epoch is planned just before it starts,
from the seconds that the epochs before it took. The last epoch is shortened if it would end too late. If the
time allows only a few epochs, the images get smaller: more epochs help more than more pixels.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

from reslab.errors import RecipeError

from .recipe import Recipe

PROGRESSIVE_SIZES = ((1 / 2, 0.4), (3 / 4, 0.4), (1.0, 0.2))  # (fraction of the last size, of the epochs)
MIN_IMAGE_SIZE = 32  # pixels; progressive resizing stays above: a ResNet halves an image five times
SMALLER_SIZE_FRACTIONS = (3 / 4, 1 / 2)  # of the recipe's size, tried if the time is short
MIN_EPOCHS_IN_TIME = 4.0  # a time that allows fewer gets smaller images
MIN_EPOCH_FRACTION = 0.1  # a shorter last epoch is left out: its validation costs as much as a full one's


@dataclass(frozen=True)
class EpochPlan:
    """One planned epoch.

    Attributes:
        size: side of its images, in pixels.
        steps: number of updates.
        start: progress of the run before the epoch, 0 to 1.
        end: progress of the run after the epoch, 0 to 1.
        epochs: planned number of epochs of the whole run.
        seconds: measured duration including validation and saving; 0 until the epoch is finished.
    """

    size: int
    steps: int
    start: float
    end: float
    epochs: int
    seconds: float = 0.0

    @property
    def progress_per_step(self) -> float:
        """Progress of the run during one update, as a fraction of the run."""
        return (self.end - self.start) / self.steps

    def progress_at(self, step: int) -> float:
        """Return the progress of the run, 0 to 1, before update `step` of this epoch, counted from 0."""
        return self.start + step * self.progress_per_step


@dataclass(frozen=True)
class TimeBudget:
    """Time of a run whose recipe sets `time`.

    Attributes:
        began: start of the run on the clock of time.monotonic(), moved forward by pauses before a resume.
        costs: seconds of an epoch at each image size of the run, validation included, estimated beforehand.
        reserve: seconds kept for the work after the last epoch.
    """

    began: float
    costs: Mapping[int, float]
    reserve: float

    @property
    def spent(self) -> float:
        """Seconds since the start of the run, without the pauses."""
        return time.monotonic() - self.began


def next_epoch_plan(
    recipe: Recipe, time_budget: TimeBudget | None, past_epochs: Sequence[EpochPlan], steps: int
) -> EpochPlan | None:
    """Return the plan of the epoch after `past_epochs`; None if the run is complete.

    Args:
        time_budget: None for a recipe with a number of epochs.
        past_epochs: plans of the finished epochs, with their seconds.
        steps: updates of a full epoch.

    Raises:
        RecipeError: the recipe's time is too short for one epoch.
    """
    if recipe.time is None or time_budget is None:
        return _next_of_fixed_epochs(recipe, len(past_epochs), steps)
    left = recipe.seconds - time_budget.reserve - time_budget.spent
    costs = _measured_costs(time_budget.costs, past_epochs, steps)
    return next_epoch_in_time(image_sizes(recipe, time_budget), steps, left, costs, past_epochs)


def image_sizes(recipe: Recipe, time_budget: TimeBudget | None = None) -> dict[int, float]:
    """Return {image size in pixels: fraction of the epochs}, ascending.

    The largest is the recipe's size; with a time budget the largest in it, which may be smaller.
    """
    return _sizes_up_to(recipe.size if time_budget is None else max(time_budget.costs), recipe)


def possible_image_sizes(recipe: Recipe) -> list[dict[int, float]]:
    """Return the image sizes that a run may get, each choice as in `image_sizes`.

    First the recipe's own; with a time and progressive resizing also the smaller ones for a short time.
    """
    largest = [recipe.size]
    if recipe.time is not None and recipe.progressive_resizing:
        largest += [_round_size(recipe.size, fraction) for fraction in SMALLER_SIZE_FRACTIONS]
    return [_sizes_up_to(size, recipe) for size in dict.fromkeys(largest)]


def choose_time_budget(recipe: Recipe, time_budgets: Sequence[TimeBudget]) -> TimeBudget:
    """Return the first budget in which the time left allows over MIN_EPOCHS_IN_TIME epochs, else the last.

    Args:
        time_budgets: ordered from large images to small ones.
    """

    def epochs(budget: TimeBudget) -> float:
        sizes = image_sizes(recipe, budget)
        seconds_per_epoch = sum(fraction * budget.costs[size] for size, fraction in sizes.items())
        return (recipe.seconds - budget.reserve - budget.spent) / seconds_per_epoch

    return next((budget for budget in time_budgets if epochs(budget) > MIN_EPOCHS_IN_TIME), time_budgets[-1])


def _sizes_up_to(largest: int, recipe: Recipe) -> dict[int, float]:
    if not recipe.progressive_resizing:
        return {largest: 1.0}
    sizes: dict[int, float] = {}
    for fraction, epochs in PROGRESSIVE_SIZES:
        size = largest if fraction == 1 else _round_size(largest, fraction)
        sizes[size] = sizes.get(size, 0.0) + epochs
    return sizes


def _round_size(size: int, fraction: float) -> int:
    """Return fraction * size, rounded to 8 pixels, but at least the smaller of MIN_IMAGE_SIZE and `size`."""
    return max(8 * round(fraction * size / 8), min(size, MIN_IMAGE_SIZE))


def _next_of_fixed_epochs(recipe: Recipe, epoch: int, steps: int) -> EpochPlan | None:
    """Return the plan of epoch number `epoch`, from 0; None after the recipe's last one."""
    if epoch >= recipe.epochs:
        return None
    start, end = epoch / recipe.epochs, (epoch + 1) / recipe.epochs
    sizes = image_sizes(recipe)
    until = accumulate(sizes.values())  # the last epoch has the full size, even if there is only one
    size = next((s for s, fraction in zip(sizes, until, strict=True) if end <= fraction + 1e-9), recipe.size)
    return EpochPlan(size, steps, start, end, recipe.epochs)


def _measured_costs(
    costs: Mapping[int, float], past_epochs: Sequence[EpochPlan], steps: int
) -> dict[int, float]:
    """Return the seconds of a full epoch at each size, corrected by the finished epochs.

    A size with finished epochs costs what its last one took. The estimates of the others are scaled by the
    error of the estimate for the latest epoch.

    Args:
        costs: estimated seconds of a full epoch at each size.
        steps: updates of a full epoch.
    """
    last = [past_epochs[end - 1] for end in _ends_by_size(costs, past_epochs).values() if end]
    measured = {plan.size: plan.seconds * steps / plan.steps for plan in last}
    error = measured[past_epochs[-1].size] / costs[past_epochs[-1].size] if past_epochs else 1.0
    return {size: measured.get(size, error * cost) for size, cost in costs.items()}


def _ends_by_size(sizes: Iterable[int], past_epochs: Sequence[EpochPlan]) -> dict[int, int]:
    """Return for each size the number of past epochs of this size or a smaller one.

    Their sizes never decrease, so it bisects: a long run of few photos has a hundred thousand epochs and is
    planned before each.
    """
    return {size: bisect_right(past_epochs, size, key=attrgetter("size")) for size in sizes}


def next_epoch_in_time(
    sizes: Mapping[int, float],
    steps: int,
    seconds: float,
    costs: Mapping[int, float],
    past_epochs: Sequence[EpochPlan],
) -> EpochPlan | None:
    """Return the plan of the next epoch of a run that has `seconds` left; None if no further epoch fits.

    The last epoch gets fewer steps if the time is too short for a full one.

    Args:
        sizes: image sizes, ascending, with their fractions of the epochs.
        steps: updates of a full epoch.
        costs: seconds of a full epoch at each size.
        past_epochs: plans of the finished epochs.

    Raises:
        RecipeError: the first epoch does not fit.
    """
    first = costs[min(sizes)]
    if not past_epochs and seconds < first:
        raise RecipeError(
            f"time: {max(seconds, 0):.0f} s are left for training, and an epoch takes {first:.0f} s",
            "",
            "give more --time, or train at a smaller --size",
        )
    left = epochs_left(sizes, seconds, costs, past_epochs)
    size = _next_size(left, past_epochs, seconds, costs)
    fitting = seconds / costs[size]  # epochs of this size
    if past_epochs and fitting < MIN_EPOCH_FRACTION:
        return None
    # time for one to two epochs is halved: a remainder too short to run would leave the schedule unfinished
    part = fitting / 2 if 1 + MIN_EPOCH_FRACTION <= fitting < 2 else min(1.0, fitting)
    start = past_epochs[-1].end if past_epochs else 0.0
    is_last = fitting - part < MIN_EPOCH_FRACTION
    fraction = 1.0 if is_last else part / max(part, sum(left.values()))
    epochs = len(past_epochs) + max(1, round(sum(left.values()) + 0.5 - MIN_EPOCH_FRACTION))
    return EpochPlan(size, max(1, round(part * steps)), start, start + (1 - start) * fraction, epochs)


def _next_size(
    left: Mapping[int, float], past_epochs: Sequence[EpochPlan], seconds: float, costs: Mapping[int, float]
) -> int:
    """Return the smallest size with at least half an epoch left, and not below the previous epoch's.

    Without such a size, return the largest that fits into `seconds`, or else the smallest.

    Args:
        left: epochs left at each size.
        costs: seconds of a full epoch at each size.
    """
    sizes = [size for size in left if not past_epochs or size >= past_epochs[-1].size]
    due = [size for size in sizes if left[size] >= 0.5]
    affordable = [size for size in sizes if seconds >= MIN_EPOCH_FRACTION * costs[size]]
    return due[0] if due else max(affordable, default=sizes[0])


def epochs_left(
    sizes: Mapping[int, float],
    seconds: float,
    costs: Mapping[int, float],
    past_epochs: Sequence[EpochPlan] = (),
) -> dict[int, float]:
    """Return the epochs left at each size, as fractional numbers, so that they take `seconds` in total.

    Past and remaining epochs together are divided over the sizes as in `sizes`. A size that already has too
    many gets 0.

    Args:
        sizes: image sizes with their fractions of the epochs.
        costs: seconds of a full epoch at each size.
    """
    ends = _ends_by_size(sorted(sizes), past_epochs)
    done = {size: end - start for (size, end), start in zip(ends.items(), (0, *ends.values()), strict=False)}

    def left(total: float) -> dict[int, float]:
        return {size: max(0.0, fraction * total - done[size]) for size, fraction in sizes.items()}

    def cost(total: float) -> float:
        return sum(epochs * costs[size] for size, epochs in left(total).items())

    low, high = 0.0, len(past_epochs) + 1.0  # epochs in total
    while cost(high) < seconds:
        high *= 2
    for _ in range(60):  # bisect to the last digit
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) < seconds else (low, middle)
    return left(low)
