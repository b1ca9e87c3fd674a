"""Save and load checkpoints: one safetensors file with all tensors, and a JSON header for everything else.

Random numbers are not part of a checkpoint: they are keyed by seed, epoch, step and image.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from reslab import files
from reslab.errors import RunError
from reslab.evaluation.model_file import checksum
from reslab.photos.loading.replacements import Replacements
from reslab.text import printable
from reslab.training.epoch_plan import EpochPlan
from reslab.training.failures import check_finite
from reslab.training.loop import Epoch
from reslab.training.state import TrainState
from reslab.training.stopwatch import Stopwatch
from reslab.untrusted import read_json

from .checkpoint_schema import VERSION, Header, optimizer_state, restore_time_budget
from .run_schema import explain

NAME = "checkpoint.safetensors"
METADATA_KEY = "reslab_checkpoint"


def save(state: TrainState, epochs: Sequence[Epoch], folder: Path) -> None:
    """Write a checkpoint into a run folder, completely or not at all. It replaces the previous one.

    Args:
        epochs: the finished epochs.
        folder: of the run.

    Raises:
        TrainingError: the loss or a weight is infinite or NaN.
        OSError: the file cannot be written. The previous checkpoint stays.
    """
    state.check_loss()
    position = state.recipe, state.epoch, state.step, state.learning_rate
    for name, parameter in state.network.named_parameters():
        check_finite(f"sum of {name}", parameter.detach().sum().item(), *position)
    budget = state.time_budget
    header = {
        "version": VERSION,
        "epoch": state.epoch,
        "step": state.step,
        "images": state.images,
        "loss_sum": state.loss_sum.item(),
        "seconds": state.stopwatch.seconds,
        "learning_rates": [group["lr"] for group in state.optimizer.param_groups],
        "plan": None if state.plan is None else vars(state.plan),
        "past_epochs": [vars(plan) for plan in state.past_epochs],
        "epochs": [epoch.as_json() for epoch in epochs],
        "time_budget": budget and vars(budget) | {"spent": budget.spent},
        "replacements": vars(state.replacements),
    }
    write(folder, header, _tensors(state))


def write(folder: Path, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint of these tensors and this header, to which the checksum is added.

    Raises:
        OSError: the file cannot be written. The previous checkpoint stays.
    """
    content = json.loads(json.dumps(header))  # as it will be read: names are text, tuples are lists
    content["checksum"] = checksum(tensors, content)
    text = json.dumps(content, separators=(",", ":"))
    files.write(folder / NAME, to_bytes(dict(tensors), {METADATA_KEY: text}))


def load(state: TrainState, folder: Path, now: float) -> list[Epoch]:
    """Set `state` to the position of the checkpoint, and return the finished epochs.

    Args:
        state: changed in place, with its network, optimizer and average; in part after an error.
        folder: of the run.
        now: time.monotonic() at which the resume began, from which a time budget continues.

    Raises:
        RunError: the checkpoint is missing, damaged, or does not fit the network or the recipe.
    """
    header, tensors = read(folder)
    try:
        state.network.load_state_dict(_of_part(tensors, "network"))
        if state.average is not None:
            state.average.load_state_dict(_of_part(tensors, "average"))
        _load_optimizer(state, header, _of_part(tensors, "optimizer"))
        state.time_budget = restore_time_budget(header, state.recipe, now)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"the checkpoint in {folder} does not fit this run",
            printable(" ".join(str(error).split())[:300]),
            "the network or the recipe was changed, or the file is damaged: start a new run",
        ) from error
    state.epoch, state.step, state.images = header.epoch, header.step, header.images
    state.set_loss_sum(header.loss_sum)
    state.stopwatch = Stopwatch(header.seconds)
    state.plan = None if header.plan is None else EpochPlan(**dict(header.plan))
    state.past_epochs = [EpochPlan(**dict(plan)) for plan in header.past_epochs]
    state.replacements = Replacements(**dict(header.replacements))
    return [Epoch(**dict(row)) for row in header.epochs]


def read(folder: Path) -> tuple[Header, dict[str, Tensor]]:
    """Return the checked header of a checkpoint, and its tensors by name ("network.conv1.weight").

    Raises:
        RunError: the file is missing, damaged, or of another version.
    """
    path = folder / NAME
    if not os.path.isfile(path):  # opening a pipe would wait forever
        why = "it is not a regular file" if os.path.lexists(path) else "the file is missing"
        raise RunError(f"there is no checkpoint {path}", why, "start a new run")
    try:
        # safe_open calls a file without read permission missing, open does not
        with open(path, "rb"), safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(METADATA_KEY, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _checked_header(text, tensors), tensors
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        damaged = "it is damaged or incomplete: " if isinstance(error, SafetensorError) else ""
        do = "start a new run; the model file of this one may be intact"
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            do = "check its permissions and its disk, and try again"
        raise RunError(f"{path} cannot be read", printable(damaged + explain(error)[:300]), do) from error


def _checked_header(text: str, tensors: Mapping[str, Tensor]) -> Header:
    """Return the header from its JSON text. Raise ValueError if it, its version or its checksum is wrong."""
    content = read_json(text or "{}")  # safetensors reads headers of at most 100 MB
    if not isinstance(content, dict):
        raise ValueError("its header is not an object of names and values")
    if (version := content.get("version")) != VERSION:
        why = f"it has version {str(version)[:20]}, and this reslab reads version {VERSION}"
        raise ValueError(f"{why}: environment.json names the reslab that wrote it")
    if content.get("checksum") != checksum(tensors, content):
        raise ValueError("its checksum differs: it was damaged or edited")
    return Header.model_validate(content)


def _tensors(state: TrainState) -> dict[str, Tensor]:
    """Return copies of all tensors of a training on the CPU, by names such as "network.conv1.weight"."""
    parts: dict[str, Mapping[str, Tensor]] = {"network": state.network.state_dict()}
    if state.average is not None:
        parts["average"] = state.average.state_dict()
    for number, tensors in state.optimizer.state_dict()["state"].items():
        parts[f"optimizer.{number}"] = tensors
    return {
        f"{part}.{name}": tensor.detach().cpu().contiguous().clone()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }


def _of_part(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Return the tensors of a part, such as "network", by their names without it."""
    start = f"{part}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _load_optimizer(state: TrainState, header: Header, tensors: dict[str, Tensor]) -> None:
    """Load the optimizer's averages and last learning rates; all other settings stay those of the recipe.

    Args:
        tensors: by names such as "12.exp_avg".

    Raises:
        ValueError: they belong to another optimizer or other parameters.
    """
    groups = state.optimizer.param_groups
    for group, learning_rate in zip(groups, header.learning_rates, strict=True):
        group["lr"] = learning_rate
    parameters = [parameter for group in groups for parameter in group["params"]]
    averages = optimizer_state(tensors, state.recipe.optimizer, parameters)
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": averages, "param_groups": groups})
