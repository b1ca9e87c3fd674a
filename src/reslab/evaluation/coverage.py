"""Coverage against accuracy: how many photos a network still decides if it may answer "not sure"."""

from __future__ import annotations

from dataclasses import dataclass

from .intervals import accuracy_interval
from .rows import PhotoRows

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Coverage:
    """Accuracy over the photos whose best class is probable enough (selective classification).

    El-Yaniv and Wiener 2010, "On the foundations of noise-free selective classification", section 2.

    Attributes:
        reject_below: photos with a lower probability of their best class are rejected as "not sure".
        photos: number of photos that are left.
        coverage: fraction of all photos that are left, 0 to 1.
        accuracy: fraction of the photos left with the correct label, 0 to 1; None without any.
        accuracy_low: lower end of its 95 % interval (Wilson 1927); None without photos.
        accuracy_high: upper end of the interval; None without photos.
    """

    reject_below: float
    photos: int
    coverage: float
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None


def coverage_at(rows: PhotoRows, reject_below: float) -> Coverage:
    """Return coverage and accuracy of rows if photos with a probability under `reject_below` are rejected.

    Args:
        rows: rows of at least one photo.
        reject_below: lowest probability of the best class that still counts as an answer, 0 to 1.
    """
    correct = rows.correct[rows.confidence >= reject_below]
    photos = len(correct)
    if not photos:
        return Coverage(reject_below, 0, 0.0, None, None, None)
    right = int(correct.sum())
    return Coverage(
        reject_below, photos, photos / len(rows), right / photos, *accuracy_interval(right, photos)
    )


def coverage_curve(rows: PhotoRows) -> tuple[Coverage, ...]:
    """Return coverage and accuracy for the threshold 0, and for those that reject some photos but not all."""
    lowest, highest = rows.confidence.min(), rows.confidence.max()
    between = [threshold for threshold in THRESHOLDS if lowest < threshold <= highest]
    return tuple(coverage_at(rows, threshold) for threshold in (0.0, *between))
