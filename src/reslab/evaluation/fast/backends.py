"""Quicker ways to the same logits, for many photos on a CPU; the stopwatch says which is the quickest here.

An engine's logits lie within its tolerance of those of the network itself, which is held against it on the
first photos, on one photo in a thousand after them, and on every photo whose two best classes are too close
to tell apart within the tolerance. There the network's own logits count: no label is another than its.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice

import torch
from torch import Tensor, nn

from reslab.hardware import threads

from .fused import fold, fused

FP32_TOLERANCE = 1e-4  # of the largest logit, or of 1 if that is less
BF16_TOLERANCE = 2e-2
WORTH = 1.5  # of the network's time: cores that each compute a batch of their own make up for so much
ENOUGH = 0.6  # an engine that needs less is taken, and no other is tried

Answer = Callable[[Tensor], Tensor]
log = logging.getLogger("reslab")


@dataclass(frozen=True)
class Engine:
    """images (N, C, H, W) -> logits (N, num_classes), fp32, in any thread; `tolerance` is a share of `size`.

    `size`: the largest logit of the first photos, or 1 if that is less; or that of the photo, if larger.
    """

    name: str
    answer: Answer
    tolerance: float
    size: float = 1.0

    def agrees(self, found: Tensor, expected: Tensor) -> bool:
        """Whether all logits (N, num_classes) are finite and within the tolerance of the network's."""
        if found.shape != expected.shape or found.dim() != 2 or not found.isfinite().all():
            return False
        return bool(((found - expected).abs().amax(1) <= self._allowed(expected)).all())

    def close(self, logits: Tensor) -> Tensor:
        """Of each photo, whether within the tolerance another label is possible: bool (N,)."""
        if logits.shape[1] < 2:
            return torch.zeros(len(logits), dtype=torch.bool)
        best, second = logits.topk(2).values.T
        return ~(best - second > 2 * self._allowed(logits))  # NaN is close, too

    def _allowed(self, logits: Tensor) -> Tensor:
        return self.tolerance * logits.abs().amax(1).clamp(min=self.size)


def choose(network: nn.Module, exact: Answer, images: Tensor, rough: bool) -> tuple[Tensor, Engine | None]:
    """The network's own logits of some images, and the quickest engine that agrees; None if there is none.

    `exact` is the network; it answers on one core while the first engine does on another. `rough`: bf16
    will do. Each is timed as it first computes, on one thread, by its CPU time, which what other cores do
    hardly changes: a choice that they spoil costs time and no answer.
    """
    with threads(1), ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as beside:
        engines = candidates(network, rough)
        first = list(islice(engines, 1))  # made before: tracing changes nn.Module for every thread
        own = beside.submit(_timed, exact, images.clone())
        tried = [_tried(engine, images.clone()) for engine in first]
        expected, seconds = own.result()
        others = (_tried(engine, images.clone()) for engine in engines)
        least, chosen = WORTH * seconds, None
        for engine, logits, passed in filter(None, chain(tried, others)):
            if (sized := _proven(engine, logits, expected)) is None:
                log.info("%s is not used: its logits are not those of the network", engine.name)
                continue
            cost = passed + float(sized.close(logits).float().mean()) * seconds  # what is close is done again
            log.debug("%s: %.4f s, the network %.4f s", engine.name, cost, seconds)
            if cost < least:
                least, chosen = cost, sized
            if cost < ENOUGH * seconds:
                break
    return expected, chosen


def _tried(engine: Engine, images: Tensor) -> tuple[Engine, Tensor, float] | None:
    """The engine, its logits and the seconds that it took; the images are its own, it may write into them."""
    try:
        return engine, *_timed(engine.answer, images)
    except Exception as error:  # noqa: BLE001  see candidates
        log.info("%s cannot compute this network: %s", engine.name, error)
        return None


def _timed(answer: Answer, images: Tensor) -> tuple[Tensor, float]:
    started = time.thread_time()
    logits = answer(images)
    return logits, time.thread_time() - started


def _proven(engine: Engine, logits: Tensor, expected: Tensor) -> Engine | None:
    """The engine with the size of these logits, if it agrees and most of its errors are far smaller."""
    sized = replace(engine, size=max(1.0, float(expected.abs().max())))
    if not sized.agrees(logits, expected):
        return None
    usual = float((logits - expected).square().mean().sqrt())
    return sized if 4 * usual <= sized.tolerance * sized.size else None


def candidates(network: nn.Module, rough: bool) -> Iterator[Engine]:
    """The engines for a network, built one after the other as they are tried; the network stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        return  # while torch traces a network, no other thread can compute with any module
    kinds = [("bf16", torch.bfloat16, BF16_TOLERANCE)] if rough else []
    for name, number_format, tolerance in [*kinds, ("fp32, fused", torch.float32, FP32_TOLERANCE)]:
        try:
            if (folded := fold(network)) is None:
                return
            answer = _answer(fused(folded, number_format), number_format)
        except Exception as error:  # noqa: BLE001  anybody's network, and the network itself is there
            log.info("%s cannot be had for this network: %s", name, error)
            continue
        yield Engine(name, answer, tolerance)


def _answer(network: nn.Module, number_format: torch.dtype) -> Answer:
    def answer(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(images.to(number_format).contiguous(memory_format=torch.channels_last))
        return logits.float()

    return answer
