"""How long the epochs of a training will take, by steps that are timed before the first."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ..evaluation.predictions import predict_logits
from .autotune import measure_precision
from .plan import Clock, Leg, next_leg, sizes_of

if TYPE_CHECKING:
    from .fit import Prepared

KEEPING = 0.5  # seconds of an epoch for checkpoint, model file and curves
AFTER = 3.0  # seconds for the end of a run, beside its test
TRIED = 32  # photos by which the seconds of the test are measured
WAY_IN = 1 / 3  # of a step: a pass without a way back, and without an update


def estimate(prepared: Prepared, name: str, loading: float) -> dict[int, float]:
    """Seconds of an epoch at each size of its pictures, validation included.

    `loading`: seconds that one batch of full size costs in this process before it reaches the network.
    """
    state = prepared.state
    costs = {}
    for size in sizes_of(state.recipe):
        step = prepared.measured.seconds_per_step
        if size != state.recipe.size:
            smaller = state.recipe.with_settings(
                size=size, resize=None, progressive_resizing=False, precision=prepared.measured.precision
            )
            step = measure_precision(
                state.network, name, smaller, prepared.preprocess, len(prepared.train.photos),
                state.device, lambda text: None,
            ).seconds_per_step  # fmt: skip
        look, load = WAY_IN * step, loading * (size / state.recipe.size) ** 2
        if state.recipe.workers:
            step, look = (max(seconds, load / state.recipe.workers) for seconds in (step, look))
        else:
            step, look = step + load, look + load
        costs[size] = step * len(prepared.train) + look * len(prepared.val) + KEEPING
    return costs


def start_clock(prepared: Prepared, costs: dict[int, float], tested: int, began: float) -> None:
    """Gives a training of a given time its clock; `tested`: photos that are looked at when it is over."""
    state, look = prepared.state, prepared.preprocess
    if state.recipe.time is None:
        return
    images = torch.zeros(min(TRIED, prepared.train.batch_size), look.channels, look.size, look.size)
    seconds = []
    for _ in range(2):  # the first builds what it computes with
        started = time.monotonic()
        list(predict_logits(state.network, [images], state.device))  # in fp32, as the test at the end is
        seconds.append(time.monotonic() - started)
    reserve = min(seconds) / len(images) * (tested + len(prepared.val.photos)) + AFTER
    state.clock = Clock(began, costs, reserve)


def planned(prepared: Prepared, costs: dict[int, float]) -> list[tuple[int, int]]:
    """(size, epochs) as planned now, if every epoch takes what it is expected to."""
    state, steps = prepared.state, len(prepared.train)
    past: list[Leg] = []
    clock = state.clock and replace(state.clock, costs=costs)
    while leg := next_leg(state.recipe, clock, past, steps):
        past.append(replace(leg, seconds=costs[leg.size] * leg.steps / steps))
        if clock is not None:
            clock = replace(clock, began=clock.began - past[-1].seconds)
    return [(size, sum(leg.size == size for leg in past)) for size in sizes_of(state.recipe)]
