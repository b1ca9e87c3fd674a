"""Whatever a file counts its colours in -> sRGB, 8 bits each, with what is transparent over white."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

SCALES = (255, 65_535)  # what white may be in numbers of 32 bits, beside 1 in those with a point


def to_srgb(image: Image.Image) -> Image.Image:
    """RGB by the file's own colour profile if it has one, with transparency over white.

    16 bits keep their upper 8. Numbers of 32 bits say nowhere what white is: in a file of whole numbers it is
    the first of 255 and 65,535 that none exceeds, with a decimal point 1 comes before them, and beyond it is
    the largest number there. Below 0 and not a number are black.
    """
    if image.mode in ("I", "F"):
        return Image.fromarray(_grey(np.asarray(image))).convert("RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray(_upper_bits(image)).convert("RGB")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    if image.mode != "RGBA":
        return _apply_profile(image)
    alpha = image.getchannel("A")
    image = _apply_profile(image.convert("RGB"))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """int32 or float32 (H, W) -> uint8 (H, W)"""
    if whole := values.dtype.kind != "f":
        largest = float(values.max())
    else:
        finite = np.isfinite(values)
        largest = float(values.max(where=finite, initial=0))
    scales = SCALES if whole else (1, *SCALES)
    white = next((scale for scale in scales if largest <= scale), largest)
    grey = values.astype(np.float32)
    np.nan_to_num(grey, copy=False, posinf=white, neginf=0)
    grey *= np.float32(255 / white)
    return np.rint(grey.clip(0, 255, out=grey), out=grey).astype(np.uint8)


def _upper_bits(image: Image.Image) -> NDArray[np.uint8]:
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return grey


def _apply_profile(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            converted = None  # a broken profile is common, and the picture is good without it
        if converted is not None:
            return converted
    return image if image.mode == "RGB" else image.convert("RGB")
