"""Accuracy with its interval, per class, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.text import printable, table


@dataclass(frozen=True)
class ClassFigures:
    """photos: how many show the class; precision and recall: None where nothing was there to divide by."""

    photos: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """What a classifier is worth on some photos; `accuracy_low`, `accuracy_high`: 95 % interval (Wilson).

    `unread`: how many more could not be read, and have no part in the figures; `unread_first`: the first of
    them, each with the reason.
    """

    photos: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    calibration_error: float
    classes: tuple[str, ...]
    per_class: dict[str, ClassFigures]
    confusion: tuple[tuple[int, ...], ...]  # row: the class it is, column: the class it was taken for
    unread: int = 0
    unread_first: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        interval = f"[{self.accuracy_low:.3f}, {self.accuracy_high:.3f}]"
        said = f"accuracy {self.accuracy:.3f} {interval} over {self.photos:,} photos"
        for path, why in self.unread_first[:1]:
            said += f"; {self.unread:,} could not be read" + (", the first: " if self.unread > 1 else ": ")
            said += printable(f"{path}: {why}")
        return said

    def as_json(self) -> dict[str, Any]:
        per_class = {name: vars(figures) for name, figures in self.per_class.items()}
        return {
            **vars(self),
            "classes": list(self.classes),
            "per_class": per_class,
            "confusion": [*map(list, self.confusion)],
            "unread_first": [{"path": path, "why": why} for path, why in self.unread_first],
        }

    def table(self) -> str:
        """One row a class: photos, precision, recall, and the class it is most often taken for."""
        rows = []
        for i, (name, figures) in enumerate(self.per_class.items()):
            wrong = [
                (count, self.classes[j]) for j, count in enumerate(self.confusion[i]) if j != i and count
            ]
            often = "{1} ({0})".format(*max(wrong)) if wrong else ""
            rows.append([name, f"{figures.photos:,}", _rate(figures.precision), _rate(figures.recall), often])
        return table(["class", "photos", "precision", "recall", "most often taken for"], rows, "lrrrl")


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def evaluate_logits(
    logits: NDArray[np.float32], labels: NDArray[np.int64], classes: Sequence[str], temperature: float = 1.0
) -> Evaluation:
    """Figures from logits (N, C) and labels (N,), N > 0."""
    from sklearn.metrics import confusion_matrix

    predicted = logits.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted, labels=range(len(classes)))
    right, shown, taken = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    low, high = accuracy_interval(int(right.sum()), len(labels))
    probabilities = soft_max(logits / temperature)
    return Evaluation(
        photos=len(labels),
        accuracy=float(right.sum() / len(labels)),
        accuracy_low=low,
        accuracy_high=high,
        loss=mean_loss(logits / temperature, labels),
        calibration_error=calibration_error(probabilities, labels),
        classes=tuple(classes),
        per_class={
            name: ClassFigures(
                int(shown[i]),
                float(right[i] / taken[i]) if taken[i] else None,
                float(right[i] / shown[i]) if shown[i] else None,
            )
            for i, name in enumerate(classes)
        },
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


def accuracy_interval(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a share (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(right, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def soft_max(logits: NDArray[Any]) -> NDArray[np.float64]:
    """(N, C) -> (N, C), rows that add up to one."""
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return probabilities


def mean_loss(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Cross-entropy in nats, every image weighted alike."""
    from scipy.special import log_softmax

    chosen = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels]
    return float(-chosen.mean())


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15) -> float:
    """Expected calibration error (Guo 2017, section 2): mean gap between stated probability and accuracy."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs((right[bin_of == b] - confidence[bin_of == b]).sum()) for b in range(bins)]
    return float(sum(gaps) / len(labels))


def fit_temperature(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """The divisor of the logits that makes the probabilities fit best (Guo 2017, section 4.2).

    Between 0.05 and 20. It changes no label, only how sure the classifier says it is. With n photos
    the right class shall get (n + 1) / (n + 2) and not 1, as if one more had been right and one wrong (Platt
    1999, section 2.2): else a few that are all right would make it as sure as it can be of everything.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    photos, classes = logits.shape
    exact, right = logits.astype(np.float64), (np.arange(photos), labels)
    doubt = classes / ((classes - 1) * (photos + 2)) if classes > 1 else 0.0  # shared by all classes alike

    def loss(log: float) -> float:
        shares = log_softmax(exact / np.exp(log), axis=1)
        return float(-(1 - doubt) * shares[right].mean() - doubt * shares.mean())

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(best.x))
