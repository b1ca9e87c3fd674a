"""Read images from NumPy's .npy files, with limits that are checked before the data are read."""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from PIL import Image

from .levels import ValueRange, to_levels
from .limits import MAX_DECODING_BYTES, MAX_PIXELS, LimitExceeded

MAGIC = b"\x93NUMPY"
CONVERSION_BYTES = 8  # per pixel: 8-bit levels, and Pillow's image of 4 bytes a pixel


def read_npy(file: BinaryIO) -> NDArray[Any]:
    """Read an image from an open .npy file; no Python object in it is ever unpickled.

    Returns:
        (H, W) or (H, W, 3).

    Raises:
        LimitExceeded: it has too many pixels or needs too much memory.
        OSError: it is truncated, or not an image: of another shape, or not of numbers.
    """
    shape, dtype = _header(file)
    channels_last = _channels_last(shape, dtype)
    pixels = math.prod(channels_last[:2])
    if pixels > MAX_PIXELS:
        raise LimitExceeded(f"it has {pixels:,} pixels; the limit is {MAX_PIXELS:,}")
    expected = math.prod(shape) * dtype.itemsize
    if (needed := 2 * expected + CONVERSION_BYTES * pixels) > MAX_DECODING_BYTES:
        raise LimitExceeded(
            f"an array {shape} of {dtype} takes {needed / 2**20:,.0f} MiB; "
            f"the limit is {MAX_DECODING_BYTES / 2**20:,.0f} MiB"
        )
    start = file.tell()
    there = file.seek(0, os.SEEK_END) - start
    if there < expected:
        raise OSError(f"image file is truncated ({there:,} of {expected:,} bytes of data)")
    file.seek(0)
    return as_channels_last(np.load(file, allow_pickle=False))


def header_dtype(file: BinaryIO) -> np.dtype[Any]:
    """Return the type of the values of an open .npy file, by its header. Raises OSError or ValueError."""
    return _header(file)[1]


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type; the file is at its data afterwards. Raises OSError or ValueError."""
    file.seek(0)
    version = npy_format.read_magic(file)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise OSError(f"it is a .npy file of version {version[0]}.{version[1]}; 1.0 and 2.0 are read")
    shape, _, dtype = readers[version](file)
    return shape, dtype


def as_channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return an image array as (H, W) or (H, W, 3), a view. Raises OSError for an array of another kind."""
    shape = _channels_last(array.shape, array.dtype)
    if array.ndim == 2:
        return array
    if array.shape != shape:
        array = array.transpose(1, 2, 0)
    return array[..., 0] if array.shape[2] == 1 else array


def _channels_last(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the shape of an image as (H, W) or (H, W, channels); raise OSError if it is not an image.

    Channels come last. They may come first if the last side is not 1 or 3, and then at least 8.
    """
    if dtype.kind not in "buif" or dtype.itemsize > 8:
        raise OSError(f"it holds values of type {dtype}; an image has integers or floats")
    if not shape or min(shape) < 1:
        raise OSError(f"its shape {shape} is empty")
    if len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3)):
        return shape
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] >= 8:
        return (*shape[1:], shape[0])
    dimensions = f"{len(shape)} dimension" + "s" * (len(shape) > 1)
    channels = f"has {shape[2]} channels" if len(shape) == 3 else f"has {dimensions}"
    do = "array[..., :3]" if len(shape) == 3 else "array[0]"
    raise OSError(
        f"its shape {shape} {channels}; an image is (H, W), (H, W, 1) or (H, W, 3): "
        f"save a part of it, such as {do}"
    )


def to_image(array: NDArray[Any], value_range: ValueRange | None) -> Image.Image:
    """Return an array (H, W) or (H, W, 3) as an RGB image, by `to_levels`."""
    image = Image.fromarray(np.ascontiguousarray(to_levels(array, value_range)))
    return image if image.mode == "RGB" else image.convert("RGB")
