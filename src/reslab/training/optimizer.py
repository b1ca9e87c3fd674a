"""Optimizer with its parameter groups, learning-rate schedule, freezing, weight averaging."""

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

MUON_ADAMW_RATE = 1 / 60  # muon: relative learning rate of what AdamW updates, the head and batch norms
PROGRESS_ROUNDING = 1e-9
# one_cycle: fraction of the run that rises; first and last learning rate, relative to the largest
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.25, 1 / 25, 1 / 1000


def make_optimizer(network: nn.Module, recipe: Recipe, precision: Precision) -> torch.optim.Optimizer:
    """Create the recipe's optimizer, with weight decay on weights but not on biases and batch norm.

    Goyal et al. 2017, section 5.1. Each parameter group has a `rate`, relative to the learning rate. Frozen
    parameters are in none. SGD, Adam and AdamW are fused on CPU and CUDA, which reads the weights once: for
    SGD the weights stay bit-identical, for Adam not.

    Args:
        precision: its dtype is that of Muon's matrix products.
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
            "rate": MUON_ADAMW_RATE if recipe.optimizer == "muon" and kind != "convolutions" else 1.0,
        }
        for kind, params in kinds.items()
    ]
    if recipe.optimizer == "muon":
        return Muon(groups, recipe.learning_rate, dtype=precision.dtype)
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in trained)
    if recipe.optimizer == "sgd":
        momentum = 0.9 if recipe.momentum is None else recipe.momentum
        return torch.optim.SGD(groups, recipe.learning_rate, momentum, nesterov=recipe.nesterov, fused=fused)
    optimizer_class = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return optimizer_class(groups, recipe.learning_rate, fused=fused)


def freeze(network: nn.Module, parts: tuple[str, ...]) -> None:
    """Set requires_grad of all parameters in some submodules to False.

    Args:
        parts: names of submodules, such as "layer1".

    Raises:
        RecipeError: there is no such submodule, or nothing is left to train.
    """
    known = [name for name, _ in network.named_modules() if name]
    for part in parts:
        if part not in known:
            raise RecipeError(f"freeze: the network has no part '{part}'", "", nearest(part, known[:40]))
        network.get_submodule(part).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise RecipeError("freeze: nothing is left to train", f"frozen: {', '.join(parts)}", "freeze less")


@contextmanager
def restore_requires_grad(network: nn.Module | None) -> Iterator[None]:
    """Restore every parameter's requires_grad on exit, also after an error. None: nothing to restore."""
    flags = [(p, p.requires_grad) for p in (network.parameters() if network is not None else ())]
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def train_mode(network: nn.Module, frozen: tuple[str, ...]) -> None:
    """Put `network` into train mode, except frozen parts: their batch norm keeps its statistics.

    Args:
        frozen: names of submodules.
    """
    network.train()
    for part in frozen:
        network.get_submodule(part).eval()


def learning_rate_at(recipe: Recipe, progress: float, progress_per_step: float) -> float:
    """Return the learning rate of one update by the recipe's warmup and schedule.

    Args:
        progress: fraction of the run before the update, 0 to 1.
        progress_per_step: fraction of the run that one update is.
    """
    warmup = recipe.warmup_epochs / recipe.epochs
    if progress < warmup:
        return recipe.learning_rate * (progress + progress_per_step) / (warmup + progress_per_step)
    if recipe.schedule == "steps":
        passed = sum(progress + PROGRESS_ROUNDING >= milestone for milestone in recipe.milestones)
        return recipe.learning_rate * 0.1**passed
    if recipe.schedule == "cosine":
        progress = (progress - warmup) / (1 - warmup)
        return recipe.learning_rate * (1 + math.cos(math.pi * progress)) / 2
    if recipe.schedule == "one_cycle":
        return recipe.learning_rate * _one_cycle(progress + progress_per_step)
    return recipe.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every parameter group, times the group's `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate"]


def _one_cycle(progress: float) -> float:
    """Return the learning rate at a progress of 0 to 1, relative to the largest one.

    It rises linearly and falls along a cosine (Smith 2018, "A disciplined approach", section 4.1).
    """
    if progress < ONE_CYCLE_RISE:
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * progress / ONE_CYCLE_RISE
    fall = (1 - math.cos(math.pi * (progress - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))) / 2
    return 1 + (ONE_CYCLE_END - 1) * fall


def make_average(network: nn.Module, decay: float) -> AveragedModel | None:
    """Return an exponential average of the weights and buffers of `network`; None for decay 0.

    Its `update_parameters(network)` adds the present weights. The decay per step grows to `decay`, so that
    the first epochs are not validated on the initial weights. Integer buffers are copied.
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
