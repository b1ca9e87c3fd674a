"""Pydantic model of a checkpoint's JSON header, and checks of its tensors: the file may be untrusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import FailFast, Field, InstanceOf, model_validator
from torch import Tensor

from reslab.training.epoch_plan import TimeBudget, possible_image_sizes
from reslab.training.recipe import Recipe

from .run_schema import Checked, Count, EpochRow, ImageSize

VERSION = 3
ROUNDING = 1e-6  # of the fractions of a run
Fraction = Annotated[float, Field(ge=-ROUNDING, le=1 + ROUNDING)]


class PlanFields(Checked):
    """Fields of EpochPlan."""

    size: ImageSize
    steps: Annotated[int, Field(ge=1, lt=2**53)]
    start: Fraction
    end: Fraction
    epochs: Count
    seconds: float


class EpochFields(EpochRow):
    """Fields of Epoch."""

    learning_rate: float
    images_per_second: float


class TimeBudgetFields(Checked):
    """Fields of TimeBudget, with the seconds spent instead of a time on this machine's clock."""

    spent: float
    reserve: float
    costs: dict[Annotated[int, Field(strict=False)], Annotated[float, Field(gt=0)]]  # JSON's keys are text


class ReplacementFields(Checked):
    """Fields of Replacements."""

    in_epoch: Count
    total: Count
    reasons: dict[InstanceOf[str], InstanceOf[str]]


class Header(Checked):
    """Everything in a checkpoint except its tensors."""

    version: Literal[3]
    checksum: str
    epoch: Count
    step: Count
    images: Count
    loss_sum: float
    seconds: float
    learning_rates: Annotated[list[float], FailFast()]
    plan: PlanFields | None
    past_epochs: Annotated[list[PlanFields], FailFast()]
    epochs: Annotated[list[EpochFields], FailFast()]
    time_budget: TimeBudgetFields | None
    replacements: ReplacementFields

    @model_validator(mode="after")
    def _position_fits(self) -> Header:
        if not self.epoch == len(self.past_epochs) == len(self.epochs):
            raise ValueError("its numbers of epochs differ")
        if any(row.epoch != number for number, row in enumerate(self.epochs, 1)):
            raise ValueError("its epochs are not in order")
        if self.step > (self.plan.steps if self.plan else 0) or self.images < self.step:
            raise ValueError("its step and image counts do not match its epoch")
        return self


def restore_time_budget(header: Header, recipe: Recipe, now: float) -> TimeBudget | None:
    """Return the time budget, continued at `now`; None for a recipe without a time.

    Args:
        now: time.monotonic() at which the resume began.

    Raises:
        ValueError: its image sizes do not fit the recipe or the epochs.
    """
    if recipe.time is None:
        return None
    budget = header.time_budget
    if budget is None or all(budget.costs.keys() != sizes.keys() for sizes in possible_image_sizes(recipe)):
        raise ValueError("its time budget has other image sizes than the recipe")
    plans = [*header.past_epochs, *([] if header.plan is None else [header.plan])]
    if any(plan.size not in budget.costs for plan in plans):
        raise ValueError("its epochs have other image sizes than its time budget")
    return TimeBudget(now - budget.spent, budget.costs, budget.reserve)


def optimizer_state(
    tensors: dict[str, Tensor], kind: str, parameters: Sequence[Tensor]
) -> dict[int, dict[str, Tensor]]:
    """Return copies of an optimizer's tensors by number and name, laid out in memory as the parameters are.

    Parameters that were never updated have no entry.

    Args:
        tensors: by names such as "12.exp_avg", the number being that of the parameter.
        kind: name of the optimizer in the recipe.
        parameters: in the order of the optimizer's groups.

    Raises:
        ValueError: the tensors belong to another optimizer or other parameters.
    """
    state, used = {}, 0
    for number, parameter in enumerate(parameters):
        names = _state_names(kind, parameter)
        found = {name: tensors[f"{number}.{name}"] for name in names if f"{number}.{name}" in tensors}
        if not found:  # never updated
            continue
        shapes = {name: torch.Size() if name == "step" else parameter.shape for name in names}
        if {name: tensor.shape for name, tensor in found.items()} != shapes:
            raise ValueError(f"its optimizer state of parameter {number} does not fit {kind}")
        state[number] = {
            name: tensor.clone() if name == "step" else torch.empty_like(parameter).copy_(tensor)
            for name, tensor in found.items()
        }
        used += len(found)
    if used < len(tensors):
        raise ValueError(f"it has the state of another optimizer than {kind}, or of other parameters")
    return state


def _state_names(kind: str, parameter: Tensor) -> set[str]:
    """Return the names of the tensors that optimizer `kind` keeps for a parameter."""
    if kind == "sgd":
        return {"momentum_buffer"}
    if kind == "muon":
        return {"average"} if parameter.dim() == 4 else {"step", "average", "square"}
    return {"step", "exp_avg", "exp_avg_sq"}
