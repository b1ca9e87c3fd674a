"""What a checkpoint must hold before it is followed: it may be damaged, or a stranger's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reslab.networks.weights.torch_pickle import read_saved
from reslab.photos.loading.replacements import Replacements
from reslab.training.epoch_plan import EpochPlan, TimeBudget, sizes_in_time
from reslab.training.loop import Epoch
from reslab.training.recipe import Recipe

from .run_schema import COUNT, NUMBER, ROW, Fields, check_fields

LARGEST_PROGRAM = 2**26  # bytes beside the tensors: some 300 for every epoch
LARGEST_SIZE = 2048  # pixels, as a recipe may have
ROUNDING = 1e-6  # of shares of a run


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _are_texts(value: Any) -> bool:
    return _is_table(value) and all(isinstance(text, str) for text in value.values())


TABLE = ("names and values", _is_table)
SIZE = ("a side in pixels", lambda value: type(value) is int and 1 <= value <= LARGEST_SIZE)
SHARE = ("a share", lambda value: type(value) in (int, float) and -ROUNDING <= value <= 1 + ROUNDING)
LEG: Fields = {
    "size": SIZE,
    "steps": ("a count from 1 on", lambda value: COUNT[1](value) and value > 0),
    "start": SHARE,
    "end": SHARE,
    "epochs": COUNT,
    "seconds": NUMBER,
}
EPOCH: Fields = {**ROW, "size": SIZE, "learning_rate": NUMBER, "images_per_second": NUMBER}
REPLACEMENTS: Fields = {"in_epoch": COUNT, "in_all": COUNT, "named": ("names and texts", _are_texts)}
CLOCK: Fields = {"began": NUMBER, "reserve": NUMBER, "costs": ("sizes and seconds", lambda value: True)}
CONTENT: Fields = {
    "network": TABLE,
    "optimizer": TABLE,
    "average": ("names and values, or nothing", lambda value: value is None or _is_table(value)),
    **dict.fromkeys(("epoch", "step", "images"), COUNT),
    **dict.fromkeys(("loss_sum", "seconds"), NUMBER),
}


def read_content(path: Path) -> dict[str, Any]:
    """The dictionary in the file, of which nothing was looked at but its version.

    Raises OSError, HoldsCodeError, and a dozen others for damage; nothing in the file is executed.
    """
    content = read_saved(path, LARGEST_PROGRAM)
    if not isinstance(content, dict) or type(content.get("version")) is not int:
        raise ValueError("it is no checkpoint of a training")
    return content


def read_place(content: Mapping[str, Any], recipe: Recipe) -> tuple[dict[str, Any], list[Epoch]]:
    """Where a training of `recipe` stands, as the fields of its State, and the epochs done. ValueError."""
    check_fields(content, CONTENT)
    leg = None if content["leg"] is None else _made(EpochPlan, content["leg"], LEG)
    past = [_made(EpochPlan, row, LEG) for row in _list(content["past"])]
    epochs = [_made(Epoch, row, EPOCH) for row in _list(content["epochs"])]
    clock = None if content["clock"] is None else _made(TimeBudget, content["clock"], CLOCK)
    if [epoch.epoch for epoch in epochs] != list(range(1, len(past) + 1)) or content["epoch"] != len(past):
        raise ValueError("its epochs do not follow each other")
    if content["step"] > (leg.steps if leg else 0) or content["images"] < content["step"]:
        raise ValueError("its place in the epoch is none")
    if recipe.time is not None:
        _check_clock(clock, recipe, past if leg is None else [*past, leg])
    names = ("epoch", "step", "loss_sum", "images", "seconds")
    place = {name: content[name] for name in names} | {"plan": leg, "past_epochs": past, "time_budget": clock}
    return place | {"replacements": _made(Replacements, content["replacements"], REPLACEMENTS)}, epochs


def read_averages(
    saved: Mapping[str, Any], kind: str, parameters: Sequence[Tensor]
) -> dict[int, dict[str, Tensor]]:
    """What an optimizer of that kind kept of each parameter. Raises ValueError for another's."""
    state, kept = saved.get("state"), {}
    if not isinstance(state, dict) or not all(type(n) is int and 0 <= n < len(parameters) for n in state):
        raise ValueError("its optimizer had other parameters")
    for number, values in state.items():
        parameter = parameters[number]
        if not isinstance(values, dict) or values.keys() != _kept_by(kind, parameter):
            raise ValueError(f"its optimizer was another than {kind}")
        for name, value in values.items():
            shape = torch.Size() if name == "step" else parameter.shape
            if not isinstance(value, Tensor) or value.shape != shape:
                raise ValueError(f"its optimizer has the wrong shape of {name}")
        kept[number] = {name: value.clone() for name, value in values.items()}  # in memory of its own
    return kept


def read_rates(saved: Mapping[str, Any], count: int) -> list[float]:
    """The learning rate of each of the `count` groups at the last update. Raises ValueError for another's."""
    groups = saved.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise ValueError("its optimizer has no groups of parameters")
    rates = [group.get("lr") for group in groups]
    if len(rates) != count or not all(map(NUMBER[1], rates)):
        raise ValueError("its optimizer had other groups of parameters")
    return rates


def _kept_by(kind: str, parameter: Tensor) -> set[str]:
    if kind == "sgd":
        return {"momentum_buffer"}
    if kind == "muon":
        return {"average"} if parameter.dim() == 4 else {"step", "average", "square"}
    return {"step", "exp_avg", "exp_avg_sq"}


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("it lists no epochs")
    return value


def _made(kind: Callable[..., Any], value: Any, fields: Fields) -> Any:
    """The dataclass that was taken apart. Raises ValueError for what is none."""
    if not isinstance(value, dict) or value.keys() != fields.keys():
        raise ValueError("a part of it is not what it should be")
    check_fields(value, fields)
    return kind(**value)


def _check_clock(clock: TimeBudget | None, recipe: Recipe, legs: Sequence[EpochPlan]) -> None:
    costs = None if clock is None else clock.costs
    if not isinstance(costs, dict) or not any(
        costs.keys() == sizes.keys() for sizes in sizes_in_time(recipe)
    ):
        raise ValueError("it does not say what an epoch takes")
    if any(leg.size not in costs for leg in legs):
        raise ValueError("its epochs have pictures of other sizes")
    if not all(NUMBER[1](cost) and cost > 0 for cost in costs.values()):
        raise ValueError("it says that an epoch takes no time")
