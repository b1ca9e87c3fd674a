"""Check that a block leaves torch's settings and other random states alone, and follows torch's seed."""

from __future__ import annotations

import contextlib
import io
import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reslab.randomness import preserve_rng_state

from .problem import BlockFailedError
from .trial import SAME, Place, Subject, difference

MAX_PRINTED_CHARACTERS = 10_000  # of one pass: a run of a minute would print megabytes


def check_building(subject: Subject) -> list[str]:
    """Build the block twice: equal weights from one seed, and nothing global is changed."""
    for place in subject.trials:
        module, other = subject.build(place), subject.build(place)
        _check_settings(subject, place, "constructor")
        _check_equal_weights(subject, place, module, other)
        _check_seed(subject, place, "constructor", partial(subject.block, *place.arguments))
    return []


def check_running(subject: Subject) -> list[str]:
    """Run the block in both modes: nothing global is changed, and little is printed."""
    notes = []
    for place in subject.trials:
        for train in (True, False):
            module, x = subject.build(place).train(train), place.images(2)
            with contextlib.redirect_stdout(io.StringIO()) as output:
                subject.run(module, x, place)
            _check_settings(subject, place, "forward")
            printed = len(output.getvalue())
            if printed > MAX_PRINTED_CHARACTERS:
                raise BlockFailedError(
                    f"the forward prints {printed:,} characters in each pass",
                    subject.where(place),
                    f"{tuple(x.shape)} comes to the block",
                    "remove its print",
                )
            if printed:
                notes.append(f"it prints {printed:,} characters in each pass")
            _check_seed(subject, place, "forward", partial(module, x))
    return notes


@contextlib.contextmanager
def restored_settings() -> Iterator[None]:
    """Restore all `settings` and torch's random state on exit, whatever a block did to them."""
    saved = settings()
    device = torch.get_default_device() if saved["torch's default device"].type != "cpu" else None
    with preserve_rng_state(), torch.enable_grad():
        try:
            yield
        finally:
            torch.set_default_dtype(saved["torch's default type"])
            torch.set_default_device(device)
            torch.set_num_threads(saved["torch's number of threads"])
            torch.use_deterministic_algorithms(saved["torch's choice of deterministic algorithms"])
            torch.autograd.set_detect_anomaly(saved["torch's anomaly mode"])
            cudnn = torch.backends.cudnn
            cudnn.benchmark, cudnn.enabled = saved["the choice of cuDNN's algorithms"]
            os.chdir(saved["the working folder"])


def settings() -> dict[str, Any]:
    """Return torch's global settings and the random states of Python and NumPy, by their names."""
    return {
        "Python's random state": random.getstate(),
        "NumPy's random state": [np.asarray(part).tobytes() for part in np.random.get_state()],
        "whether torch computes gradients": torch.is_grad_enabled(),
        "torch's default type": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's choice of deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's anomaly mode": torch.is_anomaly_enabled(),
        "the choice of cuDNN's algorithms": (torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled),
        "the working folder": os.getcwd(),
    }


def _check_settings(subject: Subject, place: Place, part: str) -> None:
    """Raise BlockFailedError if one of `settings` is not as it was before the first check."""
    for name, value in settings().items():
        if value != subject.settings[name]:
            is_random = "random state" in name
            raise BlockFailedError(
                f"the {part} {'draws from' if is_random else 'changes'} {name}",
                subject.where(place),
                "",
                "draw from torch, whose numbers a run seeds: torch.rand(...)"
                if is_random
                else "change it for a few lines only, with a context such as torch.no_grad()",
            )


def _check_equal_weights(subject: Subject, place: Place, module: nn.Module, other: nn.Module) -> None:
    """Raise BlockFailedError if two blocks built from one seed differ."""
    tensors = other.state_dict()
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, Tensor) and not _equal(tensor, tensors.get(name)):
            raise BlockFailedError(
                "the same seed gives other initial weights each time",
                subject.where(place, tensor=name),
                f"{name} {tuple(tensor.shape)}",
                "draw them from torch, whose numbers a run seeds: nn.init.normal_(weight)",
            )


def _check_seed(subject: Subject, place: Place, part: str, action: Callable[[], Any]) -> None:
    """Raise BlockFailedError if the action seeds torch: two seeds then lead to one random state."""
    states = []
    with contextlib.suppress(Exception), torch.random.fork_rng(devices=[]):
        for seed in (1, 2):
            torch.default_generator.manual_seed(seed)
            action()
            states.append(torch.get_rng_state())
    if len(states) == 2 and torch.equal(*states):
        raise BlockFailedError(
            f"the {part} seeds torch's random numbers, so that all seeds of a comparison are one",
            subject.where(place),
            "",
            "remove torch.manual_seed: a run seeds torch itself",
        )


def _equal(a: Tensor, b: Any) -> bool:
    return isinstance(b, Tensor) and difference(a, b) <= SAME
