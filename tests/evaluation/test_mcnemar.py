"""McNemar's exact test and its interval, for two classifiers on the same photos."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from math import comb

import numpy as np
import pytest

from reslab.errors import UsageError
from reslab.evaluation.mcnemar import compare_rows
from reslab.evaluation.rows import PhotoRows


def rows(labels: np.ndarray, predicted: np.ndarray, classes: str = "ab") -> PhotoRows:
    paths = [f"{i}.jpg" for i in range(len(labels))]
    logits = np.eye(len(classes), dtype=np.float32)[predicted]
    return PhotoRows.from_logits(logits, labels, classes, paths=paths)


def two(both: int, only_first: int, only_second: int, neither: int) -> tuple[PhotoRows, PhotoRows]:
    """Return rows of two classifiers with these numbers of correct photos."""
    right = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, only_first, only_second, neither], axis=0)
    labels = np.arange(len(right)) % 2
    first, second = (np.where(column == 1, labels, 1 - labels) for column in right.T)
    return rows(labels, first), rows(labels, second)


@pytest.mark.parametrize("counts", [(36, 12, 2, 0), (80, 3, 9, 8), (0, 5, 0, 0), (10, 0, 0, 5), (3, 1, 1, 0)])
def test_counts_and_p_value(counts: tuple[int, int, int, int]) -> None:
    found = compare_rows(*two(*counts))
    both, only_first, only_second, neither = counts
    assert (found.both_correct, found.only_first, found.only_second, found.both_wrong) == counts
    assert found.photos == sum(counts)
    assert found.difference == pytest.approx((only_first - only_second) / sum(counts))
    once = only_first + only_second
    tail = sum(comb(once, k) for k in range(min(only_first, only_second) + 1)) / 2**once
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))


def test_the_interval_equals_the_example_of_newcombes_paper() -> None:
    found = compare_rows(*two(36, 12, 2, 0))
    assert (found.difference_low, found.difference_high) == pytest.approx((0.0569, 0.3404), abs=5e-5)


@pytest.mark.parametrize("counts", [(50, 0, 0, 0), (0, 50, 0, 0), (0, 0, 50, 0), (1, 0, 0, 0), (30, 9, 2, 9)])
def test_the_interval_holds_the_difference_and_changes_sign_with_it(
    counts: tuple[int, int, int, int],
) -> None:
    found, swapped = compare_rows(*two(*counts)), compare_rows(*reversed(two(*counts)))
    assert -1 <= found.difference_low <= found.difference <= found.difference_high <= 1
    assert (swapped.difference_low, swapped.difference_high) == pytest.approx(
        (-found.difference_high, -found.difference_low)
    )


def test_classes_are_matched_by_name_and_photos_that_differ_are_named() -> None:
    labels = np.array([0, 1, 2, 0, 1])
    first = rows(labels, np.array([0, 1, 1, 1, 1]), "abc")
    second = rows(2 - labels, np.array([2, 1, 1, 2, 0]), "cba")
    found = compare_rows(first, second)
    assert (found.both_correct, found.only_first, found.only_second, found.both_wrong) == (2, 1, 1, 1)
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["differing"] == [
        {"path": "3.jpg", "label": "a", "predicted": "b", "other": "a"},
        {"path": "4.jpg", "label": "b", "predicted": "b", "other": "c"},
    ]


def test_other_photos_raise(refuses: Callable[..., AbstractContextManager[None]]) -> None:
    first, _ = two(5, 1, 1, 1)
    second, _ = two(5, 1, 1, 2)
    with refuses(UsageError, "different photos", "8 photos and 9 photos"):
        compare_rows(first, second)
