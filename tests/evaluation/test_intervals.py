"""Wilson's interval against scipy's, its exact coverage, and the line about few photos."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from reslab.evaluation.intervals import (
    MAX_FEW_PHOTOS,
    accuracy_interval,
    few_photos_note,
    few_test_photos_note,
    photos_to_halve,
)


@given(st.data(), st.integers(1, 20_000), st.sampled_from([0.95, 0.99, 0.8]))
def test_the_interval_equals_scipys(data: st.DataObject, total: int, confidence: float) -> None:
    correct = data.draw(st.integers(0, total))
    expected = binomtest(correct, total).proportion_ci(confidence, method="wilson")
    low, high = accuracy_interval(correct, total, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= low <= correct / total <= high <= 1


def coverage(photos: int, accuracy: np.ndarray) -> np.ndarray:
    """Return the exact probability that the interval covers a true accuracy, as a sum over all results."""
    ends = np.array([accuracy_interval(correct, photos) for correct in range(photos + 1)])
    first = np.searchsorted(ends[:, 1], accuracy)  # the fewest correct photos whose interval covers it
    last = np.searchsorted(ends[:, 0], accuracy, side="right") - 1
    return binom.cdf(last, photos, accuracy) - binom.cdf(first - 1, photos, accuracy)


@pytest.mark.parametrize("photos", [100, 200, 500])
def test_the_interval_covers_the_accuracy_from_100_photos_on(photos: int) -> None:
    assert coverage(photos, np.arange(0.05, 0.951, 0.001)).min() >= 0.92


@pytest.mark.parametrize("photos", [1000, 2000, 10_000])
def test_the_interval_covers_about_95_percent_from_1000_photos_on(photos: int) -> None:
    found = coverage(photos, np.arange(0.05, 0.951, 0.001))
    assert found.min() >= 0.94
    assert found.max() <= 0.97


@given(st.data(), st.integers(1, 2000))
def test_the_number_of_photos_that_halves_the_interval(data: st.DataObject, photos: int) -> None:
    accuracy = data.draw(st.integers(0, photos)) / photos
    needed = photos_to_halve(accuracy, photos)

    def width(total: int) -> float:
        low, high = accuracy_interval(accuracy * total, total)
        return high - low

    assert width(needed) <= width(photos) / 2 < width(needed - 1)


def test_a_wide_interval_gets_a_line_and_a_narrow_one_none() -> None:
    assert few_photos_note(0.8, 5) == (
        "few photos: over 5 of them, the accuracy is only known to lie between 38 and 96 %; "
        "27 would halve this interval"
    )
    assert "recall of cat" in str(few_photos_note(1.0, 3, "recall of cat"))
    for accuracy in (0.0, 0.5, 0.9, 1.0):
        widths = {}
        for photos in range(1, 150):
            low, high = accuracy_interval(accuracy * photos, photos)
            widths[photos] = high - low
        assert all((few_photos_note(accuracy, n) is None) == (width <= 0.2) for n, width in widths.items())


def test_the_figures_of_a_model_get_the_line_if_they_are_of_few_photos() -> None:
    assert few_photos_note(0.5, MAX_FEW_PHOTOS) is None
    note = few_test_photos_note({"test_accuracy": 0.8, "test_photos": 5})
    assert note == few_photos_note(0.8, 5, "test accuracy of this model")
    for odd in ({}, {"test_accuracy": 0.8}, {"test_accuracy": "high", "test_photos": 5}):
        assert few_test_photos_note(odd) is None
    for photos in (0, -1, 100, 10**400, "5", None):
        assert few_test_photos_note({"test_accuracy": 0.8, "test_photos": photos}) is None
