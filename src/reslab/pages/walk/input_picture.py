"""A photo as the network's input and as a picture for the page."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from PIL import Image
from torch import Tensor

from reslab.photos.decoding.decode import decode
from reslab.photos.loading.preprocess import Preprocess

MAX_PHOTO_SIDE = 360  # pixels of the whole photo on the page
MAX_PNG_SIDE = 64  # smaller images are shown enlarged, so they are stored without loss


@dataclass(frozen=True)
class InputPhoto:
    """A photo and the part of it that the network gets.

    Args:
        name: file name of the photo; "photo" if it was given as bytes.
        size: (height, width) of the network's input.
        image: the network's input as PNG or JPEG.
        whole: the whole photo as PNG or JPEG.
        whole_size: (height, width) of `whole`.
        crop: (left, top, width, height) of the input within the photo, in thousandths of the photo's sides;
            beyond the photo where it was padded.
        gray: the network takes one channel.
    """

    name: str
    size: tuple[int, int]
    image: bytes = field(repr=False)
    whole: bytes = field(repr=False)
    whole_size: tuple[int, int]
    crop: tuple[float, float, float, float]
    gray: bool

    @property
    def cropped(self) -> bool:
        """True if the network gets less than 99.9 % of the photo's width or height."""
        return min(self.crop[2:]) < 999


def read_photo(photo: Path | bytes, preprocess: Preprocess) -> tuple[InputPhoto, Tensor]:
    """Read a photo. Return it as the images that the page shows, and as the network's input.

    Args:
        photo: path or content of the file.

    Returns:
        The photo for the page, and the normalized tensor (1, C, H, W) on the CPU.

    Raises:
        PhotosError: the photo cannot be read.
    """
    pixels = preprocess.evaluation(preprocess.read(photo))  # (C, H, W)
    mode: Literal["RGB", "L"] = "RGB" if preprocess.channels == 3 else "L"
    whole = decode(photo, mode, preprocess.truncated, MAX_PHOTO_SIDE, value_range=preprocess.value_range)
    width, height = whole.size
    left, top, across, down = preprocess.visible_box(width, height)
    whole.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE))
    value = InputPhoto(
        name="photo" if isinstance(photo, bytes) else os.fsencode(photo.name).decode("utf-8", "replace"),
        size=(pixels.shape[1], pixels.shape[2]),
        image=_encode(Image.fromarray(pixels.permute(1, 2, 0).squeeze(2).contiguous().numpy())),
        whole=_encode(whole),
        whole_size=(whole.height, whole.width),
        crop=(1000 * left / width, 1000 * top / height, 1000 * across / width, 1000 * down / height),
        gray=preprocess.channels == 1,
    )
    return value, preprocess.normalize(pixels[None])


def _encode(image: Image.Image) -> bytes:
    """Return a PNG if the longer side is at most MAX_PNG_SIDE pixels, else a JPEG."""
    buffer = io.BytesIO()
    if max(image.size) <= MAX_PNG_SIDE:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()
