"""Find metadata of a photo that programs read differently (orientation, color profile), and its camera."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from PIL import ExifTags, Image, ImageCms

EXIF_SIDES = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
PROFILE_MODES = {"RGB": "RGB", "P": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}  # grey is grey by any profile
MAX_CAMERA_PART = 40  # characters of maker and of model


def oddities(file: Image.Image) -> list[str]:
    """Return a sentence for each problem of an opened file's EXIF orientation and color profile.

    The list is empty for most photos. Damaged metadata are a problem, not an error.
    """
    return [*_orientation(file), *_profile(file)]


def camera(file: Image.Image) -> str:
    """Return maker and model of the camera, by an opened file's EXIF; "" if they are missing or damaged."""
    try:
        exif = file.getexif()
        parts = [exif.get(tag) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    except Exception:  # noqa: BLE001  damaged metadata make Pillow raise SyntaxError, struct.error ...
        return ""
    texts = [part.strip("\0 ")[:MAX_CAMERA_PART] for part in parts if isinstance(part, str)]
    return " ".join(text for text in texts if text)


def _orientation(file: Image.Image) -> Iterator[str]:
    content = file.info.get("exif")
    try:
        if content:
            Image.Exif().load(content)  # getexif() fails only the first time
        exif = file.getexif()
        turn = exif.get(ExifTags.Base.Orientation)
        sides = tuple(exif.get_ifd(ExifTags.IFD.Exif).get(side) for side in EXIF_SIDES)
    except Exception:  # noqa: BLE001  damaged metadata make Pillow raise SyntaxError, struct.error ...
        if content:
            yield "its EXIF is damaged, so its orientation is unknown; it is read unturned"
        return
    if turn is not None and turn not in range(9):  # phones write 0 for "unknown"
        yield f"EXIF orientation {str(turn)[:20]}, but 1 to 8 are defined; it is read unturned"
    elif turn in (5, 6, 7, 8) and sides == file.size[::-1] and file.width != file.height:
        yield (
            f"turned twice: EXIF orientation {turn} and {sides[0]} x {sides[1]} pixels, but its "
            f"{file.width} x {file.height} pixels are turned already; it probably lies on its side"
        )


def _profile(file: Image.Image) -> Iterator[str]:
    profile: Any = file.info.get("icc_profile")
    mode = PROFILE_MODES.get(file.mode)
    if not profile or mode is None:
        return
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        yield "its color profile is damaged; it is read as sRGB"
        return
    space = source.profile.xcolor_space.strip()
    try:
        target = ImageCms.createProfile("sRGB")
        ImageCms.profileToProfile(Image.new(mode, (1, 1)), source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        problem = f"is for {space}, but the photo is {mode}" if space != mode else "cannot be used"
        yield f"its color profile {problem}; " + (
            "it is read as sRGB" if mode == "RGB" else "its colors are a guess"
        )
