"""State to disk and back, so that a run can be killed anywhere.

A checkpoint holds weights, averaged weights, optimizer, position in the epoch and the epochs so far. Random
numbers need no place in it: every draw is keyed by seed, epoch and step or image.
"""

from __future__ import annotations

import errno
import io
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from .. import files
from ..errors import RunError
from ..photos.replacing import Replacements
from .loop import Epoch, State, not_finite
from .plan import Clock, Leg

VERSION = 2
NAME = "checkpoint"
DAMAGED = (  # what zipfile and torch raise for files that are none of theirs
    RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def save(state: State, epochs: Sequence[Epoch], folder: Path) -> None:
    """Writes the checkpoint, whole or not at all. TrainingError rather than keep weights that blew up."""
    if not all(math.isfinite(p.detach().sum().item()) for p in state.network.parameters()):
        raise not_finite("a weight became inf or nan", state, state.optimizer.param_groups[0]["lr"])
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
        "leg": None if state.leg is None else asdict(state.leg),
        "past": [asdict(leg) for leg in state.past],
        "clock": None if state.clock is None else asdict(state.clock) | {"began": -state.clock.spent},
        "replacements": asdict(state.replacements),
        "epochs": [epoch.as_json() for epoch in epochs],
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    files.write(folder / NAME, buffer.getvalue())


def load(state: State, folder: Path, began: float) -> list[Epoch]:
    """Brings `state` to where the checkpoint stands; the epochs done until then. Raises RunError.

    `began`: the moment, by time.monotonic(), from which the clock of a run with a given time goes on.
    """
    content = _read(folder / NAME, state.device)
    try:
        state.network.load_state_dict(content["network"])
        state.optimizer.load_state_dict(content["optimizer"])
        if state.average is not None:
            state.average.load_state_dict(content["average"])
        epochs = [Epoch(**row) for row in content["epochs"]]
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        why = " ".join(str(error).split())[:300]
        raise RunError(
            f"the checkpoint in {folder} does not fit this run",
            why,
            "the network or recipe differs: start a new run",
        ) from error
    state.epoch, state.step = content["epoch"], content["step"]
    state.loss_sum, state.images = content["loss_sum"], content["images"]
    state.seconds = content["seconds"]
    state.leg = None if content["leg"] is None else Leg(**content["leg"])
    state.replacements = Replacements(**content["replacements"])
    state.past = [Leg(**leg) for leg in content["past"]]
    if content["clock"] is not None:
        clock = Clock(**content["clock"])
        state.clock = replace(clock, began=began + clock.began)
    return epochs


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not look whether a bit was lost
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"its part {damaged} is not as it was written")
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        version = content.get("version")
    except FileNotFoundError:
        raise RunError(f"{path.parent} has no checkpoint", "its run never began", "start a new run") from None
    except DAMAGED as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        do = "start a new run; the model of this one may be good"
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EIO):
            do = "check its permissions and its disk, and try again"
        raise RunError(f"{path} cannot be read", why, do) from error
    if version != VERSION:
        raise RunError(
            f"{path} was written by another reslab",
            f"it has version {version}, this reslab reads {VERSION}",
            "go on with the reslab that wrote it: environment.json names it",
        )
    return content
