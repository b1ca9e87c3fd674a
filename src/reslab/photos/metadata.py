"""What a photo's file says beside its pixels, where that would make two programs show two pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import ExifTags, Image, ImageCms

SQUARE = 1.5  # times as dense one way as the other, from which on pixels are meant to be no squares
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)\s*(\d+)')
SIDES = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
ADVICE = "it is read as sRGB"


def oddities(file: Image.Image) -> list[str]:
    """Sentences on an opened file: orientation, colour profile, shape of a pixel. None for most photos.

    An orientation of 0 is what phones write for "unknown", and no finding.
    """
    return [*_orientation(file), *_profile(file), *_density(file)]


def _orientation(file: Image.Image) -> Iterator[str]:
    said = file.info.get("exif")
    try:
        if said:
            Image.Exif().load(said)  # getexif() fails once, and then has nothing
        exif = file.getexif()
        turn = exif.get(ExifTags.Base.Orientation)
        sides = tuple(exif.get_ifd(ExifTags.IFD.Exif).get(side) for side in SIDES)
    except Exception:  # noqa: BLE001  damaged metadata make Pillow raise SyntaxError, struct.error ...
        if said:
            yield "its EXIF is damaged, so nothing says which way is up; it is read as it lies"
        return
    if turn is not None and turn not in range(9):
        yield f"EXIF orientation {str(turn)[:20]}, where 1 to 8 are defined; it is read as it lies"
    elif turn in (5, 6, 7, 8) and sides == file.size[::-1] and file.width != file.height:
        yield (
            f"turned twice: EXIF orientation {turn} and {sides[0]} x {sides[1]} pixels, and its "
            f"{file.width} x {file.height} pixels are turned already; it probably lies on its side"
        )
    other = XMP_ORIENTATION.search(_xmp(file))
    if turn in range(1, 9) and other and int(other[1]) in range(1, 9) and int(other[1]) != turn:
        yield f"EXIF orientation {turn} and XMP orientation {int(other[1])}; the first is followed"


def _xmp(file: Image.Image) -> bytes:
    said = file.info.get("xmp") or file.info.get("XML:com.adobe.xmp") or b""
    return said.encode("utf-8", "replace") if isinstance(said, str) else bytes(said)


def _profile(file: Image.Image) -> Iterator[str]:
    """Only where the colours would be others: grey is grey by any profile."""
    profile: Any = file.info.get("icc_profile")
    mode = {"RGB": "RGB", "P": "RGB", "RGBA": "RGB", "CMYK": "CMYK"}.get(file.mode)
    if not profile or mode is None:
        return
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        yield f"its colour profile is damaged; {ADVICE}"
        return
    space = source.profile.xcolor_space.strip()
    try:
        target = ImageCms.createProfile("sRGB")
        ImageCms.profileToProfile(Image.new(mode, (1, 1)), source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        named = f"is for {space}, and the photo is {mode}" if space != mode else "cannot be used"
        yield f"its colour profile {named}; {ADVICE if mode == 'RGB' else 'its colours are a guess'}"


def _density(file: Image.Image) -> Iterator[str]:
    """Faxes and scans of films are denser one way than the other, and programs stretch them."""
    for name in ("dpi", "jfif_density", "aspect"):
        with suppress(TypeError, ValueError, ZeroDivisionError):
            across, down = map(float, file.info[name]) if name in file.info else (1.0, 1.0)
            if across > 0 and down > 0 and max(across / down, down / across) >= SQUARE:
                yield (
                    f"its pixels are no squares: {across:g} across and {down:g} down to the same length; "
                    "they are read as squares, so all in it is stretched"
                )
                return
