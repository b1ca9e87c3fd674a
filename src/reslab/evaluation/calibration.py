"""Calibration: the expected calibration error, its noise floor, and the temperature that corrects it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.randomness import key

from .probabilities import softmax

CONFIDENCE_BINS = 15  # as in Guo et al. 2017, section 4
NOISE_DRAWS = 400
CALIBRATED_PHOTOS = 50  # imagined photos that keep a temperature of few photos close to 1
WRONG_PHOTOS = 0.125  # imagined mistakes that limit the confidence of a network without any


def calibration_error(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = CONFIDENCE_BINS
) -> float:
    """Return the expected calibration error, 0 to 1: the mean gap between confidence and accuracy.

    Guo et al. 2017, "On calibration of modern neural networks", section 2.

    Args:
        probabilities: (N, num_classes).
        labels: (N,), true classes as indices.
        bins: number of equal intervals of confidence. Each gap counts by the number of its photos.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    return _mean_gap(confidence, correct, _bin_of(confidence, bins))


def calibration_noise(probabilities: NDArray[np.float64], bins: int = CONFIDENCE_BINS) -> tuple[float, float]:
    """Return the calibration error that a perfectly calibrated network shows by chance: mean, 95 % quantile.

    It is simulated with labels that follow the probabilities; equal probabilities give equal results. The
    error is a mean of absolute gaps, so chance alone lifts it above 0 (Roelofs et al. 2022, "Mitigating bias
    in calibration error estimation").

    Args:
        probabilities: (N, num_classes).
        bins: as in `calibration_error`.
    """
    confidence = probabilities.max(axis=1)
    bin_of = _bin_of(confidence, bins)
    generator = np.random.Generator(np.random.Philox(key(0, "calibration noise")))
    errors = [
        _mean_gap(confidence, generator.random(len(confidence)) < confidence, bin_of)
        for _ in range(NOISE_DRAWS)
    ]
    return float(np.mean(errors)), float(np.quantile(errors, 0.95))


def _bin_of(confidence: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    return np.minimum((confidence * bins).astype(np.int64), bins - 1)


def _mean_gap(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], bin_of: NDArray[np.int64]
) -> float:
    gaps = np.bincount(bin_of, weights=correct - confidence)
    return float(np.abs(gaps).sum() / len(confidence))


def fit_temperature(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return the temperature, 0.05 to 20, that divides the logits before the softmax.

    The temperature changes the probabilities, not the predicted labels (Guo et al. 2017, section 4.2). It
    minimizes the loss of the given photos and of two kinds of imagined ones. 50 have labels that follow the
    network's own probabilities, so that few photos hardly change a calibrated network. An eighth of a photo
    has a wrong label, so that a network without mistakes on few photos does not become certain. Platt's
    targets (1999, "Probabilistic outputs for support vector machines", section 2.2) are one photo of the
    second kind and none of the first. benchmarks/temperature.py compares these rules.

    Args:
        logits: (N, num_classes), N at least 1.
        labels: (N,), true classes as indices.
    """
    photos, classes = logits.shape
    targets = softmax(logits) * CALIBRATED_PHOTOS + WRONG_PHOTOS / max(1, classes - 1)
    targets[np.arange(photos), labels] += photos
    return best_temperature(logits, targets)


def best_temperature(logits: NDArray[Any], targets: NDArray[np.float64]) -> float:
    """Return the temperature, 0.05 to 20, with the lowest cross-entropy of logits / temperature.

    Args:
        logits: (N, num_classes).
        targets: (N, num_classes), weights of the classes, 0 or more; they need not sum to 1.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    exact = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(exact / np.exp(log_temperature), axis=1)).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))
