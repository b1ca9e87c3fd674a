"""Two classifiers on the same photos: McNemar's exact test, and the photos that they answer differently."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.errors import UsageError

from .intervals import accuracy_interval
from .rows import PhotoRows


@dataclass(frozen=True)
class McNemar:
    """Comparison of two classifiers by the photos that only one of them gets right.

    McNemar 1947, "Note on the sampling error of the difference between correlated proportions".

    Attributes:
        photos: number of photos that both classified.
        both_correct: number of photos that both get right.
        only_first: number of photos that only the first gets right.
        only_second: number of photos that only the second gets right.
        both_wrong: number of photos that both get wrong.
        difference: accuracy of the first minus accuracy of the second.
        difference_low: lower end of its 95 % interval (Newcombe 1998, "Improved confidence intervals for the
            difference between binomial proportions based on paired data", method 10).
        difference_high: upper end of the interval.
        p_value: two-sided p of the exact test that both are equally accurate.
        differing: (D,), indices of the photos for which they predict different classes.
        first: rows of the first classifier.
        second: rows of the second for the same photos, in the same order, with the classes of the first.
    """

    photos: int
    both_correct: int
    only_first: int
    only_second: int
    both_wrong: int
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    differing: NDArray[np.int64] = field(repr=False, compare=False)
    first: PhotoRows = field(repr=False, compare=False)
    second: PhotoRows = field(repr=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the counts and figures, and "differing": {"path", "label", "predicted", "other"} objects.

        "predicted" is the class of the first classifier, "other" that of the second.
        """
        arrays = ("differing", "first", "second")
        names = self.first.classes
        return {name: value for name, value in vars(self).items() if name not in arrays} | {
            "differing": [
                {
                    "path": self.first.paths[i],
                    "label": names[self.first.labels[i]],
                    "predicted": names[self.first.predicted[i]],
                    "other": self.second.classes[self.second.predicted[i]],
                }
                for i in self.differing.tolist()
            ]
        }


def compare_rows(first: PhotoRows, second: PhotoRows) -> McNemar:
    """Test whether two classifiers are equally accurate on the same photos.

    Args:
        first: rows of one classifier.
        second: rows of the other, of the same photos in the same order. Classes are matched by name.

    Raises:
        UsageError: the rows are of different photos.
    """
    from scipy.stats import binomtest

    if first.paths != second.paths:
        raise UsageError(
            "the two classifiers were evaluated on different photos",
            f"{len(first):,} photos and {len(second):,} photos, or the same in another order",
            "evaluate both on the same folder",
        )
    right, other_right = first.correct, second.correct
    both, neither = int((right & other_right).sum()), int((~right & ~other_right).sum())
    only_first, only_second = int((right & ~other_right).sum()), int((~right & other_right).sum())
    low, high = _paired_interval(both, only_first, only_second, neither)
    once = only_first + only_second
    answers = [np.array(rows.classes, object)[rows.predicted] for rows in (first, second)]
    return McNemar(
        photos=len(first),
        both_correct=both,
        only_first=only_first,
        only_second=only_second,
        both_wrong=neither,
        difference=(only_first - only_second) / len(first),
        difference_low=low,
        difference_high=high,
        p_value=float(binomtest(only_first, once).pvalue) if once else 1.0,
        differing=np.flatnonzero(answers[0] != answers[1]),
        first=first,
        second=second,
    )


def _paired_interval(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """Return the ends of Newcombe's 95 % interval (1998, method 10) of the difference of two accuracies."""
    photos = both + only_first + only_second + neither
    first, second = (both + only_first) / photos, (both + only_second) / photos
    low, high = accuracy_interval(both + only_first, photos)
    other_low, other_high = accuracy_interval(both + only_second, photos)
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - photos / 2, 0.0)  # the correction for continuity of the paper
    margins = photos**4 * first * (1 - first) * second * (1 - second)
    correlation = product / sqrt(margins) if margins > 0 else 0.0

    def distance(one: float, two: float) -> float:
        return sqrt(max(0.0, one**2 - 2 * correlation * one * two + two**2))

    difference = first - second
    return (
        difference - distance(first - low, other_high - second),
        difference + distance(high - first, second - other_low),
    )
