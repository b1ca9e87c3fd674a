"""Nearest photos by the cosine of their features, with every pair compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_BLOCK_VALUES = 2**22  # similarities in memory at once, as float64 32 MiB
ROUNDED_DECIMALS = 9  # equal photos differ by less, from the order of summation


def nearest(
    features: NDArray[np.floating], reference: NDArray[np.floating], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k rows of `reference` with the largest cosine similarity to each row of `features`.

    Every pair is compared, so the result is exact. Equal similarities are in the order of their indices.

    Args:
        features: (N, D), one row per photo.
        reference: (M, D), one row per photo, for example those of the training photos.
        k: number of neighbors, at least 1. If `reference` has fewer rows without NaN, it is their number.

    Returns:
        (indices into `reference` (N, k), similarities from -1 to 1 (N, k)), the nearest first. A row of
        `features` with NaN, for a photo that cannot be read, has the indices -1 and the similarities NaN.
    """
    usable = np.flatnonzero(np.isfinite(reference).all(axis=1))
    wanted = np.flatnonzero(np.isfinite(features).all(axis=1))
    k = min(k, len(usable))
    indices = np.full((len(features), k), -1, np.int64)
    similarities = np.full((len(features), k), np.nan)
    if not k or not len(wanted):
        return indices, similarities
    others = _unit_rows(reference[usable])  # (M, D)
    rows = max(1, MAX_BLOCK_VALUES // len(usable))
    for start in range(0, len(wanted), rows):
        block = wanted[start : start + rows]
        cosines = np.round(_unit_rows(features[block]) @ others.T, ROUNDED_DECIMALS)  # (rows, M)
        smallest = np.partition(cosines, -k, axis=1)[:, -k]
        for row, index in enumerate(block):
            candidates = np.flatnonzero(cosines[row] >= smallest[row])  # more than k if some are equal
            best = candidates[np.argsort(-cosines[row, candidates], kind="stable")[:k]]
            indices[index], similarities[index] = usable[best], cosines[row, best]
    return indices, similarities.clip(-1, 1)


def count_of_own_class(
    indices: NDArray[np.int64], reference_labels: NDArray[np.integer], labels: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Count the neighbors that have the photo's own class: (N,), from 0 to k.

    Args:
        indices: (N, k) from `nearest`; -1 counts for no class.
        reference_labels: (M,) labels of the reference photos.
        labels: (N,) labels of the photos: the true ones, or the predicted ones.
    """
    same = (reference_labels[indices] == labels[:, None]) & (indices >= 0)
    return same.sum(axis=1, dtype=np.int64)


def _unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the rows in float64 with length 1; a row of zeros stays, and is similar to nothing."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)
