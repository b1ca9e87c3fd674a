"""Evaluation: every figure of a classifier on labeled photos, computed from one row per photo."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.text import html_table, printable, table

from .calibration import calibration_error, calibration_noise
from .coverage import Coverage, coverage_curve
from .intervals import accuracy_interval
from .rows import PhotoRows

PER_CLASS_TITLES, PER_CLASS_ALIGN = ("class", "photos", "precision", "recall", "F1"), "lrrrr"
MIN_CLASSES_FOR_TOP5 = 6  # with five classes every answer is among the first five


@dataclass(frozen=True)
class ClassFigures:
    """Figures of one class.

    Attributes:
        photos: number of photos whose true class it is, also called support.
        precision: correct fraction of the photos with this prediction, 0 to 1; None if there are none.
        recall: correct fraction of the photos of this class, 0 to 1; None if there are none.
        f1: harmonic mean of both, 0 to 1; None if the class has neither photos nor predictions.
    """

    photos: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Confusion:
    """Photos of one class that were taken for another.

    Attributes:
        label: name of the true class.
        predicted: name of the class that was predicted.
        photos: number of these photos, at least 1.
    """

    label: str
    predicted: str
    photos: int


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
        balanced_accuracy: mean recall of the classes with photos, 0 to 1 (Brodersen et al. 2010).
        top5_accuracy: fraction whose label is among the five most probable classes; None under six classes.
        roc_auc: probability that a photo of the second class gets a higher probability of this class than
            one of the first class (Hanley and McNeil 1982); None unless there are two classes with photos.
        loss: mean cross-entropy in nats.
        calibration_error: expected calibration error, 0 to 1 (Guo et al. 2017, section 2).
        calibration_noise: mean calibration error of perfectly calibrated networks with these probabilities,
            on as many photos; it is due to chance alone.
        calibration_noise_high: value that 95 % of these networks stay under.
        coverage: coverage and accuracy if the less sure answers are rejected, for rising thresholds.
        rejection: the same for the classifier's own `reject_below`; None without one.
        classes: class names, in the order of the logits.
        per_class: figures by class name, in the same order.
        confusion: counts; row: index of the true class, column: index of the predicted class.
        unread: number of further photos that could not be read.
        unread_first: path and reason of the first 100 of them.
        rows: one row per photo, from which all figures are computed.
    """

    photos: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    balanced_accuracy: float
    top5_accuracy: float | None
    roc_auc: float | None
    loss: float
    calibration_error: float
    calibration_noise: float
    calibration_noise_high: float
    coverage: tuple[Coverage, ...]
    classes: tuple[str, ...]
    per_class: dict[str, ClassFigures]
    confusion: tuple[tuple[int, ...], ...]
    rows: PhotoRows = field(repr=False, compare=False)
    rejection: Coverage | None = None
    unread: int = 0
    unread_first: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        interval = f"[{self.accuracy_low:.3f}, {self.accuracy_high:.3f}]"
        text = f"accuracy {self.accuracy:.3f} {interval} over {self.photos:,} photos"
        for path, why in self.unread_first[:1]:
            text += f"; {self.unread:,} could not be read" + (", the first: " if self.unread > 1 else ": ")
            text += printable(f"{path}: {why}")
        return text

    def as_json(self) -> dict[str, Any]:
        """Return all attributes but `rows` as JSON values; "unread_first" holds {"path", "why"} objects."""
        plain = {part.name: getattr(self, part.name) for part in fields(self) if part.name != "rows"}
        return {
            **plain,
            "coverage": [asdict(point) for point in self.coverage],
            "rejection": asdict(self.rejection) if self.rejection else None,
            "classes": list(self.classes),
            "per_class": {name: asdict(figures) for name, figures in self.per_class.items()},
            "confusion": [*map(list, self.confusion)],
            "unread_first": [{"path": path, "why": why} for path, why in self.unread_first],
        }

    __repr__ = __str__

    def _repr_html_(self) -> str:
        confused = [f"{c.label} taken for {c.predicted} ({c.photos:,})" for c in self.confusions()[:3]]
        lines = [
            str(self),
            *([f"most frequent confusions: {printable(', '.join(confused))}"] * bool(confused)),
        ]
        texts = "".join(f"<p>{html.escape(line)}</p>\n" for line in lines)
        return texts + html_table(PER_CLASS_TITLES, self._per_class_cells(), PER_CLASS_ALIGN)

    def table(self) -> str:
        """Return a text table with a row per class: photos, precision, recall, F1; "-" stands for None."""
        return table(PER_CLASS_TITLES, self._per_class_cells(), PER_CLASS_ALIGN)

    def _per_class_cells(self) -> list[list[str]]:
        rows = []
        for name, figures in self.per_class.items():
            fractions = (figures.precision, figures.recall, figures.f1)
            cells = ("-" if x is None else f"{x:.3f}" for x in fractions)
            rows.append([name, f"{figures.photos:,}", *cells])
        return rows

    def confusions(self) -> list[Confusion]:
        """Return the pairs of classes that were confused, the most frequent first."""
        counts = np.array(self.confusion)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)]
        pairs = zip(*np.unravel_index(order, counts.shape), strict=True)
        return [Confusion(self.classes[i], self.classes[j], int(counts[i, j])) for i, j in pairs]


