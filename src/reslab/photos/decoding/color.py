"""Convert an image of any color mode to 8-bit sRGB, with transparency over white."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

WHITE_LEVELS = (255, 65_535)  # possible values of white in 32-bit images; floats may also use 1


def to_srgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to mode RGB by its color profile, with transparency over white.

    A missing or broken profile means sRGB. 16-bit images keep their upper 8 bits. 32-bit images do not state
    the value of white: it is the smallest of 255 and 65,535 that no pixel exceeds (for floats, of 1, 255 and
    65,535), else their largest pixel. Negative pixels and NaN become black.
    """
    if image.mode in ("I", "F"):
        return Image.fromarray(_scale_to_uint8(np.asarray(image))).convert("RGB")
    if image.mode.startswith("I;16"):
        return Image.fromarray(_upper_byte(image)).convert("RGB")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    if image.mode != "RGBA":
        return _apply_profile(image)
    alpha = image.getchannel("A")
    image = _apply_profile(image.convert("RGB"))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _scale_to_uint8(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Scale a 32-bit image so that its white becomes 255: int32 or float32 (H, W) -> uint8 (H, W)."""
    levels = (1, *WHITE_LEVELS) if values.dtype.kind == "f" else WHITE_LEVELS
    largest = float(values.max(where=np.isfinite(values), initial=0))
    white = next((level for level in levels if largest <= level), largest)
    grey = values.astype(np.float32)
    np.nan_to_num(grey, copy=False, posinf=white, neginf=0)
    grey *= np.float32(255 / white)
    return np.rint(grey.clip(0, 255, out=grey), out=grey).astype(np.uint8)


def _upper_byte(image: Image.Image) -> NDArray[np.uint8]:
    """Return the upper 8 bits of a 16-bit image (H, W); its transparent grey level becomes white."""
    values = np.asarray(image)
    grey = (values >> 8).astype(np.uint8)
    if isinstance(clear := image.info.get("transparency"), int):
        grey[values == clear] = 255
    return grey


def _apply_profile(image: Image.Image) -> Image.Image:
    """Convert to mode RGB by the image's color profile; without a usable one, as Pillow does."""
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        # Broken profiles are common; the image is good without.
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source, target = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
            if converted := ImageCms.profileToProfile(image, source, target, outputMode="RGB"):
                return converted
    return image if image.mode == "RGB" else image.convert("RGB")
