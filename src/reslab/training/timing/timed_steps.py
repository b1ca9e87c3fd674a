"""Training steps of a copy of the network, to know how long they take; and whether compiling them pays."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from reslab.errors import RecipeError
from reslab.networks.precision import Precision
from reslab.training.epoch_plan import sizes_of
from reslab.training.optimizer import make_optimizer, train_mode
from reslab.training.recipe import Recipe

ALIKE = 0.05  # of the loss in fp32; more is a bug of the library, and no rounding
COMPILING = 60.0  # seconds, a first guess at what it takes to compile a step
STEPS = 5  # of which the fastest counts


class TimedSteps:
    """Training steps of a copy of the network in one precision."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, precision: Precision, device: torch.device
    ) -> None:
        self.network = precision.place(copy.deepcopy(network), device)
        self.forward = precision.forward(self.network, recipe.batch_size)
        self.optimizer = make_optimizer(self.network, recipe, precision)
        self.precision, self.device, self.frozen = precision, device, recipe.freeze
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-6

    def rest(self) -> None:
        """Gives back the memory of gradients and averages until the next step; the weights it keeps."""
        self.optimizer.zero_grad()
        self.optimizer.state.clear()

    def step(
        self, images: Tensor, of: int, clock: Callable[[], float] = time.perf_counter
    ) -> tuple[float, float]:
        """(seconds, loss) of one update on made-up images; every image of class 0.

        The seconds are those of a batch `of` so many: the passes grow with the images, the update does not.
        """
        train_mode(self.network, self.frozen)
        started = clock()
        placed = self.precision.place_images(images, self.device)
        labels = torch.zeros(len(images), dtype=torch.int64, device=self.device)
        with self.precision.compiling_answered():
            with self.precision.autocast(self.device):
                logits = self.forward(placed)
            loss = cross_entropy(logits.float(), labels)
            self.optimizer.zero_grad()
            loss.backward()
        value, passed = loss.item(), clock()
        self.optimizer.step()
        return (passed - started) * of / len(images) + clock() - passed, value


def alike(loss: float, exact: float) -> bool:
    """Whether a loss differs from the exact one by no more than rounding."""
    return abs(loss - exact) <= ALIKE * max(1.0, abs(exact))


def seconds_compiled(
    network: nn.Module,
    recipe: Recipe,
    precision: Precision,
    images: Tensor,
    device: torch.device,
    *,
    seconds: float,
    steps: float,
    share: float,
) -> float | None:
    """Seconds of a compiled step if compiling makes a run of so many `steps` of `seconds` each shorter.

    None if it does not, cannot be done or computes something else, and where the run is so short that to find
    out would cost more than this `share` of it. Every size of picture is compiled anew.
    """
    sizes = len(sizes_of(recipe))
    if share * seconds * steps < COMPILING:
        return None
    exact = TimedSteps(network, recipe, precision, device).step(images, len(images))[1]
    trial = TimedSteps(network, recipe, replace(precision, compiled=True), device)
    started = time.perf_counter()
    try:
        loss = trial.step(images, len(images))[1]
    except RecipeError:
        return None
    compiling = time.perf_counter() - started
    fastest = min(trial.step(images, len(images))[0] for _ in range(STEPS))
    pays = fastest * steps + compiling * sizes < seconds * steps
    return fastest if pays and alike(loss, exact) else None