def evaluate_rows(rows: PhotoRows) -> Evaluation:
    """Return the figures of rows, at least one; `rejection` is None and `unread` is 0."""
    confusion = confusion_counts(rows)
    correct, actual, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    right = int(correct.sum())
    low, high = accuracy_interval(right, len(rows))
    noise, noise_high = calibration_noise(rows.probabilities)
    return Evaluation(
        photos=len(rows),
        accuracy=right / len(rows),
        accuracy_low=low,
        accuracy_high=high,
        balanced_accuracy=float((correct[actual > 0] / actual[actual > 0]).mean()),
        top5_accuracy=top_accuracy(rows, 5) if len(rows.classes) >= MIN_CLASSES_FOR_TOP5 else None,
        roc_auc=roc_auc(rows),
        loss=float(rows.losses.mean()),
        calibration_error=calibration_error(rows.probabilities, rows.labels),
        calibration_noise=noise,
        calibration_noise_high=noise_high,
        coverage=coverage_curve(rows),
        classes=rows.classes,
        per_class={
            name: ClassFigures(
                int(actual[i]),
                _fraction(correct[i], predicted[i]),
                _fraction(correct[i], actual[i]),
                _fraction(2 * correct[i], actual[i] + predicted[i]),
            )
            for i, name in enumerate(rows.classes)
        },
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
        rows=rows,
    )


def _fraction(part: int, total: int) -> float | None:
    return float(part / total) if total else None


def confusion_counts(rows: PhotoRows) -> NDArray[np.int64]:
    """Return the number of photos by true class (row) and predicted class (column)."""
    classes = len(rows.classes)
    pairs = rows.labels * classes + rows.predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def top_accuracy(rows: PhotoRows, count: int) -> float:
    """Return the fraction of photos whose label is among the `count` most probable classes."""
    of_label = np.take_along_axis(rows.probabilities, rows.labels[:, None], axis=1)  # (N, 1)
    return float(((rows.probabilities > of_label).sum(axis=1) < count).mean())


def roc_auc(rows: PhotoRows) -> float | None:
    """Return the area under the ROC curve for the second of two classes, as Mann and Whitney's U.

    Hanley and McNeil 1982, "The meaning and use of the area under a receiver operating characteristic (ROC)
    curve". It is None if there are not two classes, or one of them has no photos.
    """
    if len(rows.classes) != 2:
        return None
    from scipy.stats import rankdata

    positive = rows.labels == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    ranks = rankdata(rows.probabilities[:, 1])
    above = ranks[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
