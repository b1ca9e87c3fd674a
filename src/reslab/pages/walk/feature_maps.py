"""The most active feature maps of a layer, as small pictures on one scale."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")
COLOURS = 128  # steps of viridis: finer ones are not seen, and cost bytes


@dataclass(frozen=True)
class FeatureMap:
    """One channel: its mean absolute value, where that is largest in words, and itself as a PNG."""

    channel: int
    mean: float
    where: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class FeatureMaps:
    """The most active channels first. `low` is the darkest colour's value, `high` the brightest's.

    `silent` counts the channels that are zero everywhere, `broken` says that some values are no numbers.
    """

    maps: tuple[FeatureMap, ...]
    channels: int
    low: float
    high: float
    silent: int
    broken: bool


def most_active(values: NDArray[Any], count: int) -> FeatureMaps:
    """The `count` channels of `values` (C, H, W) with the largest mean absolute value."""
    finite = np.isfinite(values)
    values = np.where(finite, values, 0).astype(np.float32)
    means = np.abs(values).mean(axis=(1, 2))
    order = np.argsort(-means, kind="stable")[:count]
    shown = values[order]
    # one bright pixel would darken all the others, so half a percent of them may exceed the scale
    high = float(np.quantile(shown, 0.995)) if shown.size > 1000 else float(shown.max())
    low = min(0.0, float(np.quantile(shown, 0.005)))
    if high <= low:
        high = float(shown.max()) if shown.max() > low else low + 1
    scaled = ((shown - low) / (high - low)).clip(0, 1) * (COLOURS - 1)
    maps = [
        FeatureMap(
            int(channel),
            float(means[channel]),
            _where(values[channel]),
            _png(picture.round().astype(np.uint8)),
        )
        for channel, picture in zip(order, scaled, strict=True)
    ]
    silent = int((np.abs(values).max(axis=(1, 2)) == 0).sum())
    return FeatureMaps(tuple(maps), len(values), low, high, silent, not bool(finite.all()))


def _where(values: NDArray[Any]) -> str:
    """In which of nine parts of the map the mean absolute value is largest."""
    if min(values.shape) < 3 or not values.any():
        return ""
    means = {
        (row, column): float(np.abs(part).mean())
        for row, band in zip(ROWS, np.array_split(values, 3, axis=0), strict=True)
        for column, part in zip(COLUMNS, np.array_split(band, 3, axis=1), strict=True)
    }
    row, column = max(means, key=means.__getitem__)
    return row if row == column else f"{row} {column}"


def _png(steps: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    image = Image.fromarray(steps, "L").convert("P")
    image.frombytes(steps.tobytes())
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@cache
def _palette() -> bytes:
    """Viridis, which is read the same in grey and by people who see fewer colours."""
    from matplotlib import colormaps

    colours = colormaps["viridis"](np.linspace(0, 1, COLOURS))[:, :3]
    return (colours * 255).round().astype(np.uint8).tobytes()
