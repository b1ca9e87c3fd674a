"""Parameter groups, the learning-rate curve and weight averaging."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from reslab.errors import RecipeError, nearest
from reslab.networks.precision import Precision

from .muon import Muon
from .recipe import Recipe

HEAD_RATE = 1 / 60  # muon: share of the learning rate for what AdamW updates, the head and the batch norms
ROUNDING = 1e-9  # of shares of a run
WARMUP, START, END = 0.25, 1 / 25, 1 / 1000  # one_cycle: share of the run that rises, first and last rate


def make_optimizer(network: nn.Module, recipe: Recipe, precision: Precision) -> torch.optim.Optimizer:
    """Weight decay on weights; none on biases and batch norm (Goyal 2017, section 5.1).

    Each group has a `rate`, its share of the learning rate. Fused: one pass over weights, gradients and
    averages instead of one for every term of the formula. SGD has the same bits either way, Adam differs in
    the last one.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    kinds = {
        "convolutions": [p for p in trained if p.dim() == 4],
        "matrices": [p for p in trained if p.dim() > 1 and p.dim() != 4],
        "vectors": [p for p in trained if p.dim() <= 1],
    }
    groups = [
        {
            "params": params,
            "weight_decay": 0.0 if kind == "vectors" else recipe.weight_decay,
            "rate": HEAD_RATE if recipe.optimizer == "muon" and kind != "convolutions" else 1.0,
        }
        for kind, params in kinds.items()
    ]
    if recipe.optimizer == "muon":
        return Muon(groups, recipe.learning_rate, dtype=precision.dtype)
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in trained)
    if recipe.optimizer == "sgd":
        momentum = 0.9 if recipe.momentum is None else recipe.momentum
        return torch.optim.SGD(groups, recipe.learning_rate, momentum, nesterov=recipe.nesterov, fused=fused)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(groups, recipe.learning_rate, fused=fused)


def freeze(network: nn.Module, parts: tuple[str, ...]) -> None:
    """Takes the gradients from the named parts. RecipeError if there is no such part, or nothing is left."""
    known = [name for name, _ in network.named_modules() if name]
    for part in parts:
        if part not in known:
            raise RecipeError(f"freeze: the network has no part '{part}'", "", nearest(part, known[:40]))
        network.get_submodule(part).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RecipeError("freeze: nothing is left to train", f"frozen: {', '.join(parts)}", "freeze less")


@contextmanager
def as_free_as_before(network: nn.Module | None) -> Iterator[None]:
    """What the block freezes is free again behind it: the next training may have other parts frozen."""
    flags = [
        (parameter, parameter.requires_grad)
        for parameter in (() if network is None else network.parameters())
    ]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def train_mode(network: nn.Module, frozen: tuple[str, ...]) -> None:
    """Train mode, but for the frozen parts: their batch norm keeps its statistics."""
    network.train()
    for part in frozen:
        network.get_submodule(part).eval()


def learning_rate_at(recipe: Recipe, done: float, step: float) -> float:
    """The learning rate of an update: a function of the place in the run, without a state.

    `done`: the share of the run that is done before it, 0 to 1; `step`: the share that it is itself.
    """
    warmup = recipe.warmup_epochs / recipe.epochs
    if done < warmup:
        return recipe.learning_rate * (done + step) / (warmup + step)
    if recipe.schedule == "steps":
        passed = sum(done + ROUNDING >= milestone for milestone in recipe.milestones)
        return recipe.learning_rate * 0.1**passed
    if recipe.schedule == "cosine":
        done = (done - warmup) / (1 - warmup)
        return recipe.learning_rate * (1 + math.cos(math.pi * done)) / 2
    if recipe.schedule == "one_cycle":
        return recipe.learning_rate * _one_cycle(done + step)
    return recipe.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Gives every group its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate"]


def _one_cycle(done: float) -> float:
    """Smith 2018: up in a straight line, down along a cosine."""
    if done < WARMUP:
        return START + (1 - START) * done / WARMUP
    fall = (1 - math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))) / 2
    return 1 + (END - 1) * fall


def make_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential average of weights and statistics, or None for decay 0.

    It starts quickly and slows down to `decay`, so that the first epochs are not measured on stale weights.
    """
    if decay == 0:
        return None

    def update(average: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        rate = max(1 - decay, 9 / (10 + float(count)))
        for old, new in zip(average, current, strict=True):
            if old.is_floating_point():
                old.lerp_(new, rate)
            else:
                old.copy_(new)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)
