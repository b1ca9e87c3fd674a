"""Probabilities and losses of logits, in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities (N, num_classes) of logits (N, num_classes); each row sums to 1."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def cross_entropies(logits: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cross-entropy of each photo in nats, (N,), for logits (N, num_classes) and labels (N,)."""
    from scipy.special import log_softmax

    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    losses: NDArray[np.float64] = -log_probabilities[np.arange(len(labels)), labels]
    return losses


def mean_loss(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy in nats of logits (N, num_classes) for labels (N,)."""
    return float(cross_entropies(logits, labels).mean())
