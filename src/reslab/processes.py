"""Which device this process computes on, and with how many threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import RecipeError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """auto: CUDA if there is one, then Apple's MPS, then the CPU; `cuda:1` names one of several.

    Raises RecipeError if the device is unknown or not there.
    """
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    kind, _, index = name.partition(":")
    if kind not in DEVICES or kind == "auto" or (index and not index.isdigit()):
        raise RecipeError(f"there is no device '{name}'", "", f"use one of {', '.join(DEVICES)}, or cuda:1")
    count = torch.cuda.device_count() if kind == "cuda" else int(kind == "cpu" or mps)
    if int(index or 0) >= count:
        why = f"torch {torch.__version__} sees {count} {kind} devices on this machine"
        raise RecipeError(f"device '{name}' is not there", why, "use --device auto, or --device cpu")
    return torch.device(name)


def cores() -> int:
    """CPU cores that this process may use, which in a container are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def reproducible() -> Iterator[None]:
    """cuDNN chooses its algorithms by rule and not by stopwatch inside the block; no effect on a CPU."""
    import torch

    if not torch.cuda.is_initialized():
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        yield
