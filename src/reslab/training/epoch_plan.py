"""How a run is laid out: the picture size of each epoch, and which part of the learning-rate curve it covers.

A recipe fixes its epochs, or a time. A time gets as many epochs as fit, planned anew before each by what the
ones before it took; the last is cut short where it would end too late. A short time gets smaller pictures: a
few more epochs of them teach more than a few more pixels.
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

GROWTH = ((1 / 2, 0.4), (3 / 4, 0.4), (1.0, 0.2))  # share of the last picture size, share of the epochs
LEAST = 32  # pixels below which pictures do not shrink: a ResNet halves them five times
SMALLER = (3 / 4, 1 / 2)  # of the last picture size, where the time is too short for it
FEW = 4.0  # epochs; a time that has no more gets smaller pictures
SLIVER = 0.1  # a last part of an epoch smaller than this is left out: validating it costs as much


@dataclass(frozen=True)
class EpochPlan:
    """One epoch as planned: `size` of its pictures in pixels, its updates, and where in the run it lies.

    `start` and `end` are shares of the run, 0 to 1; `epochs` is what the whole run is planned to have;
    `seconds` is what it took, validation included, once it is done.
    """

    size: int
    steps: int
    start: float
    end: float
    epochs: int
    seconds: float = 0.0

    @property
    def step(self) -> float:
        """The share of the run that one update is."""
        return (self.end - self.start) / self.steps

    def done(self, step: int) -> float:
        """The share of the run that is done before update `step` of this epoch, counted from 0."""
        return self.start + step * self.step


@dataclass(frozen=True)
class TimeBudget:
    """What a run of a given time needs to know.

    `began`: the moment, as time.monotonic() tells it, at which the run would have begun had it never been
    stopped. `costs`: seconds of an epoch at each picture size that the run has, validation included, as
    measured before the first. `reserve`: seconds for what comes after the last.
    """

    began: float
    costs: Mapping[int, float]
    reserve: float

    @property
    def spent(self) -> float:
        return time.monotonic() - self.began


def next_leg(
    recipe: Recipe, clock: TimeBudget | None, past: Sequence[EpochPlan], steps: int
) -> EpochPlan | None:
    """The epoch after those of `past`, None behind the last; `steps`: updates of a whole epoch.

    Raises RecipeError if the recipe's time is too short for any.
    """
    if recipe.time is None or clock is None:
        return _of_fixed_epochs(recipe, len(past), steps)
    left = recipe.seconds - clock.reserve - clock.spent
    return leg_in_time(sizes_now(recipe, clock), steps, left, _learned(clock.costs, past, steps), past)


def sizes_now(recipe: Recipe, clock: TimeBudget | None) -> dict[int, float]:
    """The sizes of this run, see `sizes_of`; those that were chosen for its time, if it has one."""
    if clock is None:
        return sizes_of(recipe)
    return next(sizes for sizes in sizes_in_time(recipe) if sizes.keys() <= clock.costs.keys())


def sizes_of(recipe: Recipe, largest: int | None = None) -> dict[int, float]:
    """Sizes of the training pictures in pixels, ascending, each with its share of the epochs.

    `largest`: of them, where it is not the recipe's own size.
    """
    last = recipe.size if largest is None else largest
    if not recipe.progressive_resizing:
        return {last: 1.0}
    sizes: dict[int, float] = {}
    for part, share in GROWTH:
        size = last if part == 1 else _part(last, part)
        sizes[size] = sizes.get(size, 0.0) + share
    return sizes


def sizes_in_time(recipe: Recipe) -> list[dict[int, float]]:
    """What a run of the recipe may have, as its time allows: its own sizes, behind them smaller ones."""
    if recipe.time is None or not recipe.progressive_resizing:
        return [sizes_of(recipe)]
    largest = dict.fromkeys([recipe.size, *(_part(recipe.size, part) for part in SMALLER)])
    return [sizes_of(recipe, size) for size in largest]


def choose_clock(recipe: Recipe, clocks: Sequence[TimeBudget]) -> TimeBudget:
    """Of clocks for smaller and smaller pictures the first with more than a FEW epochs, else the last."""

    def epochs(clock: TimeBudget) -> float:
        an_epoch = sum(share * clock.costs[size] for size, share in sizes_now(recipe, clock).items())
        return (recipe.seconds - clock.reserve - clock.spent) / an_epoch

    return next((clock for clock in clocks if epochs(clock) > FEW), clocks[-1])


def _part(size: int, part: float) -> int:
    """So much of a size, in steps of 8 pixels; not below LEAST, unless the size is."""
    return max(8 * round(part * size / 8), min(size, LEAST))


def _of_fixed_epochs(recipe: Recipe, epoch: int, steps: int) -> EpochPlan | None:
    if epoch >= recipe.epochs:
        return None
    start, end = epoch / recipe.epochs, (epoch + 1) / recipe.epochs
    sizes = sizes_of(recipe)
    reached = accumulate(sizes.values())  # the last epoch has the full size, however few there are
    size = next((s for s, share in zip(sizes, reached, strict=True) if end <= share + 1e-9), recipe.size)
    return EpochPlan(size, steps, start, end, recipe.epochs)


def _learned(costs: Mapping[int, float], past: Sequence[EpochPlan], steps: int) -> dict[int, float]:
    """The costs by what the last epoch of each size took; of a size to come, as wrong as the latest."""
    last = [past[end - 1] for end in _ends(costs, past).values() if end]
    took = {leg.size: leg.seconds * steps / leg.steps for leg in last}
    wrong = took[past[-1].size] / costs[past[-1].size] if past else 1.0
    return {size: took.get(size, wrong * cost) for size, cost in costs.items()}


def _ends(sizes: Iterable[int], past: Sequence[EpochPlan]) -> dict[int, int]:
    """Behind which place of `past`, which is sorted by size, the epochs of each of these sizes end.

    Looked up and not counted: a long run of few photos has a hundred thousand epochs, and plans before each.
    """
    return {size: bisect_right(past, size, key=attrgetter("size")) for size in sizes}


def leg_in_time(
    sizes: Mapping[int, float],
    steps: int,
    seconds: float,
    costs: Mapping[int, float],
    past: Sequence[EpochPlan],
) -> EpochPlan | None:
    """The epoch after `past` in a run that has `seconds` left; None if no more fits.

    `sizes`: ascending, with their shares of the epochs; `costs`: seconds of an epoch at each. Raises
    RecipeError if not even the first epoch fits.
    """
    first = costs[min(sizes)]
    if not past and seconds < first:
        raise RecipeError(
            f"time: {max(seconds, 0):.0f} s are left for training, and an epoch takes {first:.0f} s",
            "",
            "give more --time, or train at a smaller --size",
        )
    left = epochs_left(sizes, seconds, costs, past)
    size = _next_size(left, past, seconds, costs)
    fitting = seconds / costs[size]  # epochs of this size
    if past and fitting < SLIVER:
        return None
    # between one and two epochs are halved: a rest that is too short to come would leave the curve unfinished
    part = fitting / 2 if 1 + SLIVER <= fitting < 2 else min(1.0, fitting)
    start = past[-1].end if past else 0.0
    share = 1.0 if fitting - part < SLIVER else part / max(part, sum(left.values()))
    epochs = len(past) + max(1, round(sum(left.values()) + 0.5 - SLIVER))
    return EpochPlan(size, max(1, round(part * steps)), start, start + (1 - start) * share, epochs)


def _next_size(
    left: Mapping[int, float], past: Sequence[EpochPlan], seconds: float, costs: Mapping[int, float]
) -> int:
    """The smallest that still has half an epoch to do; never smaller than the one before."""
    sizes = [size for size in left if not past or size >= past[-1].size]
    due = [size for size in sizes if left[size] >= 0.5]
    fit = [size for size in sizes if seconds >= SLIVER * costs[size]]
    return due[0] if due else max(fit, default=sizes[0])


def epochs_left(
    sizes: Mapping[int, float], seconds: float, costs: Mapping[int, float], past: Sequence[EpochPlan] = ()
) -> dict[int, float]:
    """Epochs still to do by size, so that all of the run have their shares and the time is used."""
    ends = _ends(sorted(sizes), past)
    done = {
        size: end - before for (size, end), before in zip(ends.items(), (0, *ends.values()), strict=False)
    }

    def left(total: float) -> dict[int, float]:
        return {size: max(0.0, share * total - done[size]) for size, share in sizes.items()}

    def cost(total: float) -> float:
        return sum(epochs * costs[size] for size, epochs in left(total).items())

    low, high = 0.0, len(past) + 1.0
    while cost(high) < seconds:
        high *= 2
    for _ in range(60):  # halved until it is exact
        middle = (low + high) / 2
        low, high = (middle, high) if cost(middle) < seconds else (low, middle)
    return left(low)
