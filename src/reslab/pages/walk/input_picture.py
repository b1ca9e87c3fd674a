"""A photo as the network sees it and as people see it, ready for a page."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from reslab.photos.decoding.decode import decode
from reslab.photos.loading.preprocess import Preprocess

if TYPE_CHECKING:
    from PIL import Image

WIDEST = 360  # pixels of the whole photo on the page
LOSSLESS = 64  # up to this side a picture is kept to the bit: it is shown enlarged


@dataclass(frozen=True)
class PhotoSeen:
    """`image` is what the network sees, (height, width) = `size`; `whole` the photo around it.

    `crop` is where the one lies in the other, as (left, top, width, height) in thousandths of its sides.
    """

    name: str
    size: tuple[int, int]
    image: bytes = field(repr=False)
    whole: bytes = field(repr=False)
    whole_size: tuple[int, int]
    crop: tuple[float, float, float, float]
    grey: bool

    @property
    def cut(self) -> bool:
        """Whether the network sees less than the whole photo."""
        return min(self.crop[2:]) < 999


def look(photo: Path | bytes, preprocess: Preprocess) -> tuple[PhotoSeen, Tensor]:
    """The photo for people, and (1, C, H, W) for the network. Raises PhotosError."""
    read = preprocess.read(photo)  # (C, H', W')
    seen = preprocess.evaluation(read)  # (C, H, W)
    name = "photo" if isinstance(photo, bytes) else os.fsencode(photo.name).decode("utf-8", "replace")
    whole = decode(photo, "RGB" if preprocess.channels == 3 else "L", preprocess.truncated, WIDEST)
    side = min(whole.size) * preprocess.size / preprocess.resize  # of the centre crop, in its pixels
    crop = _crop(side, *whole.size)
    whole.thumbnail((WIDEST, WIDEST))
    size = (seen.shape[1], seen.shape[2])
    value = PhotoSeen(
        name, size, _bytes(_image(seen)), _bytes(whole), whole.size[::-1], crop, preprocess.channels == 1
    )
    return value, preprocess.normalize(seen[None])


def _crop(side: float, width: int, height: int) -> tuple[float, float, float, float]:
    """The square in the middle of a photo, in thousandths of its width and height."""
    across, down = 1000 * side / width, 1000 * side / height
    return (1000 - across) / 2, (1000 - down) / 2, across, down


def _image(pixels: Tensor) -> Image.Image:
    """uint8 (C, H, W) -> RGB or grey"""
    from PIL import Image

    array = pixels.permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def _bytes(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    if max(image.size) <= LOSSLESS:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
