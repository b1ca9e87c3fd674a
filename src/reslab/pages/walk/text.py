"""Sentences and shapes of the walk page."""

from __future__ import annotations

from collections.abc import Sequence

from reslab.inspection.arithmetic import ReceptiveField, as_pair
from reslab.pages.page import sides, significant
from reslab.text import printable

from .input_picture import InputPhoto
from .prediction_map import PredictionMap
from .stations import Station, Sum

Size = tuple[int, int]  # height, width


def describe_maps(station: Station, photo: Size) -> str:
    """Return sentences on the number and size of the maps and on the receptive field of one value.

    Args:
        photo: size of the network's input.
    """
    channels, height, width = station.shape
    maps = f"{channels:,} maps of {sides((height, width))}."
    field = station.receptive_field
    if field is None:
        return f"{maps} The receptive field cannot be computed through these layers."
    corner, middle = (_visible_size(field, at, photo) for at in ((0, 0), (height // 2, width // 2)))
    if corner == middle == photo:
        return f"{maps} The receptive field of every value covers the whole photo."
    if middle == photo:
        return (
            f"{maps} The receptive field of a value in the middle covers the whole photo, that of the top "
            f"left corner {sides(corner)} pixels."
        )
    size, step = as_pair(field.size), as_pair(field.jump)[1]
    fraction = max(side / whole for side, whole in zip(size, photo, strict=True))
    enough = (
        "an edge or a spot of color"
        if fraction < 0.12
        else "a texture or a small part of an object"
        if fraction < 0.45
        else "most of an object"
    )
    return (
        f"{maps} Each value has a receptive field of {sides(size)} pixels, enough for {enough}. Neighbors "
        f"are {step} {'pixel' if step == 1 else 'pixels'} apart."
    )


def describe_stage(stations: Sequence[Station]) -> str:
    """Return "2 blocks; output 64 × 56 × 56"; only the output for a stage without blocks."""
    blocks = sum(bool(station.kind) for station in stations)
    count = f"{blocks} {'block' if blocks == 1 else 'blocks'}; " if blocks else ""
    return f"{count}output {sides(stations[-1].shape)}"


def describe_sum(total: Sum) -> str:
    """Return a sentence on the shortcut and on what the block adds to it, relative to its norm.

    Without a ratio, because the shortcut is zero or not finite, it states only the shortcut's norm.
    """
    shortcut = (
        f"The shortcut passes through {total.shortcut_layers}"
        if total.shortcut_layers
        else "The shortcut is the identity"
    )
    if not total.shortcut_norm or total.ratio != total.ratio:
        return f"{shortcut}; its norm is {significant(total.shortcut_norm)}."
    if total.added_norm == 0:
        return f"{shortcut}; the block adds nothing to it."
    amount = (
        "a small correction"
        if total.ratio < 0.5
        else "about as much as the shortcut"
        if total.ratio < 1.5
        else "more than the shortcut"
    )
    return f"{shortcut}; the block adds {significant(total.ratio, 2)} times its norm, {amount}."


def describe_prediction_map(heat_map: PredictionMap) -> str:
    """Return sentences on what a heat map shows and what it does not show."""
    layer, name, size = printable(heat_map.layer), printable(heat_map.class_name), sides(heat_map.size)
    if heat_map.empty:
        return f"The heat map of {layer} is 0 everywhere: nothing in its maps raises the logit of {name}."
    return (
        f"In bright places the {size} maps of {layer} raise the logit of {name}. The heat map does not show "
        "which features do so, nor whether the network needs these places: reslab explain measures that."
    )


def field_size(station: Station) -> str:
    """Return the size of the receptive field, "43 × 43", not clipped to the photo; "unknown" without one."""
    field = station.receptive_field
    return "unknown" if field is None else sides(as_pair(field.size))


def alt(photo: InputPhoto) -> str:
    """Return the text alternative of the network's input, with its width × height."""
    return f"{photo.name}, the {sides(photo.size[::-1])} pixels that the network gets"


def shade(station: Station, photo: Size) -> str:
    """Return the SVG path of the photo without the receptive field of the middle position, to be darkened.

    Args:
        photo: size of the network's input.
    """
    x, y, width, height = box(station, photo)
    return f"M0 0H{photo[1]}V{photo[0]}H0Z M{x} {y}v{height}h{width}v{-height}Z"


def box(station: Station, photo: Size) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) in pixels of the middle position's receptive field, clipped to the photo.

    The station must have a receptive field.
    """
    assert station.receptive_field is not None  # the page draws no box without one
    middle = (station.shape[1] // 2, station.shape[2] // 2)
    (top, bottom), (left, right) = _visible(station.receptive_field, middle, photo)
    return left, top, right - left, bottom - top


def _visible_size(field: ReceptiveField, position: Size, photo: Size) -> Size:
    """Return (height, width) of the receptive field of map position (row, column), clipped to the photo."""
    (top, bottom), (left, right) = _visible(field, position, photo)
    return bottom - top, right - left


def _visible(field: ReceptiveField, position: Size, photo: Size) -> list[tuple[int, int]]:
    """Return (first, last + 1) of the rows and of the columns of a receptive field, clipped to the photo.

    Args:
        position: (row, column) in the maps.
    """
    return [
        (min(max(0, start + i * jump), end), max(0, min(end, start + i * jump + size)))
        for (size, jump, start), i, end in zip(field.axes, position, photo, strict=True)
    ]


def pair(value: int | tuple[int, int]) -> str:
    """Return height and width as the page's script reads them: "4 4", for an int twice that number."""
    return " ".join(map(str, as_pair(value)))


def largest_ratio(stations: Sequence[Station]) -> float:
    """Return the largest finite `Sum.ratio`, the full length of a bar; 1 if none is above 0."""
    ratios = [station.sum.ratio for station in stations if station.sum]
    return max((ratio for ratio in ratios if 0 < ratio < float("inf")), default=1.0)
