"""Accuracy with its interval, precision and recall per class, calibration, temperature."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.text import printable, table

from .rows import PhotoRows


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class.

    Attributes:
        photos: number of photos whose true class it is.
        precision: correct fraction of the photos with this prediction, 0 to 1; None if there are none.
        recall: correct fraction of the photos of this class, 0 to 1; None if there are none.
    """

    photos: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Evaluation:
    """Quality of a classifier on labeled photos.

    `str` gives one line: accuracy, interval, number of photos, and the first unread photo. `table()` gives a
    row per class.

    Attributes:
        photos: number of photos that the figures are about.
        accuracy: fraction with the correct label, 0 to 1.
        accuracy_low: lower end of its 95 % interval (Wilson 1927, "Probable inference").
        accuracy_high: upper end of the interval.
        loss: mean cross-entropy in nats.
        calibration_error: expected calibration error, 0 to 1 (Guo et al. 2017, section 2).
        classes: class names, in the order of the logits.
        per_class: figures by class name, in the same order.
        confusion: counts; row: index of the true class, column: index of the predicted class.
        unread: number of further photos that could not be read.
        unread_first: path and reason of the first 100 of them.
        rows: one row per photo; all figures come from them.
    """

    photos: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    loss: float
    calibration_error: float
    classes: tuple[str, ...]
    per_class: dict[str, ClassFigures]
    confusion: tuple[tuple[int, ...], ...]
    unread: int = 0
    unread_first: tuple[tuple[str, str], ...] = ()
    rows: PhotoRows = field(repr=False, compare=False, kw_only=True)

    def __str__(self) -> str:
        interval = f"[{self.accuracy_low:.3f}, {self.accuracy_high:.3f}]"
        text = f"accuracy {self.accuracy:.3f} {interval} over {self.photos:,} photos"
        for path, why in self.unread_first[:1]:
            text += f"; {self.unread:,} could not be read" + (", the first: " if self.unread > 1 else ": ")
            text += printable(f"{path}: {why}")
        return text

    def as_json(self) -> dict[str, Any]:
        """Return all attributes but `rows` as JSON values; "unread_first" holds {"path", "why"} objects."""
        per_class = {name: vars(figures) for name, figures in self.per_class.items()}
        return {
            **{name.name: getattr(self, name.name) for name in fields(self) if name.name != "rows"},
            "classes": list(self.classes),
            "per_class": per_class,
            "confusion": [*map(list, self.confusion)],
            "unread_first": [{"path": path, "why": why} for path, why in self.unread_first],
        }

    def table(self) -> str:
        """Return a text table with a row per class: photos, precision, recall, most frequent confusion.

        "-" stands for None. The last cell is the wrong class predicted most often for photos of this class,
        with the number of these photos, or "" if none is wrong.
        """
        rows = []
        for i, (name, figures) in enumerate(self.per_class.items()):
            wrong = [
                (count, self.classes[j]) for j, count in enumerate(self.confusion[i]) if j != i and count
            ]
            confused = "{1} ({0})".format(*max(wrong)) if wrong else ""
            fractions = ("-" if x is None else f"{x:.3f}" for x in (figures.precision, figures.recall))
            rows.append([name, f"{figures.photos:,}", *fractions, confused])
        return table(["class", "photos", "precision", "recall", "most often taken for"], rows, "lrrrl")


def evaluate_rows(rows: PhotoRows) -> Evaluation:
    """Return the figures of rows, at least one; `unread` is 0."""
    from sklearn.metrics import confusion_matrix

    classes = rows.classes
    confusion = confusion_matrix(rows.labels, rows.predicted, labels=range(len(classes)))
    correct, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    low, high = accuracy_interval(int(correct.sum()), len(rows))
    return Evaluation(
        photos=len(rows),
        accuracy=float(correct.sum() / len(rows)),
        accuracy_low=low,
        accuracy_high=high,
        loss=float(rows.losses.mean()),
        calibration_error=calibration_error(rows.probabilities, rows.labels),
        classes=classes,
        per_class={
            name: ClassFigures(
                int(actual[i]),
                float(correct[i] / predicted[i]) if predicted[i] else None,
                float(correct[i] / actual[i]) if actual[i] else None,
            )
            for i, name in enumerate(classes)
        },
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        rows=rows,
    )


def accuracy_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends (low, high) of Wilson's score interval of correct / total, between 0 and 1.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22.

    Args:
        correct: number of correct predictions.
        total: number of predictions, at least 1.
        confidence: probability that the interval covers the true accuracy.
    """
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def calibration_error(probabilities: NDArray[np.float64], labels: NDArray[np.int64], bins: int = 15) -> float:
    """Return the expected calibration error, 0 to 1: the mean gap between confidence and accuracy.

    Guo et al. 2017, "On calibration of modern neural networks", section 2.

    Args:
        probabilities: (N, num_classes).
        labels: (N,), true classes as indices.
        bins: number of equal intervals of confidence. Each gap counts by the number of its photos.
    """
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs((correct[bin_of == b] - confidence[bin_of == b]).sum()) for b in range(bins)]
    return float(sum(gaps) / len(labels))


def fit_temperature(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return the temperature, 0.05 to 20, that minimizes the mean loss of logits / temperature.

    Logits are (N, num_classes), labels (N,), N at least 1. The temperature changes the probabilities, not
    the predicted labels (Guo et al. 2017, section 4.2). The target probability of the true class is
    (N + 1) / (N + 2) instead of 1 (Platt 1999, "Probabilistic outputs for support vector machines", section
    2.2). Otherwise a few photos that are all correct would make the classifier certain of everything.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    photos, classes = logits.shape
    exact, true_class = logits.astype(np.float64), (np.arange(photos), labels)
    smoothing = classes / ((classes - 1) * (photos + 2)) if classes > 1 else 0.0

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(exact / np.exp(log_temperature), axis=1)
        return float(
            -(1 - smoothing) * log_probabilities[true_class].mean() - smoothing * log_probabilities.mean()
        )

    best = minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded")
    return float(np.exp(best.x))
