"""Measures the precisions here and picks the fastest that trains alike. No rule of thumb is safe.

A few steps of each are timed on a copy of the network, in turns, until the order is clear or the measurement
has cost its share of the run; where the processor has no bf16, a step in it might take minutes, and is not
tried. The choice is remembered per machine and setting: one that changed with the noise would change the bits
of a run with the same seed.

A stopwatch on a busy machine measures the other programs. Two threads that wait for each other spin, and if
one has no core the other burns its own: steps of two threads were seen fifteen times slower than those of
one, while the CPU time of one thread stayed within 5 %. So the threads' wait for a core is looked at, and
where they wait, candidates are compared by the CPU time of one thread, and nothing is remembered.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reslab.hardware import cores, multiplies_bf16, processor, threads, threads_are_fixed, waiting
from reslab.networks.precision import CANDIDATES, Precision, parse_precision
from reslab.photos.loading.preprocess import Preprocess
from reslab.randomness import torch_seeded
from reslab.training.failures import memory_answered
from reslab.training.recipe import Recipe

from .precision_cache import MeasuredPrecision, recall, remember
from .timed_steps import TimedSteps, alike, seconds_compiled

STEPS = "steps 2"  # changes with what a step computes, and how: what was measured before counts no more
SHARE = 0.03  # of the run's own time, for a measurement
SCREENED = 16  # images of the first, cheap look at each candidate; fewer for a short run
HOPELESS = 1.5  # a candidate so many times slower than the best at that look is not timed further
ROUNDS = 6  # at most, of whole batches
CLEAR = 1.03  # so many times slower than the best in every one of two rounds: out
BUSY = 0.1  # of the time, waiting for a core: other programs are being measured


def measure_precision(
    network: nn.Module,
    name: str,
    recipe: Recipe,
    preprocess: Preprocess,
    photos: int,
    device: torch.device,
    say: Callable[[str], Any],
) -> MeasuredPrecision:
    """What `recipe.precision` asks for, timed; for "auto" the fastest of all, remembered for the next time.

    Compiled steps are tried on a CUDA device only: elsewhere they gain less than compiling costs most runs.
    The network, its random state and its gradients stay as they are.
    """
    batch_size, images_in_all = min(recipe.batch_size, photos), recipe.epochs * photos
    key = " | ".join(
        map(
            str,
            (
                STEPS,
                processor(),
                f"{cores()} cores",
                torch.cuda.get_device_name(device) if device.type == "cuda" else device,
                torch.__version__,
                f"{torch.get_num_threads()} threads",
                name,
                sum(p.numel() for p in network.parameters()),
                f"{zlib.crc32(str(network).encode('utf-8', 'replace')):08x}",  # alike but for their blocks
                preprocess.channels,
                recipe.size,
                batch_size,
                f"2^{min(17, images_in_all.bit_length())} images",  # a short run measures less
                f"2^{int(recipe.seconds).bit_length()} s" if recipe.time else "",
                recipe.optimizer,
                recipe.precision,
                recipe.freeze,
            ),
        )
    )
    if (remembered := recall(key)) is not None:
        return remembered
    candidates = _candidates(recipe, device, say)
    with torch_seeded(0, "autotune"), memory_answered(recipe):
        shape = (batch_size, preprocess.channels, recipe.size, recipe.size)
        images = torch.randn(shape)
        trials = {p: TimedSteps(network, recipe, p, device) for p in candidates}
        measured = _measure(trials, images, recipe, photos, device)
        if recipe.precision == "auto" and device.type == "cuda":
            measured = _or_compiled(measured, network, recipe, images, photos, device)
    if not measured.busy:
        remember(key, measured)
    return measured


def _candidates(recipe: Recipe, device: torch.device, say: Callable[[str], Any]) -> list[Precision]:
    lacks_bf16 = device.type == "cpu" and not multiplies_bf16()
    if recipe.precision != "auto":
        asked = parse_precision(recipe.precision)
        say("measuring how long a step takes here ...")
        if lacks_bf16 and asked.number_format == "bf16":
            say("this processor lacks bf16, so that steps may take a hundred times as long as in fp32")
        return [asked]
    if lacks_bf16 or device.type == "mps":
        say("measuring which memory layout is the fastest here ...")
        return [p for p in CANDIDATES.values() if p.number_format == "fp32"]
    say("measuring which number format and memory layout is the fastest here ...")
    return list(CANDIDATES.values())


def _measure(
    trials: dict[Precision, TimedSteps], images: Tensor, recipe: Recipe, photos: int, device: torch.device
) -> MeasuredPrecision:
    few = images[: max(min(4, len(images)), min(SCREENED, recipe.epochs * photos // 400))]
    if any(p.compiled for p in trials):  # a step of another size is not compiled
        few = images
    alone = _Alone(device)
    first, look, losses = next(iter(trials)), {}, {}
    for p, trial in trials.items():
        losses[p] = trial.step(few, len(images))[1]  # slow: the library builds what it computes with
        look[p] = min(trial.step(few, len(images))[0] for _ in range(2))
        trial.rest()  # or candidates that are out already would hold several times their weights
        if p == first and len(trials) > 1 and not alone.now():
            return _measure_by_work(trials, few, len(images))
    alike = _alike(losses)
    best = min(look[p] for p in alike)
    near = sorted((p for p in alike if look[p] <= HOPELESS * best), key=lambda p: look[p])
    rivals = {p: trials[p] for p in near}
    left = SHARE * _seconds_in_all(recipe, photos, len(images) / best) - alone.seconds()
    worth = len(few) < len(images) and left > 2 * best * min(2, len(rivals))
    seconds = _rounds(rivals, images, left) if worth else {}
    seconds = seconds or look  # the run may be so short that the first look must do
    chosen = min((p for p in alike if p in seconds), key=lambda p: seconds[p])
    return _measured(chosen, seconds, len(images), busy=not alone.now())


def _rounds(rivals: dict[Precision, TimedSteps], images: Tensor, left: float) -> dict[Precision, float]:
    """The best time of a step of each, in turns: of as many, from the first on, as the seconds left allow.

    Empty if they do not allow two, where there are several. The best and not the mean: what disturbs a step
    only makes it slower.
    """
    started, room = time.perf_counter(), 0
    times: dict[Precision, list[float]] = {}
    for p, trial in rivals.items():
        if times and len(times) == room:
            break
        warm = trial.step(images, len(images))[0]
        if not times and (room := int(left / (2 * warm))) < min(2, len(rivals)):  # warmed up and timed
            return {}
        times[p] = []
    running = list(times)
    for number in range(ROUNDS):
        for p in running:
            times[p].append(rivals[p].step(images, len(images))[0])
        fastest = min(running, key=lambda p: min(times[p]))
        if number:
            running = [
                p
                for p in running
                if p == fastest or any(a < CLEAR * b for a, b in zip(times[p], times[fastest], strict=False))
            ]
        if len(running) == 1 or (time.perf_counter() - started) * (number + 3) / (number + 2) > left:
            break
    return {p: min(values) for p, values in times.items()}


def _measure_by_work(trials: dict[Precision, TimedSteps], few: Tensor, batch_size: int) -> MeasuredPrecision:
    """By the CPU time of one thread, which other programs hardly change; then how many threads pay here."""
    everyone = torch.get_num_threads()
    work, losses = {}, {}
    with threads(1):
        for p, trial in trials.items():
            losses[p] = trial.step(few, batch_size)[1]
            work[p] = min(trial.step(few, batch_size, time.process_time)[0] for _ in range(2))
            trial.rest()
    chosen = min(_alike(losses), key=lambda p: work[p])
    counts = [everyone] if threads_are_fixed() or everyone == 1 else [1, everyone]
    passed = dict.fromkeys(counts, 0.0)
    for _ in range(2):
        for count in counts:
            with threads(count):
                passed[count] += trials[chosen].step(few, batch_size)[0] / 2
    count = min(counts, key=lambda count: passed[count])
    speeds = {str(p): round(batch_size / value, 1) for p, value in sorted(work.items(), key=lambda i: i[1])}
    return MeasuredPrecision(str(chosen), passed[count], speeds, count, busy=True)


def _or_compiled(
    measured: MeasuredPrecision,
    network: nn.Module,
    recipe: Recipe,
    images: Tensor,
    photos: int,
    device: torch.device,
) -> MeasuredPrecision:
    """The same compiled, if the run is long enough to be the shorter for it."""
    plain, step = parse_precision(measured.precision), measured.seconds_per_step
    steps = _seconds_in_all(recipe, photos, len(images) / step) / step
    seconds = seconds_compiled(network, recipe, plain, images, device, seconds=step, steps=steps, share=SHARE)
    if seconds is None:
        return measured
    name = str(replace(plain, compiled=True))
    speeds = {name: round(len(images) / seconds, 1)} | measured.images_per_second
    return replace(measured, precision=name, seconds_per_step=seconds, images_per_second=speeds)


def _seconds_in_all(recipe: Recipe, photos: int, images_per_second: float) -> float:
    """Of the run that is to come, at this speed."""
    return recipe.seconds or recipe.epochs * photos / images_per_second


def _alike(losses: dict[Precision, float]) -> list[Precision]:
    """Those whose loss is that of fp32, the first candidate of several."""
    exact = next(iter(losses.values()))
    return [p for p in losses if alike(losses[p], exact)] or list(losses)


def _measured(
    chosen: Precision, seconds: dict[Precision, float], images: int, busy: bool
) -> MeasuredPrecision:
    speeds = {str(p): round(images / s, 1) for p, s in sorted(seconds.items(), key=lambda item: item[1])}
    return MeasuredPrecision(str(chosen), seconds[chosen], speeds, torch.get_num_threads(), busy)


class _Alone:
    """Whether this process has had its cores to itself since the object was made."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.started, self.waited = device, time.perf_counter(), waiting()

    def seconds(self) -> float:
        return time.perf_counter() - self.started

    def now(self) -> bool:
        return self.device.type != "cpu" or waiting() - self.waited <= BUSY * self.seconds()
