"""The loop and nothing else: a generator between whole states.

It yields a Step after every update and an Epoch after every pass. Between two of them State is complete, so
saving, drawing and stopping are the consumer's `for`, and no hooks are needed:

    for event in events(state, batches, validate):
        if isinstance(event, Epoch):
            print(event)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel

from reslab.errors import RecipeError
from reslab.hardware import reproducible, threads
from reslab.networks.precision import Precision
from reslab.photos.loading.batches import Batch, Batches
from reslab.photos.loading.replacements import Replacements
from reslab.randomness import torch_seeded

from .epoch_plan import EpochPlan, TimeBudget, next_leg
from .failures import memory_answered, not_finite
from .optimizer import learning_rate_at, set_learning_rate, train_mode
from .recipe import Recipe

Validate = Callable[[nn.Module, int], tuple[float, float]]  # the network, size in pixels -> (loss, accuracy)


@dataclass
class TrainState:
    """Everything that a training changes. Random numbers are not part of it: they are keyed, not consumed."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    recipe: Recipe
    device: torch.device
    precision: Precision
    threads: int = 0  # that compute on a CPU; 0: as many as torch takes
    epoch: int = 0  # epochs done
    step: int = 0  # updates done in the present epoch
    loss_sum: float = 0.0  # over the images of the present epoch, each counted once
    images: int = 0
    seconds: float = 0.0  # of training in the present epoch
    plan: EpochPlan | None = None  # the present epoch as planned; None between two
    past_epochs: list[EpochPlan] = field(default_factory=list)  # the epochs done
    time_budget: TimeBudget | None = None  # of a recipe that has a time
    replacements: Replacements = field(default_factory=Replacements)  # of photos that turned bad
    forward: Callable[[Tensor], Tensor] = field(init=False)  # the network as a training step calls it

    def __post_init__(self) -> None:
        self.forward = self.precision.forward(self.network, self.recipe.batch_size)

    @property
    def validated(self) -> nn.Module:
        """The network that is validated and kept: the averaged one, where there is one."""
        return self.network if self.average is None else self.average.module


@dataclass(frozen=True)
class Step:
    """One update. `train_loss` is the mean over the images of this epoch so far."""

    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float
    learning_rate: float
    images_per_second: float


@dataclass(frozen=True)
class Epoch:
    """One pass over the training photos. Losses are means over images; seconds are those of training.

    `size`: side of the pictures in this epoch, in training and in validation.
    """

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float
    images_per_second: float
    size: int

    def __str__(self) -> str:
        return (
            f"Epoch {self.epoch}/{self.epochs}  train_loss {self.train_loss:.3f}  "
            f"val_loss {self.val_loss:.3f}  val_accuracy {self.val_accuracy:.3f}  {self.seconds:.0f} s"
        )

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))  # every epoch writes all before it, and asdict is forty times as slow


def training_loop(
    state: TrainState, batches: Batches, validate: Validate
) -> Generator[Step | Epoch, None, None]:
    """Trains from where `state` stands to the end of its recipe. TrainingError if the loss is not finite.

    Raises RecipeError for a recipe of a given time without a clock, which `fit` and `train` start.
    """
    recipe = state.recipe
    if recipe.time is not None and state.time_budget is None:
        why = "its epochs are planned by a clock that fit and train start"
        raise RecipeError(f"time: nothing here tells when {recipe.time} are over", why, "give epochs instead")
    while leg := state.plan or next_leg(recipe, state.time_budget, state.past_epochs, len(batches)):
        state.plan = leg
        train_mode(state.network, recipe.freeze)
        started = time.perf_counter()
        planned = batches.epoch(state.epoch, state.step, size=leg.size, replacements=state.replacements)
        for batch in islice(planned, leg.steps - state.step):
            learning_rate = learning_rate_at(recipe, leg.done(state.step), leg.step)
            with memory_answered(recipe):
                loss = update(state, batch, learning_rate)
            state.loss_sum += loss * len(batch.labels)
            state.images += len(batch.labels)
            state.step += 1
            now = time.perf_counter()
            state.seconds, started = state.seconds + now - started, now
            yield Step(
                state.epoch + 1,
                leg.epochs,
                state.step,
                leg.steps,
                state.loss_sum / state.images,
                learning_rate,
                state.images / state.seconds,
            )
            started = time.perf_counter()  # what the consumer did meanwhile is not training
        epoch = finish_epoch(state, validate, learning_rate_at(recipe, leg.done(leg.steps - 1), leg.step))
        started = time.perf_counter()
        yield epoch
        # what the consumer does with an epoch is part of what the next one will cost, too
        done = state.past_epochs[-1]
        state.past_epochs[-1] = replace(done, seconds=done.seconds + time.perf_counter() - started)


def update(state: TrainState, batch: Batch, learning_rate: float) -> float:
    """One step of the optimizer; the loss of the batch before it."""
    images = state.precision.place_images(batch.images, state.device)
    labels = batch.labels.to(state.device)
    set_learning_rate(state.optimizer, learning_rate)
    seeded = torch_seeded(state.recipe.seed, "step", state.epoch, state.step)
    with seeded, reproducible(), threads(state.threads), state.precision.compiling_answered():
        with state.precision.autocast(state.device):
            logits = state.forward(images)
        loss = cross_entropy(logits.float(), labels, label_smoothing=state.recipe.label_smoothing)
        if not math.isfinite(value := loss.item()):
            raise not_finite(f"the loss became {value}", state.recipe, state.epoch, state.step, learning_rate)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
    if state.average is not None:
        state.average.update_parameters(state.network)
    return value


def finish_epoch(state: TrainState, validate: Validate, learning_rate: float) -> Epoch:
    """Validates, starts the counters anew, and says how the epoch went."""
    assert state.plan is not None
    started = time.perf_counter()
    with threads(state.threads), memory_answered(state.recipe):
        val_loss, val_accuracy = validate(state.validated, state.plan.size)
    if not math.isfinite(val_loss):
        raise not_finite(
            f"the validation loss became {val_loss}", state.recipe, state.epoch, state.step, learning_rate
        )
    seconds = max(state.seconds, 1e-9)
    epoch = Epoch(
        epoch=state.epoch + 1,
        epochs=state.plan.epochs,
        train_loss=state.loss_sum / state.images,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=learning_rate,
        seconds=seconds,
        images_per_second=state.images / seconds,
        size=state.plan.size,
    )
    state.past_epochs.append(replace(state.plan, seconds=seconds + time.perf_counter() - started))
    state.plan, state.epoch, state.step = None, state.epoch + 1, 0
    state.loss_sum, state.images, state.seconds = 0.0, 0, 0.0
    state.replacements.in_epoch = 0
    return epoch
