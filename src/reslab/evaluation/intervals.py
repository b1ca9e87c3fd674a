"""Wilson's interval of an accuracy, and a line of text where few photos make it wide."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import sqrt
from typing import Any

WIDE_INTERVAL = 0.2  # a wider interval of an accuracy gets a line about the number of photos
MAX_FEW_PHOTOS = 100  # more photos never give a wide interval


def accuracy_interval(correct: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the ends (low, high) of Wilson's score interval of correct / total, between 0 and 1.

    Wilson 1927, "Probable inference, the law of succession, and statistical inference", JASA 22.

    Args:
        correct: number of correct predictions, 0 to `total`.
        total: number of predictions, at least 1.
        confidence: probability that the interval covers the true accuracy.
    """
    share, z = correct / total, _normal_quantile((1 + confidence) / 2)
    shrunk = 1 + z**2 / total
    middle = (share + z**2 / (2 * total)) / shrunk
    half = z * sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2) / shrunk
    # rounding must not cut off the share itself at its limits 0 and 1
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


@cache
def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))


def photos_to_halve(accuracy: float, photos: int) -> int:
    """Return the number of photos that would halve the width of an accuracy's interval.

    Args:
        accuracy: fraction that is correct, 0 to 1; it is assumed to stay.
        photos: number of photos that it was measured on, at least 1.
    """
    wanted = interval_width(accuracy, photos) / 2
    low, high = photos, 4 * photos + 12  # always enough: 3 z ** 2 is 11.5
    while low < high:
        middle = (low + high) // 2
        if interval_width(accuracy, middle) <= wanted:
            high = middle
        else:
            low = middle + 1
    return high


def interval_width(accuracy: float, photos: int) -> float:
    """Return the width of the 95 % interval of an accuracy, 0 to 1, over a number of photos."""
    low, high = accuracy_interval(accuracy * photos, photos)
    return high - low


def few_photos_note(accuracy: float, photos: int, name: str = "accuracy") -> str | None:
    """Return a line that says how little an accuracy over few photos means.

    Args:
        accuracy: fraction that is correct, 0 to 1.
        photos: number of photos that it was measured on, at least 1.
        name: of the figure, for the text: "accuracy" or "recall of cat", say.

    Returns:
        One sentence, or None if the 95 % interval is at most 20 points wide.
    """
    if interval_width(accuracy, photos) <= WIDE_INTERVAL:
        return None
    low, high = accuracy_interval(accuracy * photos, photos)
    return (
        f"few photos: over {photos:,} of them, the {name} is only known to lie between {100 * low:.0f} and "
        f"{100 * high:.0f} %; {photos_to_halve(accuracy, photos):,} would halve this interval"
    )


def few_test_photos_note(figures: Mapping[str, Any]) -> str | None:
    """Return the line of `few_photos_note` for the test accuracy in a model's figures; None without one.

    Args:
        figures: of a model file, which may hold anything.
    """
    accuracy, photos = figures.get("test_accuracy"), figures.get("test_photos")
    if not (isinstance(accuracy, float) and 0 <= accuracy <= 1):
        return None
    if not (isinstance(photos, int) and 0 < photos < MAX_FEW_PHOTOS):
        return None
    return few_photos_note(accuracy, photos, "test accuracy of this model")
