"""TrainState: everything that training changes, complete whenever the training loop yields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from reslab.hardware import deterministic_cudnn, threads
from reslab.networks.precision import Precision
from reslab.photos.loading.replacements import Replacements
from reslab.randomness import torch_seeded

from .epoch_plan import EpochPlan, TimeBudget
from .failures import check_finite, translate_out_of_memory
from .mixing import Mixing
from .recipe import Recipe
from .stopwatch import Stopwatch

CHECK_EVERY = 50  # steps between two checks of the loss on a GPU: each waits for the device


@dataclass
class TrainState:
    """Everything that training changes. Random numbers are not part of it: they are keyed, not consumed.

    Attributes:
        network: the network in training.
        optimizer: its optimizer.
        average: exponential average of the weights, or None.
        recipe: settings of the training.
        device: device of the network.
        precision: number format, memory format, and whether a step is compiled.
        mixing: mixup or CutMix of the batches; None without.
        class_weights: (num_classes,), of each class in the loss, on the device; None for equal ones.
        threads: CPU threads of a step and of the validation; 0 leaves torch's own number.
        epoch: finished epochs.
        step: finished updates of the current epoch.
        images: images of the current epoch so far.
        plan: plan of the current epoch; None between two epochs.
        past_epochs: plans of the finished epochs, with the seconds that they took.
        time_budget: time of a recipe that sets `time`, else None.
        replacements: photos that became unreadable during training.
        stopwatch: seconds of training in the current epoch.
        loss_sum: () on the device, sum of the losses of all images of the current epoch so far.
        forward: the network as a training step calls it, compiled if the precision says so.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    recipe: Recipe
    device: torch.device
    precision: Precision
    threads: int = 0
    mixing: Mixing | None = None
    class_weights: Tensor | None = None
    epoch: int = 0
    step: int = 0
    images: int = 0
    plan: EpochPlan | None = None
    past_epochs: list[EpochPlan] = field(default_factory=list)
    time_budget: TimeBudget | None = None
    replacements: Replacements = field(default_factory=Replacements)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    loss_sum: Tensor = field(init=False)
    forward: Callable[[Tensor], Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.forward = self.precision.forward(self.network, self.recipe.batch_size)
        self.set_loss_sum(0.0)

    @property
    def validated(self) -> nn.Module:
        """The network to validate and keep: the averaged one if there is one."""
        return self.network if self.average is None else self.average.module

    @property
    def learning_rate(self) -> float:
        """Learning rate of the last update; before the first one the recipe's."""
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def set_loss_sum(self, value: float) -> None:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64  # MPS has no float64
        self.loss_sum = torch.tensor(value, dtype=dtype, device=self.device)

    def count(self, loss: Tensor, images: int) -> None:
        """Count one update and stop the stopwatch.

        Args:
            loss: mean loss of the batch, () on the device.
            images: number of images in the batch.

        Raises:
            TrainingError: the loss is infinite or NaN. A GPU checks it only every CHECK_EVERY steps.
        """
        # a new tensor: Step keeps its own
        self.loss_sum = self.loss_sum + loss.to(self.loss_sum.dtype) * images
        self.images, self.step = self.images + images, self.step + 1
        if self.device.type == "cpu" or self.step % CHECK_EVERY == 0:
            self.check_loss()
        self.stopwatch.stop()

    def check_loss(self) -> None:
        """Raise TrainingError if the sum of the losses is infinite or NaN. This waits for the device."""
        check_finite("loss", self.loss_sum.item(), self.recipe, self.epoch, self.step, self.learning_rate)

    @contextmanager
    def timing_last_epoch(self) -> Iterator[None]:
        """Add the time spent in the block, such as saving a checkpoint, to the last of `past_epochs`."""
        with Stopwatch() as caller:
            yield
        last = self.past_epochs[-1]
        self.past_epochs[-1] = replace(last, seconds=last.seconds + caller.seconds)

    @contextmanager
    def reproducible_step(self) -> Iterator[None]:
        """Key the random numbers of the current step inside the block, and fix algorithms and threads.

        Raises:
            TrainingError: the memory ran out in the block.
            RecipeError: torch.compile failed in the block.
        """
        with (
            translate_out_of_memory(self.recipe),
            torch_seeded(self.recipe.seed, "step", self.epoch, self.step),
            deterministic_cudnn(),
            threads(self.threads),
            self.precision.convert_compile_errors(),
        ):
            yield
