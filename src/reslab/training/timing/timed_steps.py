"""Timed training steps on a copy of a network, plain or compiled."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reslab.errors import RecipeError
from reslab.networks.precision import Precision
from reslab.randomness import torch_seeded
from reslab.training.epoch_plan import image_sizes
from reslab.training.optimizer import make_optimizer, set_learning_rate, train_mode
from reslab.training.recipe import Recipe

TIMED_STEPS = 3  # the fastest counts: other programs only slow a step down
MAX_LOSS_DIFFERENCE = 0.05  # relative to fp32; a larger one is a bug of a library, not rounding
MAX_TIMING_FRACTION, MAX_TIMING_S = 0.03, 30.0  # of a run's duration, and in seconds, for timing its steps
EXPECTED_COMPILE_S = 60.0


@dataclass(frozen=True)
class TimedSteps:
    """Measured training steps of one precision.

    Attributes:
        seconds: of the fastest step after the first, scaled to the full batch size.
        first_seconds: of the first step, scaled in the same way; it includes compiling.
        loss: of the first step.
    """

    seconds: float
    first_seconds: float
    loss: float

    def has_same_loss(self, exact: TimedSteps) -> bool:
        """Return True if the losses differ by at most 5 % of the other's, or by 0.05 if that is under 1."""
        return abs(self.loss - exact.loss) <= MAX_LOSS_DIFFERENCE * max(1.0, abs(exact.loss))


def time_steps(
    network: nn.Module,
    recipe: Recipe,
    precision: Precision,
    device: torch.device,
    images: Tensor,
    batch_size: int,
) -> TimedSteps:
    """Time training steps of a copy of `network` on `device`: one to warm up, then TIMED_STEPS.

    The random state is not changed. Dropout is the same for every precision, so that losses can be compared.

    Args:
        images: (N, C, H, W), N at most `batch_size`; all count as class 0.
        batch_size: images of the step that is estimated. The passes through the network take time in
            proportion to the images, the optimizer's update does not.

    Raises:
        RecipeError: the step cannot be compiled.
    """
    network = precision.place(copy.deepcopy(network), device)
    forward = precision.forward(network, recipe.batch_size)
    optimizer = make_optimizer(network, recipe, precision)
    set_learning_rate(optimizer, 1e-6)
    train_mode(network, recipe.freeze)
    labels = torch.zeros(len(images), dtype=torch.int64, device=device)

    def step() -> tuple[float, float]:
        started = time.perf_counter()
        placed = precision.place_images(images, device)
        with precision.convert_compile_errors():
            with precision.autocast(device):
                logits = forward(placed)
            loss = cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
        value, updating = loss.item(), time.perf_counter()  # item() waits for a GPU
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        passes, update = updating - started, time.perf_counter() - updating
        return passes * batch_size / len(images) + update, value

    with torch_seeded(0, "autotune"):
        first_seconds, loss = step()
        return TimedSteps(min(step()[0] for _ in range(TIMED_STEPS)), first_seconds, loss)


def compiled_step_seconds(
    network: nn.Module,
    recipe: Recipe,
    precision: Precision,
    device: torch.device,
    images: Tensor,
    *,
    seconds: float,
    steps: float,
) -> float | None:
    """Return the seconds of a compiled step if compiling shortens a run of `steps` steps of `seconds` each.

    None if it does not, if the step cannot be compiled or gives another loss, and without trying if compiling
    would take more than MAX_TIMING_FRACTION of the run. Each image size is compiled separately.

    Args:
        images: a full batch, (N, C, H, W).
        seconds: of an uncompiled step.
        steps: updates of the whole run.
    """
    if MAX_TIMING_FRACTION * seconds * steps < EXPECTED_COMPILE_S:
        return None
    plain = time_steps(network, recipe, precision, device, images, len(images))
    try:
        compiled = time_steps(network, recipe, replace(precision, compiled=True), device, images, len(images))
    except RecipeError:
        return None
    compiling = compiled.first_seconds * len(image_sizes(recipe))
    pays = compiled.seconds * steps + compiling < seconds * steps
    return compiled.seconds if pays and compiled.has_same_loss(plain) else None
