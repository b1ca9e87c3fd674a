"""Choice of the fastest precision on this machine, by timing a few training steps of each.

No rule predicts it: bf16 is twice as fast on one processor and a hundred times slower on another. A candidate
must give the loss of fp32. The choice is cached per machine and setting, so that a second run with the same
seed computes in the same precision and gives the same weights.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reslab.hardware import cores, has_fast_bf16, processor_name
from reslab.networks.input_channels import input_channels
from reslab.networks.precision import UNCOMPILED, Precision, parse_precision
from reslab.randomness import torch_seeded
from reslab.training.failures import translate_out_of_memory
from reslab.training.recipe import Recipe

from .precision_cache import MeasuredPrecision, load_measurement, save_measurement
from .timed_steps import (
    MAX_TIMING_FRACTION,
    MAX_TIMING_S,
    TIMED_STEPS,
    TimedSteps,
    compiled_step_seconds,
    time_steps,
)

MEASUREMENT_VERSION = 3  # changes when a training step or its timing changes; older entries are ignored
MIN_TIMED_IMAGES = 4


def measure_precision(
    network: nn.Module, recipe: Recipe, num_photos: int, device: torch.device, say: Callable[[str], Any]
) -> MeasuredPrecision:
    """Return the precision that `recipe.precision` names, with its timing; for "auto" the fastest one.

    The result is cached on this machine, and later calls with the same settings return it. Compiled steps
    are tried on CUDA devices only: elsewhere most runs are too short to gain from compiling. The network, its
    gradients and the random state are not changed.

    Args:
        num_photos: photos in the train split.
        say: called with each line of text for people.

    Raises:
        RecipeError: the precision is unknown, or the step cannot be compiled.
        TrainingError: the memory is too small for a batch.
    """
    key = _cache_key(network, recipe, num_photos, device)
    if (cached := load_measurement(key)) is not None:
        return cached
    candidates = _candidates(recipe, device, say)
    batch_size = min(recipe.batch_size, num_photos)
    with translate_out_of_memory(recipe):
        with torch_seeded(0, "autotune"):
            images = torch.randn(batch_size, input_channels(network), recipe.size, recipe.size)
        timings, run_seconds = _time_candidates(network, recipe, candidates, images, num_photos, device)
        exact = timings[candidates[0]]
        same = [p for p in timings if timings[p] is exact or timings[p].has_same_loss(exact)]
        chosen = min(same, key=lambda p: timings[p].seconds)
        seconds = {p: timing.seconds for p, timing in timings.items()}
        if recipe.precision == "auto" and device.type == "cuda":
            step = seconds[chosen]
            fastest = compiled_step_seconds(
                network, recipe, chosen, device, images, seconds=step, steps=run_seconds / step
            )
            if fastest is not None:
                chosen = replace(chosen, compiled=True)
                seconds[chosen] = fastest
    speeds = {str(p): round(batch_size / s, 1) for p, s in sorted(seconds.items(), key=lambda item: item[1])}
    measured = MeasuredPrecision(str(chosen), seconds[chosen], speeds, torch.get_num_threads())
    save_measurement(key, measured)
    return measured


def _cache_key(network: nn.Module, recipe: Recipe, num_photos: int, device: torch.device) -> str:
    """Return JSON text of everything that the timing depends on: the machine, the network, the settings."""
    parameters = sum(p.numel() for p in network.parameters())
    blocks = zlib.crc32(str(network).encode("utf-8", "replace"))
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    settings = {"epochs", "time", "batch_size", "size", "optimizer", "freeze", "precision"}
    machine = (processor_name(), cores(), gpu, torch.__version__, torch.get_num_threads())
    work = (parameters, blocks, num_photos, recipe.model_dump(include=settings))
    return json.dumps([MEASUREMENT_VERSION, machine, work])


def _candidates(recipe: Recipe, device: torch.device, say: Callable[[str], Any]) -> list[Precision]:
    """Return the precisions to time: the recipe's, or for "auto" all of this device, fp32 first.

    A line to `say` names what is timed, and another warns if the processor lacks the recipe's bf16.

    Raises:
        RecipeError: the recipe's precision is unknown.
    """
    lacks_bf16 = device.type == "cpu" and not has_fast_bf16()
    if recipe.precision != "auto":
        asked = parse_precision(recipe.precision)
        say("timing a training step ...")
        if lacks_bf16 and asked.number_format == "bf16":
            say("WARNING: this processor has no bf16: a step may take a hundred times as long as in fp32")
        return [asked]
    say("timing training steps to find the fastest precision ...")
    exact, *others = UNCOMPILED.values()
    supported = [p for p in others if p.number_format == "fp32" or not (lacks_bf16 or device.type == "mps")]
    return [exact, *reversed(supported)]  # most often the last is the fastest; a short run may time few


def _time_candidates(
    network: nn.Module,
    recipe: Recipe,
    candidates: list[Precision],
    images: Tensor,
    num_photos: int,
    device: torch.device,
) -> tuple[dict[Precision, TimedSteps], float]:
    """Return the timings, and the run's duration in seconds as estimated by the first candidate.

    The limit is MAX_TIMING_FRACTION of the run, at most MAX_TIMING_S. The number of images in a timed step
    is chosen so that all candidates take half of it. Candidates left when it is over are skipped.

    Args:
        images: a full batch, (N, C, H, W).
    """
    batch_size, started = len(images), time.perf_counter()

    def timed(precision: Precision, count: int) -> TimedSteps:
        few = images if precision.compiled else images[:count]  # only full batches are compiled
        return time_steps(network, recipe, precision, device, few, batch_size)

    first, *others = candidates
    timings = {first: timed(first, MIN_TIMED_IMAGES)}
    step = timings[first].seconds
    run_seconds = recipe.seconds or recipe.epochs * num_photos / batch_size * step
    limit = min(MAX_TIMING_FRACTION * run_seconds, MAX_TIMING_S)
    count = int(limit / 2 / (step * len(candidates) * (1 + TIMED_STEPS)) * batch_size)
    if count > MIN_TIMED_IMAGES and not first.compiled:
        timings[first] = timed(first, count)
    for precision in others:
        if time.perf_counter() - started > limit:
            break
        timings[precision] = timed(precision, max(MIN_TIMED_IMAGES, count))
    return timings, run_seconds
