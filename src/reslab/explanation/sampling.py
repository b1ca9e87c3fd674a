"""Spread a sample evenly over a list."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_evenly(total: int, count: int) -> NDArray[np.int64]:
    """Return `count` indices of a list of `total` items, or all if it has fewer.

    Args:
        total: number of items.
        count: number of indices. They are ascending and different, from the first item to the last.
    """
    return np.linspace(0, max(0, total - 1), min(count, total)).round().astype(np.int64)
