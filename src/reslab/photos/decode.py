"""One file -> one upright sRGB image, whatever the file is."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Literal

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from ..errors import PhotosError

# A closed list: left to itself, Pillow would hand a PostScript file named .jpg to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "MPO")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
MOST_PIXELS = 250_000_000


def decode(photo: Path | bytes, mode: Literal["RGB", "L"] = "RGB") -> Image.Image:
    """The first frame of a photo, turned upright by its EXIF orientation, in sRGB or grey, alpha over white.

    Raises PhotosError naming the file if it is missing, no image, truncated, or larger than MOST_PIXELS.
    """
    name = "the photo" if isinstance(photo, bytes) else str(photo)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on metadata and size; size is checked below
            with Image.open(
                io.BytesIO(photo) if isinstance(photo, bytes) else photo, formats=_formats()
            ) as file:
                if file.width * file.height > MOST_PIXELS:
                    raise PhotosError(
                        f"{name} has {file.width} x {file.height} pixels",
                        f"more than {MOST_PIXELS:,} pixels are not decoded",
                        "make it smaller",
                    )
                file.load()
                image = ImageOps.exif_transpose(file)
                return _to_srgb(image).convert(mode)
    except PhotosError:
        raise
    except FileNotFoundError:
        raise PhotosError(f"there is no photo {name}", "", "check the path") from None
    except Exception as error:  # noqa: BLE001  damaged files make Pillow raise SyntaxError, struct.error ...
        raise PhotosError(
            f"{name} cannot be read as a photo", _reason(error), "remove or replace it"
        ) from error


def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"it is none of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB by the file's own colour profile if it has one, with transparency over white."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        return image.point(lambda value: value / 256, "F").convert("L").convert("RGB")
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    image = _apply_profile(image if alpha is None else image.convert("RGB"))
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=alpha)
    return white


def _apply_profile(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken profile is common, and the picture is good without it
        if converted is not None:
            return converted
    return image.convert("RGB")
