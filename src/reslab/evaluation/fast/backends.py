"""Faster backends of a network on a CPU (bf16, fused fp32), chosen by measurement.

A backend's logits may differ from the network's by its tolerance. They are compared on the first photos, and
on a sample of the later ones. Where the two highest logits are too close for the tolerance to tell which is
higher, the network itself computes the photo. So no label differs from the network's own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from reslab.hardware import threads

from .fused import fold, fuse

FP32_TOLERANCE = 1e-4  # relative to the largest logit, or to 1 if that is larger
BF16_TOLERANCE = 2e-2
MAX_RELATIVE_TIME = 1.5  # of the network's on one thread: one backend per core still gains
FAST_ENOUGH = 0.6  # of the network's time: no further backend is tried

Predict = Callable[[Tensor], Tensor]
log = logging.getLogger("reslab")


@dataclass(frozen=True)
class Backend:
    """Another implementation of a network, usable from any thread.

    Attributes:
        name: number format, for logs.
        predict: images (N, C, H, W), normalized -> logits (N, num_classes), float32.
        tolerance: largest difference to the network's logits, relative to `scale` or to the photo's largest
            logit, whichever is larger.
        scale: the largest logit of the first photos, at least 1.
    """

    name: str
    predict: Predict
    tolerance: float
    scale: float = 1.0

    def agrees(self, logits: Tensor, exact: Tensor) -> bool:
        """Return True if all `logits` (N, num_classes) are finite and within the tolerance of `exact`.

        Return False for another shape than that of `exact`, the network's own logits.
        """
        if logits.shape != exact.shape or logits.dim() != 2 or not logits.isfinite().all():
            return False
        return bool(((logits - exact).abs().amax(1) <= self._allowed(exact)).all())

    def is_ambiguous(self, logits: Tensor) -> Tensor:
        """Return bool (N,): True where the two highest of the logits (N, num_classes) are too close.

        The network's own label may then differ, within the tolerance. NaN is True. A single class is False.
        """
        if logits.shape[1] < 2:
            return torch.zeros(len(logits), dtype=torch.bool)
        best, second = logits.topk(2).values.T
        return ~(best - second > 2 * self._allowed(logits))  # NaN is ambiguous, too

    def _allowed(self, logits: Tensor) -> Tensor:
        return self.tolerance * logits.abs().amax(1).clamp(min=self.scale)


def choose_backend(
    network: nn.Module, exact: Predict, images: Tensor, approximate: bool
) -> tuple[Tensor, Backend | None]:
    """Return the network's logits (N, num_classes) of `images`, and a backend to predict further photos with.

    The backend is the fastest of those with accurate logits for these images. None: each takes more than
    MAX_RELATIVE_TIME of the network's CPU time in one thread, is not accurate, or fails; a failure is logged.
    After a backend below FAST_ENOUGH, no further one is tried.

    Args:
        network: on the CPU; it is not changed.
        exact: predicts with the network itself.
        images: (N, C, H, W), normalized.
        approximate: allow bf16.
    """
    with threads(1):
        expected, exact_seconds = _timed(exact, images)
        fastest, chosen = MAX_RELATIVE_TIME * exact_seconds, None
        for candidate in available_backends(network, approximate):
            try:
                logits, seconds = _timed(candidate.predict, images)
            except Exception as error:  # noqa: BLE001  any network may come, and the network itself is left
                log.info("%s cannot compute this network: %s", candidate.name, error)
                continue
            backend = replace(candidate, scale=max(1.0, float(expected.abs().max())))
            if not _is_accurate(backend, logits, expected):
                log.info("%s is not used: its logits differ from the network's", backend.name)
                continue
            seconds += float(backend.is_ambiguous(logits).float().mean()) * exact_seconds  # computed again
            log.debug("%s: %.4f s, the network %.4f s", backend.name, seconds, exact_seconds)
            if seconds < fastest:
                fastest, chosen = seconds, backend
            if seconds < FAST_ENOUGH * exact_seconds:
                break
    return expected, chosen


def _timed(predict: Predict, images: Tensor) -> tuple[Tensor, float]:
    started = time.thread_time()
    logits = predict(images.clone())  # a network may write into its input
    return logits, time.thread_time() - started


def _is_accurate(backend: Backend, logits: Tensor, exact: Tensor) -> bool:
    """Return True if the backend agrees, with a root-mean-square error of at most a quarter of its tolerance.

    Args:
        backend: to judge.
        logits: the backend's, (N, num_classes).
        exact: the network's own, of the same images.
    """
    if not backend.agrees(logits, exact):
        return False
    return 4 * float((logits - exact).square().mean().sqrt()) <= backend.tolerance * backend.scale


def available_backends(network: nn.Module, approximate: bool) -> Iterator[Backend]:
    """Yield the backends for a network on the CPU: bf16, then fp32. The network is not changed.

    Each is built when it is asked for. One that cannot be built is logged and skipped. Yield nothing outside
    the main thread, or for a network with hooks.

    Args:
        network: on the CPU.
        approximate: include bf16.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # torch.fx patches nn.Module while it traces: no other thread may compute meanwhile
    formats = [("bf16", torch.bfloat16, BF16_TOLERANCE)] if approximate else []
    for name, dtype, tolerance in [*formats, ("fp32, fused", torch.float32, FP32_TOLERANCE)]:
        try:
            if (folded := fold(network)) is None:
                return
            predict = _predict_with(fuse(folded, dtype), dtype)
        except Exception as error:  # noqa: BLE001  as in choose_backend
            log.info("%s is not possible for this network: %s", name, error)
            continue
        yield Backend(name, predict, tolerance)


def _predict_with(network: nn.Module, dtype: torch.dtype) -> Predict:
    def predict(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = network(images.to(dtype).contiguous(memory_format=torch.channels_last))
        return logits.float()

    return predict
