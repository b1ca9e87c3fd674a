"""Convert values of 16-bit, 32-bit and floating-point images to 8-bit levels by a range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ValueRange = tuple[float, float]  # the values that become black and white
WHITE_LEVELS = (255, 65_535)  # possible values of white in 32-bit images; floats may also use 1
OUTLIER_FRACTION = 1e-3  # of the values, at each end, that a range leaves outside
MAX_SAMPLED_VALUES = 2**16  # of one photo
GOLDEN_RATIO = 0.6180339887498949  # its multiples, modulo 1, spread evenly and hit no row or column twice
BLOCK_VALUES = 2**20  # converted at once, which bounds the memory


def is_deep(dtype: np.dtype[Any]) -> bool:
    """Return whether values of this type need a range: all numbers but bytes and booleans."""
    return dtype.newbyteorder("=") not in (np.dtype(np.uint8), np.dtype(np.bool_))


def to_levels(values: NDArray[Any], value_range: ValueRange | None = None) -> NDArray[np.uint8]:
    """Convert values to 8-bit levels, 0 for the low end of the range and 255 for the high end.

    Bytes stay as they are, and False and True become 0 and 255. Values outside the range are clipped, and NaN
    becomes 0. Without a range, unsigned 16-bit values keep their upper 8 bits, and others use `own_range`.

    Args:
        values: (H, W) or (H, W, channels), of any number type.
        value_range: range of the data set; None if it is unknown.

    Returns:
        uint8 of the same shape.
    """
    if not is_deep(values.dtype):
        return values if values.dtype == np.uint8 else values.astype(np.uint8) * np.uint8(255)
    if value_range is None and values.dtype.newbyteorder("=") == np.uint16:
        return (values >> 8).astype(np.uint8)
    low, high = value_range or own_range(values)
    levels = np.empty(values.shape, np.uint8)
    rows = max(1, BLOCK_VALUES // values[0].size)
    for top in range(0, len(values), rows):
        block = values[top : top + rows].astype(np.float64)
        np.nan_to_num(block, copy=False, nan=low, posinf=high, neginf=low)
        block -= low
        block *= 255 / (high - low)
        levels[top : top + rows] = np.rint(block.clip(0, 255, out=block), out=block)
    return levels


def own_range(values: NDArray[Any]) -> ValueRange:
    """Return a range for an image of which no other is known; it depends on no other file.

    Without negative values it starts at 0 and ends at the usual value of white, the smallest of 255 and
    65,535 (for floats of 1, 255 and 65,535) that the values stay within. Otherwise it is `robust_range`. A
    thousandth of the values may lie outside.
    """
    sampled = sample_values(values)
    inner = _without_outliers(sampled)
    high = float(inner.max(initial=0))
    if inner.min(initial=0) < 0:
        return robust_range(sampled)
    levels = (1, *WHITE_LEVELS) if values.dtype.kind == "f" else WHITE_LEVELS
    return 0.0, float(next((level for level in levels if high <= level), high))


def sample_values(values: NDArray[Any], count: int = MAX_SAMPLED_VALUES) -> NDArray[np.float64]:
    """Return at most `count` values, evenly spread over the image, without NaN and infinite ones: (n,)."""
    flat = values.reshape(-1)
    if len(flat) > count:
        flat = flat[(np.arange(count) * GOLDEN_RATIO % 1 * len(flat)).astype(np.int64)]
    chosen: NDArray[np.float64] = flat.astype(np.float64)
    return chosen[np.isfinite(chosen)]


def robust_range(values: NDArray[np.float64]) -> ValueRange:
    """Return the range of values (n,) without the lowest and the highest thousandth, at least one each.

    If nothing else differs, as in a mask with few pixels set, it is the smallest and the largest value.
    """
    if not len(values):
        return 0.0, 1.0
    inner = _without_outliers(values)
    if inner.min() == inner.max():
        inner = values
    low, high = float(inner.min()), float(inner.max())
    return low, high if high > low else low + max(1.0, abs(low))


def _without_outliers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return values (n,) without the lowest and the highest OUTLIER_FRACTION, at least one each of three."""
    count = math.ceil(OUTLIER_FRACTION * len(values))
    if len(values) < 2 * count + 1:
        return values
    return np.partition(values, (count, len(values) - 1 - count))[count : len(values) - count]


def format_range(values: ValueRange) -> str:
    """Return "0 to 4,080"."""
    return " to ".join(f"{v:,.0f}" if v == round(v) and abs(v) < 1e15 else f"{v:.4g}" for v in values)
