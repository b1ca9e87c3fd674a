"""The training loop: a generator that yields a Step after every update and an Epoch after every pass.

Between two of them TrainState is complete. Saving, drawing and stopping happen in the caller's `for`; hooks
are not needed:

    for event in training_loop(state, loader, validate):
        if isinstance(event, Epoch):
            print(event)
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from reslab.hardware import threads
from reslab.photos.loading.batches import Batches

from .epoch_plan import next_epoch_plan
from .failures import check_finite, check_time_budget, translate_out_of_memory
from .optimizer import learning_rate_at, set_learning_rate, train_mode
from .state import TrainState
from .stopwatch import Stopwatch

# (network, image size in pixels) -> mean loss, accuracy
Validate = Callable[[nn.Module, int], tuple[float, float]]


@dataclass(frozen=True)
class Step:
    """One update of the network.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: planned number of epochs.
        step: number of the update in its epoch, from 1.
        steps: updates in the epoch.
        learning_rate: learning rate of the update.
        images: images of the epoch so far.
        images_per_second: mean over the epoch so far.
        loss_sum: () on the device, sum of the losses of these images.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    learning_rate: float
    images: int
    images_per_second: float
    loss_sum: Tensor = field(repr=False)

    @property
    def train_loss(self) -> float:
        """Mean loss over the images of this epoch so far. Reading it waits for the device."""
        return self.loss_sum.item() / self.images


@dataclass(frozen=True)
class Epoch:
    """One pass over the training photos. Losses are means over images.

    Attributes:
        epoch: number of the epoch, from 1.
        epochs: planned number of epochs.
        train_loss: mean loss during the epoch, each image before its update.
        val_loss: loss on the validation split.
        val_accuracy: accuracy on the validation split, 0 to 1.
        learning_rate: learning rate of the last update.
        seconds: duration of training, without validation.
        images_per_second: training images per second.
        size: side of the images in pixels, in training and validation.
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
        """Return the fields as a dictionary for JSON."""
        return dict(vars(self))  # asdict is forty times slower, and each epoch writes all epochs before it


def training_loop(
    state: TrainState, loader: Batches, validate: Validate
) -> Generator[Step | Epoch, None, None]:
    """Train from the position of `state` to the end of its recipe.

    Args:
        state: network, optimizer and position; it is complete whenever the loop yields.
        loader: batches of the training split.
        validate: (network, image size in pixels) -> (mean loss, accuracy) on the validation split.

    Yields:
        A Step after every update and an Epoch after every pass and its validation.

    Raises:
        TrainingError: the loss is not finite, or the memory is too small for a batch.
        RecipeError: the recipe sets a time, but `state` has no time budget (`fit` and `train` set it), the
            time is too short for one epoch, or the step cannot be compiled.
        PhotosError: too many photos became unreadable.
    """
    check_time_budget(state.recipe, state.time_budget)
    while plan := state.plan or next_epoch_plan(
        state.recipe, state.time_budget, state.past_epochs, len(loader)
    ):
        state.plan = plan
        train_mode(state.network, state.recipe.freeze)
        batches = loader.epoch(state.epoch, state.step, size=plan.size, replacements=state.replacements)
        remaining = islice(batches, plan.steps - state.step)  # the last epoch of a time may be cut short
        for images, labels in state.stopwatch.start_before_each(remaining):
            progress = plan.progress_at(state.step), plan.progress_per_step
            loss = train_step(state, images, labels, learning_rate_at(state.recipe, *progress))
            state.count(loss, len(labels))
            yield Step(
                epoch=state.epoch + 1,
                epochs=plan.epochs,
                step=state.step,
                steps=plan.steps,
                learning_rate=state.learning_rate,
                images=state.images,
                images_per_second=state.images / state.stopwatch.seconds,
                loss_sum=state.loss_sum,
            )
        epoch = finish_epoch(state, validate)
        with state.timing_last_epoch():
            yield epoch


def train_step(state: TrainState, images: Tensor, labels: Tensor, learning_rate: float) -> Tensor:
    """Update the network once, and the average of its weights. `state.count` counts the update, not this.

    Args:
        images: (N, C, H, W), on any device.
        labels: (N,), on any device.
        learning_rate: set for this update.

    Returns:
        Mean loss of the batch before the update: () on the device.

    Raises:
        TrainingError: the memory is too small for the batch.
        RecipeError: the step cannot be compiled.
    """
    with state.reproducible_step():
        images = state.precision.place_images(images, state.device)
        labels = labels.to(state.device, non_blocking=True)
        set_learning_rate(state.optimizer, learning_rate)
        targets = labels  # (N,), or (N, num_classes) of mixed images
        if state.mixing is not None:
            images, targets = state.mixing(images, labels)
        with state.precision.autocast(state.device):
            logits = state.forward(images)  # (N, num_classes)
        loss = cross_entropy(
            logits.float(), targets, state.class_weights, label_smoothing=state.recipe.label_smoothing
        )
        state.optimizer.zero_grad()
        loss.backward()
        if state.recipe.clip_grad is not None:
            clip_grad_norm_(state.network.parameters(), state.recipe.clip_grad)
        state.optimizer.step()
        if state.average is not None:
            state.average.update_parameters(state.network)
    return loss.detach()


def finish_epoch(state: TrainState, validate: Validate) -> Epoch:
    """Validate the network, move `state` to the start of the next epoch, and return the figures of this one.

    The plan is added to `state.past_epochs` with the seconds of training and validation.

    Raises:
        TrainingError: the training or validation loss is not finite, or the memory is too small.
    """
    assert state.plan is not None
    with state.stopwatch:
        state.check_loss()  # waits until the device has finished the last step
    with Stopwatch() as validation, threads(state.threads), translate_out_of_memory(state.recipe):
        val_loss, val_accuracy = validate(state.validated, state.plan.size)
    check_finite("validation loss", val_loss, state.recipe, state.epoch, state.step, state.learning_rate)
    seconds = max(state.stopwatch.seconds, 1e-9)
    epoch = Epoch(
        epoch=state.epoch + 1,
        epochs=state.plan.epochs,
        train_loss=state.loss_sum.item() / state.images,
        val_loss=val_loss,
        val_accuracy=val_accuracy,
        learning_rate=state.learning_rate,
        seconds=seconds,
        images_per_second=state.images / seconds,
        size=state.plan.size,
    )
    state.past_epochs.append(replace(state.plan, seconds=seconds + validation.seconds))
    state.plan, state.epoch, state.step, state.images = None, state.epoch + 1, 0, 0
    state.stopwatch = Stopwatch()
    state.set_loss_sum(0.0)
    state.replacements.in_epoch = 0
    return epoch
