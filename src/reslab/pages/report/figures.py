"""Figures of a report that follow from the rows alone: reliability, and the photos to show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reslab.evaluation.intervals import accuracy_interval
from reslab.evaluation.rows import PhotoRows

from .verdict import Example, ReliabilityBin

BINS = 10  # of the reliability diagram
GROUPS = {"surest_mistakes": 12, "least_sure": 6, "best": 6}  # photos that the page shows


def reliability(rows: PhotoRows) -> tuple[ReliabilityBin, ...]:
    """Return the bins of a reliability diagram that have photos (Guo et al. 2017, figure 1)."""
    bin_of = np.minimum((rows.confidence * BINS).astype(int), BINS - 1)
    bins = []
    for index in np.unique(bin_of).tolist():
        inside = bin_of == index
        correct, photos = int(rows.correct[inside].sum()), int(inside.sum())
        low, high = accuracy_interval(correct, photos)
        confidence = float(rows.confidence[inside].mean())
        limits = index / BINS, (index + 1) / BINS
        bins.append(ReliabilityBin(*limits, photos, confidence, correct / photos, low, high))
    return tuple(bins)


def choose_examples(rows: PhotoRows, available: NDArray[np.bool_]) -> dict[str, tuple[Example, ...]]:
    """Return the photos that the page shows, by group. No photo is in two groups.

    Args:
        available: (N,), photos that can be shown; a mistake without a picture is still shown by name.
    """
    surest = np.argsort(-rows.confidence, kind="stable")
    mistakes = surest[~rows.correct[surest]]
    groups: dict[str, list[int]] = {"surest_mistakes": mistakes[: GROUPS["surest_mistakes"]].tolist()}
    taken = set(groups["surest_mistakes"])
    unsure = (int(row) for row in surest[::-1] if available[row] and int(row) not in taken)
    groups["least_sure"] = [row for row, _ in zip(unsure, range(GROUPS["least_sure"]), strict=False)]
    taken |= set(groups["least_sure"])
    best = (row for row in _in_turn(rows, surest) if available[row] and row not in taken)
    groups["best"] = [row for row, _ in zip(best, range(GROUPS["best"]), strict=False)]
    return {name: tuple(example(rows, row) for row in chosen) for name, chosen in groups.items()}


def _in_turn(rows: PhotoRows, surest: NDArray[np.int64]) -> Iterator[int]:
    """Yield the correct photos, the surest of each class in turn.

    Args:
        surest: (N,), indices of the rows by falling confidence.
    """
    by_class = [surest[rows.correct[surest] & (rows.labels[surest] == c)] for c in range(len(rows.classes))]
    for rank in range(max(map(len, by_class))):
        yield from (int(photos[rank]) for photos in by_class if rank < len(photos))


def example(rows: PhotoRows, row: int) -> Example:
    """Return a photo as an example, without neighbors."""
    first, second = np.argsort(-rows.probabilities[row], kind="stable")[:2].tolist()
    return Example(
        row,
        rows.paths[row],
        rows.classes[rows.labels[row]],
        rows.classes[first],
        float(rows.probabilities[row, first]),
        rows.classes[second],
    )
