"""State to disk and back, so that a run can be killed anywhere.

A checkpoint holds weights, averaged weights, optimizer, position in the epoch and the epochs so far. Random
numbers need no place in it: every draw is keyed by seed, epoch and step or image.
"""

from __future__ import annotations

import errno
import io
import math
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reslab import files
from reslab.errors import RunError
from reslab.networks.weights.torch_pickle import HoldsCodeError
from reslab.text import printable
from reslab.training.failures import not_finite
from reslab.training.loop import Epoch, TrainState

from .checkpoint_schema import read_averages, read_content, read_place, read_rates

VERSION = 2
NAME = "checkpoint"


def save(state: TrainState, epochs: Sequence[Epoch], folder: Path) -> None:
    """Writes the checkpoint, whole or not at all. TrainingError rather than keep weights that blew up."""
    if not all(math.isfinite(p.detach().sum().item()) for p in state.network.parameters()):
        learning_rate = state.optimizer.param_groups[0]["lr"]
        raise not_finite("a weight became inf or nan", state.recipe, state.epoch, state.step, learning_rate)
    content = {
        "version": VERSION,
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "epoch": state.epoch,
        "step": state.step,
        "loss_sum": state.loss_sum,
        "images": state.images,
        "seconds": state.seconds,
        "leg": None if state.plan is None else asdict(state.plan),
        "past": [asdict(leg) for leg in state.past_epochs],
        "clock": None if state.time_budget is None else asdict(state.time_budget) | {"began": -state.time_budget.spent},
        "replacements": asdict(state.replacements),
        "epochs": [epoch.as_json() for epoch in epochs],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write(folder / NAME, buffer.getvalue())


def load(state: TrainState, folder: Path, began: float) -> list[Epoch]:
    """Brings `state` to where the checkpoint stands; the epochs done until then. Raises RunError.

    `began`: the moment, by time.monotonic(), from which the clock of a run with a given time goes on.
    """
    content = _read(folder / NAME)
    try:
        place, epochs = read_place(content, state.recipe)
        _load_weights(state.network, content["network"])
        if state.average is not None:
            _load_weights(state.average, content["average"])
        _load_averages(state, content["optimizer"])
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        why = printable(" ".join(str(error).split())[:300])
        raise RunError(
            f"the checkpoint in {folder} does not fit this run",
            why,
            "it is damaged, or the network or recipe differs: start a new run",
        ) from error
    for name, value in place.items():
        setattr(state, name, value)
    if state.time_budget is not None:
        state.time_budget = replace(state.time_budget, began=began + state.time_budget.began)
    return epochs


def _load_weights(module: nn.Module, saved: Mapping[str, Any] | None) -> None:
    if saved is None:
        raise ValueError("it has no averaged weights")
    tensors = OrderedDict(saved)
    tensors._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]  # of the same classes
    module.load_state_dict(tensors)


def _load_averages(state: TrainState, saved: Mapping[str, Any]) -> None:
    """The averages are the checkpoint's; how the optimizer goes on is the recipe's, which may be edited."""
    groups = state.optimizer.state_dict()["param_groups"]
    for group, rate in zip(groups, read_rates(saved, len(groups)), strict=True):
        group["lr"] = rate
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    averages = read_averages(saved, state.recipe.optimizer, parameters)
    state.optimizer.load_state_dict({"state": averages, "param_groups": groups})


def _read(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):  # opening a pipe would wait for ever
        why = "it is no ordinary file" if os.path.exists(path) else "its run never began"
        raise RunError(f"{path.parent} has no checkpoint", why, "start a new run")
    try:
        content = read_content(path)
    except HoldsCodeError as error:
        why = f"it holds more than tensors ({printable(str(error))}), and loading that could execute code"
        raise RunError(f"{path} cannot be read", why, "start a new run") from error
    except Exception as error:  # a damaged file raises a dozen types
        why = printable(str(error) if isinstance(error, ValueError | OSError) else type(error).__name__)
        do = "start a new run; the model of this one may be good"
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            do = "check its permissions and its disk, and try again"
        raise RunError(f"{path} cannot be read", f"it is damaged or cut short ({why[:300]})", do) from error
    if content["version"] != VERSION:
        raise RunError(
            f"{path} was written by another reslab",
            f"it has version {content['version']}, this reslab reads {VERSION}",
            "go on with the reslab that wrote it: environment.json names it",
        )
    return content
