"""Errors that end a training, with what to try next."""

from __future__ import annotations

from contextlib import AbstractContextManager

from reslab.errors import TrainingError
from reslab.hardware import end_of_memory

from .recipe import Recipe


def not_finite(what: str, recipe: Recipe, epoch: int, step: int, learning_rate: float) -> TrainingError:
    """The answer to a training that has blown up."""
    at = f"in epoch {epoch + 1}, step {step + 1}, at learning rate {learning_rate:.3g}"
    return TrainingError(
        f"{what} {at}",
        "the updates were too large for this network, or its weights held such numbers from the start",
        f"try --learning-rate {recipe.learning_rate / 10:.3g}, or --precision fp32, in a new run",
    )


def memory_answered(recipe: Recipe) -> AbstractContextManager[None]:
    """Turns the end of the memory into a TrainingError."""
    what = f"there is not enough memory for batches of {recipe.batch_size} at {recipe.size} pixels"
    fewer = f"--batch-size {recipe.batch_size // 2}, or " if recipe.batch_size > 3 else ""
    do = f"try {fewer}a smaller --size"
    return end_of_memory(lambda why: TrainingError(what, why, do))
