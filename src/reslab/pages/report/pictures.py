"""Pictures of a report: sprite sheets of thumbnails, photos as the network gets them, heat maps over them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from reslab.errors import PhotosError
from reslab.explanation.explain import overlay
from reslab.hardware import cores
from reslab.photos.decoding.decode import decode
from reslab.photos.loading.preprocess import Preprocess

THUMBNAIL_SIDE = 64  # pixels
SHEET_COLUMNS = 32
SHEET_PHOTOS = SHEET_COLUMNS**2  # a sheet of 2048 x 2048 pixels takes 16 MB in a browser
MAX_THUMBNAILS = 3072
VIEW_SIDE = 224  # pixels of a photo that is shown by itself
NEIGHBOR_SIDE = 96  # pixels


@dataclass(frozen=True)
class Sprites:
    """Thumbnails in sheets, SHEET_COLUMNS in a row.

    Attributes:
        sheets: WebP files.
        places: {row: number of its thumbnail}, counted through all sheets; photos without one are missing.
    """

    sheets: tuple[bytes, ...]
    places: dict[int, int]


def sprites(files: Sequence[Path], rows: Sequence[int], preprocess: Preprocess) -> Sprites:
    """Draw thumbnails of photos into sprite sheets. A photo that cannot be read has none.

    Args:
        files: paths of all photos.
        rows: indices of the photos to draw; those after the first MAX_THUMBNAILS get none.
        preprocess: how the photos are decoded.
    """

    def draw(row: int) -> Image.Image | None:
        return _square(files[row], THUMBNAIL_SIDE, preprocess)

    sheets, places, drawn = list[bytes](), dict[int, int](), list[Image.Image]()
    with ThreadPoolExecutor(cores()) as pool:
        for row, image in zip(rows[:MAX_THUMBNAILS], pool.map(draw, rows[:MAX_THUMBNAILS]), strict=True):
            if image is None:
                continue
            places[row] = len(places)
            drawn.append(image)
            if len(drawn) == SHEET_PHOTOS:
                sheets.append(_sheet(drawn))
                drawn = []
    if drawn:
        sheets.append(_sheet(drawn))
    return Sprites(tuple(sheets), places)


def _square(path: Path, side: int, preprocess: Preprocess) -> Image.Image | None:
    """Return the middle square of a photo, `side` pixels wide; None for a photo that cannot be read."""
    try:
        image = decode(path, "RGB", preprocess.truncated, side, value_range=preprocess.value_range)
    except (PhotosError, OSError, ValueError):
        return None
    return ImageOps.fit(image, (side, side), Image.Resampling.BOX)


def _sheet(images: Sequence[Image.Image]) -> bytes:
    side, lines = THUMBNAIL_SIDE, -(-len(images) // SHEET_COLUMNS)
    sheet = Image.new("RGB", (side * min(len(images), SHEET_COLUMNS), side * lines))
    for place, image in enumerate(images):
        row, column = divmod(place, SHEET_COLUMNS)
        sheet.paste(image, (side * column, side * row))
    return _webp(sheet, 60)


def _webp(image: Image.Image, quality: int = 72) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()


def views(files: Sequence[Path], preprocess: Preprocess) -> Iterator[Image.Image | None]:
    """Yield the part of each photo that the network gets, as RGB with at most VIEW_SIDE pixels a side.

    None stands for a photo that cannot be read.
    """

    def draw(path: Path) -> Image.Image | None:
        try:
            image = decode(
                path, "RGB", preprocess.truncated, 2 * VIEW_SIDE, value_range=preprocess.value_range
            )
        except (PhotosError, OSError, ValueError):
            return None
        if preprocess.fit != "crop":
            return preprocess.square(image, VIEW_SIDE)
        left, top, kept, _ = preprocess.visible_box(*image.size)
        side = min(VIEW_SIDE, max(1, round(kept)))
        box = (left, top, left + kept, top + kept)
        return image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)

    with ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(draw, files)


def photo_file(view: Image.Image) -> bytes:
    """Return a view as WebP."""
    return _webp(view)


def neighbor_file(path: Path, preprocess: Preprocess) -> bytes | None:
    """Return a small WebP of a photo; None for a photo that cannot be read."""
    image = _square(path, NEIGHBOR_SIDE, preprocess)
    return None if image is None else _webp(image, 65)


def heat_file(view: Image.Image, heat: NDArray[np.float32]) -> bytes:
    """Return a heat map (h, w), 0 to 1, over the gray photo, as WebP."""
    return _webp(overlay(view, torch.from_numpy(heat)))
