"""Errors that end a training, each with a setting to try next."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

from reslab.errors import DivergedError, RecipeError, TrainingError
from reslab.hardware import catch_out_of_memory

from .epoch_plan import TimeBudget
from .recipe import Recipe


def check_finite(
    name: str, value: float, recipe: Recipe, epoch: int, step: int, learning_rate: float
) -> None:
    """Raise DivergedError if `value` is infinite or NaN.

    Args:
        name: of the value, for the message, as the next three.
        epoch: finished epochs.
        step: finished updates of the current epoch.
        learning_rate: of the last update.
    """
    if math.isfinite(value):
        return
    raise DivergedError(
        f"the {name} became {value} in epoch {epoch + 1}, step {step}, at learning rate {learning_rate:.3g}",
        "the updates were too large for this network, or its initial weights contain such values",
        f"try --learning-rate {recipe.learning_rate / 10:.3g}, or --precision fp32, in a new run",
    )


def check_time_budget(recipe: Recipe, time_budget: TimeBudget | None) -> None:
    """Raise RecipeError if the recipe sets a time and the training has no time budget."""
    if recipe.time is not None and time_budget is None:
        why = "training_loop cannot measure the time from the start of the program; fit and train can"
        raise RecipeError(f"time={recipe.time} needs a time budget", why, "use fit or train, or set epochs")


def translate_out_of_memory(recipe: Recipe) -> AbstractContextManager[None]:
    """Return a context that converts out-of-memory errors to TrainingError. Other errors pass through."""
    what = f"there is not enough memory for batches of {recipe.batch_size} at {recipe.size} pixels"
    smaller_batch = f"--batch-size {recipe.batch_size // 2}, or " if recipe.batch_size > 3 else ""
    do = f"try {smaller_batch}a smaller --size"
    return catch_out_of_memory(lambda why: TrainingError(what, why, do))
