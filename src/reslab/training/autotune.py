"""Measures the precisions here and picks the fastest that trains alike. No rule of thumb is safe.

On one two-core machine bf16 with channels_last is the fastest at 128 pixels and thirteen times slower than
plain bf16 at 64. So a few steps of each are timed on a copy of the network, and the choice is remembered per
machine and setting: a choice that changed with the noise would change the bits of a run with the same seed.
"""

from __future__ import annotations

import copy
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .. import files
from ..networks.precision import CANDIDATES, Precision, parse_precision
from ..photos.preprocess import Preprocess
from ..randomness import torch_seeded
from .loop import memory_answered
from .optimizer import make_optimizer, train_mode
from .recipe import Recipe

SCREENED = 16  # images of the first, cheap look at each candidate
HOPELESS = 2.0  # a candidate so many times slower than the best at that look is not timed further
ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """The precision chosen, and the measurement: images a second for each candidate that was timed."""

    precision: str
    seconds_per_step: float
    images_per_second: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if len(self.images_per_second) < 2:
            return f"precision {self.precision}"
        others = ", ".join(f"{name} {speed:.0f}" for name, speed in self.images_per_second.items())
        return f"precision {self.precision}: the fastest here of {others} images/s"


def measure_precision(
    network: nn.Module,
    name: str,
    recipe: Recipe,
    preprocess: Preprocess,
    photos: int,
    device: torch.device,
    say: Callable[[str], Any],
) -> Measured:
    """What `recipe.precision` asks for, timed; for "auto" the fastest of all, remembered for the next time.

    The network, its random state and its gradients stay as they are.
    """
    batch_size = min(recipe.batch_size, photos)
    key = " | ".join(
        map(
            str,
            (
                platform.processor() or platform.machine(),
                platform.node(),
                device,
                torch.__version__,
                f"{torch.get_num_threads()} threads",
                name,
                sum(p.numel() for p in network.parameters()),
                preprocess.channels,
                recipe.size,
                batch_size,
                recipe.optimizer,
                recipe.precision,
                recipe.freeze,
            ),
        )
    )
    if (remembered := _recall().get(key)) is not None:
        return remembered
    if recipe.precision == "auto":
        candidates = list(CANDIDATES.values())
        if device.type == "mps":
            candidates = [p for p in candidates if p.number_format == "fp32"]
        say("measuring which number format and memory layout is the fastest here ...")
    else:
        candidates = [parse_precision(recipe.precision)]
        say("measuring how long a step takes here ...")
    with torch_seeded(0, "autotune"), memory_answered(recipe):
        shape = (batch_size, preprocess.channels, recipe.size, recipe.size)
        measured = _measure(network, recipe, torch.randn(shape), candidates, device)
    _remember(key, measured)
    return measured


def _measure(
    network: nn.Module, recipe: Recipe, images: Tensor, candidates: list[Precision], device: torch.device
) -> Measured:
    few = images[: max(2, min(SCREENED, len(images)))]
    if len(candidates) == 1:  # nothing to choose: how long it takes, at the price of two small steps
        trial = _Trial(network, recipe, candidates[0], device)
        step = min(trial.step(few)[0] for _ in range(2)) * len(images) / len(few)
        return Measured(str(candidates[0]), step, {str(candidates[0]): round(len(images) / step, 1)})
    first_look = {
        p: min(_Trial(network, recipe, p, device).step(few)[0] for _ in range(2)) for p in candidates
    }
    best = min(first_look.values())
    candidates = [p for p in candidates if first_look[p] <= HOPELESS * best]
    trials = {p: _Trial(network, recipe, p, device) for p in candidates}
    losses = {p: trial.step(images)[1] for p, trial in trials.items()}  # also warms up
    times: dict[Precision, list[float]] = {p: [] for p in candidates}
    for _ in range(ROUNDS if len(candidates) > 1 else 1):
        for p, trial in trials.items():
            times[p].append(trial.step(images)[0])
    seconds = {p: statistics.median(values) for p, values in times.items()}
    exact = losses.get(parse_precision("fp32"), next(iter(losses.values())))
    alike = [p for p in seconds if abs(losses[p] - exact) <= 0.05 * max(1.0, abs(exact))]
    chosen = min(alike or seconds, key=lambda p: seconds[p])
    speeds = {str(p): round(len(images) / s, 1) for p, s in sorted(seconds.items(), key=lambda item: item[1])}
    return Measured(str(chosen), seconds[chosen], speeds)


class _Trial:
    """Training steps of a copy of the network in one precision."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, precision: Precision, device: torch.device
    ) -> None:
        self.network = precision.place(copy.deepcopy(network), device)
        self.optimizer = make_optimizer(self.network, recipe)
        self.precision, self.device, self.frozen = precision, device, recipe.freeze
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-6

    def step(self, images: Tensor) -> tuple[float, float]:
        """(seconds, loss) of one update on made-up images; every image of class 0."""
        train_mode(self.network, self.frozen)
        started = time.perf_counter()
        placed = self.precision.place_images(images, self.device)
        labels = torch.zeros(len(images), dtype=torch.int64, device=self.device)
        with self.precision.autocast(self.device):
            logits = self.network(placed)
        loss = cross_entropy(logits.float(), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        value = loss.item()
        return time.perf_counter() - started, value


def _memory() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("reslab")) / "precision.json"


def _recall() -> dict[str, Measured]:
    with suppress(OSError, ValueError):
        content = TypeAdapter(dict[str, Measured]).validate_json(_memory().read_bytes())
        return {key: value for key, value in content.items() if value.precision in CANDIDATES}
    return {}


def _remember(key: str, measured: Measured) -> None:
    known = _recall() | {key: measured}
    with suppress(OSError):  # a cache that cannot be written costs seconds the next time
        _memory().parent.mkdir(parents=True, exist_ok=True)
        files.write_json(_memory(), {key: asdict(value) for key, value in known.items()})
