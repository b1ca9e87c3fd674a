"""The walk in sentences, and the one shape that its pictures share."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.inspection.layers import both
from reslab.pages.page import sides, significant

from .stations import Station, Sum
from .walk import Walk


def sees(station: Station, walk: Walk) -> str:
    """What one value of the maps can see of the photo."""
    channels, height, width = station.shape
    maps = f"{channels:,} maps of {sides((height, width))}."
    field = station.receptive_field
    if field is None:
        return f"{maps} What one of their values sees of the photo cannot be followed through these layers."
    size, jump = both(field.size), both(field.jump)
    corner = _visible(station, walk, 0, 0)
    middle = _visible(station, walk, height // 2, width // 2)
    if corner == middle == walk.photo.size:
        return f"{maps} Every value of them sees the whole photo."
    if middle == walk.photo.size:
        return (
            f"{maps} A value in the middle sees the whole photo, one in the corner the nearest "
            f"{sides(corner)} pixels of it."
        )
    share = max(s / photo for s, photo in zip(size, walk.photo.size, strict=True))
    room = (
        "room for an edge or a spot of colour"
        if share < 0.12
        else "room for a texture or a small part of a thing"
        if share < 0.45
        else "room for most of a thing"
    )
    return (
        f"{maps} Each value sees {sides(size)} pixels of the photo, {room}; its neighbour looks "
        f"{jump[1]} {'pixel' if jump[1] == 1 else 'pixels'} further on."
    )


def stage(stations: Sequence[Station]) -> str:
    """What a stage is made of, and what leaves it."""
    blocks = sum(bool(station.kind) for station in stations)
    made = f"{blocks} {'block' if blocks == 1 else 'blocks'}; " if blocks else ""
    return f"{made}{sides(stations[-1].shape)} come out"


def adds(total: Sum) -> str:
    """What the shortcut carries, and what the block adds to it."""
    carried = (
        f"The shortcut passes through {total.way}"
        if total.way
        else "The shortcut carries what came in, unchanged"
    )
    if not total.shortcut_norm or total.ratio != total.ratio:
        return f"{carried}; its norm is {significant(total.shortcut_norm)}."
    if total.added_norm == 0:
        return f"{carried}; the block adds nothing to it."
    much = (
        "a correction"
        if total.ratio < 0.5
        else "about as much again"
        if total.ratio < 1.5
        else "more than it carries"
    )
    return f"{carried}; the block adds {significant(total.ratio, 2)} times its norm: {much}."


def field_size(station: Station) -> str:
    """43 × 43, without the clipping."""
    field = station.receptive_field
    return "not known" if field is None else sides(both(field.size))


def alt(walk: Walk) -> str:
    """The photo for those who do not see it."""
    return f"{walk.photo.name}, the {sides(walk.photo.size[::-1])} pixels that the network sees"


def shade(station: Station, walk: Walk) -> str:
    """An SVG path that covers all of the photo but what the middle position sees."""
    height, width = walk.photo.size
    box = station.sees(station.shape[1] // 2, station.shape[2] // 2, walk.photo.size)
    left, top, right, bottom = box or (0, 0, width, height)
    return f"M0 0H{width}V{height}H0Z M{left} {top}V{bottom}H{right}V{top}Z"


def box(station: Station, walk: Walk) -> tuple[int, int, int, int]:
    """(x, y, width, height) of what the middle position sees."""
    height, width = walk.photo.size
    found = station.sees(station.shape[1] // 2, station.shape[2] // 2, walk.photo.size)
    left, top, right, bottom = found or (0, 0, width, height)
    return left, top, right - left, bottom - top


def _visible(station: Station, walk: Walk, row: int, column: int) -> tuple[int, int]:
    """(height, width) of what a position sees."""
    left, top, right, bottom = station.sees(row, column, walk.photo.size) or (0, 0, 0, 0)
    return bottom - top, right - left


def pair(value: int | tuple[int, int]) -> str:
    """Height's and width's, as the page's script reads them."""
    return " ".join(map(str, both(value)))


def largest_ratio(walk: Walk) -> float:
    """What the longest bar of the overview stands for."""
    ratios = [station.sum.ratio for station in walk.stations if station.sum]
    return max((ratio for ratio in ratios if 0 < ratio < float("inf")), default=1.0)
