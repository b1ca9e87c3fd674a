"""Convert an image of any color mode to 8-bit sRGB, with transparency over white."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from .levels import ValueRange, to_levels

UNSIGNED_16_BIT_FORMATS = ("PNG", "PPM")  # Pillow may open these in mode I, which has 32 bits


def to_srgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Convert an image of any mode to mode RGB by its color profile, with transparency over white.

    A missing or broken profile means sRGB. Grey images of more than 8 bits are converted by `to_levels`.

    Args:
        image: a loaded image.
        value_range: values that become black and white in images of more than 8 bits; None if unknown.
    """
    if (values := deep_values(image)) is not None:
        levels = to_levels(values, value_range)
        if isinstance(clear := image.info.get("transparency"), int):
            levels[values == clear] = 255
        return Image.fromarray(levels).convert("RGB")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
    if image.mode != "RGBA":
        return _apply_profile(image)
    alpha = image.getchannel("A")
    image = _apply_profile(image.convert("RGB"))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def has_deep_mode(image: Image.Image) -> bool:
    """Return whether an opened image has grey values of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def deep_values(image: Image.Image) -> NDArray[Any] | None:
    """Return the values (H, W) of a grey image of more than 8 bits; None for other images."""
    if not has_deep_mode(image):
        return None
    values = np.asarray(image)
    return (
        values.astype(np.uint16) if image.mode == "I" and image.format in UNSIGNED_16_BIT_FORMATS else values
    )


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
