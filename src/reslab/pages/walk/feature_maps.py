"""Most active feature maps of a layer, as small images on one color scale."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")
COLOR_STEPS = 128  # steps of viridis; more are invisible and make larger files


@dataclass(frozen=True)
class FeatureMap:
    """One channel as a PNG, with its mean absolute value and the ninth of the map where that is largest.

    Attributes:
        channel: its index, from 0.
        mean: mean absolute value.
        where: "top left", "middle" and so on; "" if it is zero everywhere or a side is under 3.
        png: the map at its own size, a pixel for each value.
    """

    channel: int
    mean: float
    where: str
    png: bytes = field(repr=False)


@dataclass(frozen=True)
class FeatureMaps:
    """Feature maps of one layer, the most active channel first.

    Args:
        maps: the shown channels.
        channels: number of channels of the layer.
        low: value of the darkest color, 0 or less.
        high: value of the brightest color; a few values may exceed it.
        silent: number of channels that are zero everywhere.
        broken: some values are not finite. They count as 0.
    """

    maps: tuple[FeatureMap, ...]
    channels: int
    low: float
    high: float
    silent: int
    broken: bool


def most_active(values: NDArray[Any], count: int) -> FeatureMaps:
    """Return the `count` channels of `values` (C, H, W) with the largest mean absolute value, at most C."""
    finite = np.isfinite(values)
    values = np.where(finite, values, 0).astype(np.float32)
    means = np.abs(values).mean(axis=(1, 2))  # (C,)
    order = np.argsort(-means, kind="stable")[:count]
    shown = values[order]
    # one bright pixel would darken all the others, so 0.5 % of them may exceed the scale
    high = float(np.quantile(shown, 0.995)) if shown.size > 1000 else float(shown.max())
    low = min(0.0, float(np.quantile(shown, 0.005)))
    if high <= low:
        high = float(shown.max()) if shown.max() > low else low + 1
    steps = (((shown - low) / (high - low)).clip(0, 1) * (COLOR_STEPS - 1)).round().astype(np.uint8)
    maps = tuple(
        FeatureMap(int(channel), float(means[channel]), _where(values[channel]), _png(image))
        for channel, image in zip(order, steps, strict=True)
    )
    silent = int((np.abs(values).max(axis=(1, 2)) == 0).sum())
    return FeatureMaps(maps, len(values), low, high, silent, not bool(finite.all()))


def _where(values: NDArray[Any]) -> str:
    """Name the ninth of the map (H, W) with the largest mean absolute value: "top left", "middle".

    Return "" if the map is zero everywhere or a side is under 3.
    """
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
    """Encode a map (H, W) of color numbers, 0 to COLOR_STEPS - 1, as a PNG."""
    from PIL import Image

    image = Image.frombytes("P", steps.shape[::-1], steps.tobytes())
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@cache
def _palette() -> bytes:
    """Return the COLOR_STEPS colors of viridis, 3 bytes each: readable with color vision deficiency."""
    from matplotlib import colormaps

    colors = colormaps["viridis"](np.linspace(0, 1, COLOR_STEPS))[:, :3]
    return (colors * 255).round().astype(np.uint8).tobytes()
