"""What a photo's file says beside its pixels, where that would make two programs show two pictures."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import IO, Any

from PIL import ExifTags, Image, ImageCms, ImageFile

SQUARE = 1.5  # times as dense one way as the other, from which on pixels are meant to be no squares
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)\s*(\d{1,9})')
SIDES = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
ADVICE = "it is read as sRGB"
MOST_PAGES = 1_000  # that are counted
MOST_STEPS = 5_000_000  # pieces of a GIF that are looked at; of full ones more than fit into MOST_FILE


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
    if isinstance(said, str):
        return said.encode("utf-8", "replace")
    return said if isinstance(said, bytes) else b""  # a TIFF may say a number, and bytes() of it be 4 GiB


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


def count_pages(file: ImageFile.ImageFile) -> int:
    """Frames or pages of an opened file; MOST_PAGES + 1 if there are more. What is damaged ends the count.

    Pillow's n_frames reads every tag of every page of a TIFF and compares it with all before it: minutes for
    a file of 3 MB.
    """
    pages = {"TIFF": _directories, "GIF": _frames}.get(file.format or "")
    if pages is None or file.fp is None:
        return min(int(getattr(file, "n_frames", 1)), MOST_PAGES + 1)  # which the head says
    count = 0
    with suppress(struct.error, IndexError, OSError, OverflowError, ValueError):  # no place to seek to
        for _ in islice(pages(file.fp), MOST_PAGES + 1):
            count += 1
    return max(count, 1)


def _directories(file: IO[bytes]) -> Iterator[int]:
    """Where the pages of a TIFF are described; each of these places names the next."""
    file.seek(0)
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    number, where, entry = ("Q", "Q", 20) if big else ("H", "I", 12)
    (place,) = struct.unpack_from(order + where, head, 8 if big else 4)
    seen = set[int]()
    while place and place not in seen:
        seen.add(place)
        file.seek(place)
        (entries,) = struct.unpack(order + number, file.read(struct.calcsize(order + number)))
        yield place
        file.seek(entries * entry, os.SEEK_CUR)
        (place,) = struct.unpack(order + where, file.read(struct.calcsize(order + where)))


def _frames(file: IO[bytes]) -> Iterator[int]:
    """Where the pixels of a GIF's frames begin (GIF89a, sections 18 to 27)."""
    file.seek(10)
    _skip_palette(file, file.read(3)[0])
    inside = False  # of a chain of pieces, each behind its length, the last one empty
    for _ in range(MOST_STEPS):
        kind = file.read(1)
        if inside:
            inside = kind not in (b"", b"\0")
            file.seek(kind[0] if inside else 0, os.SEEK_CUR)
        elif kind in (b"", b";"):
            return
        elif kind == b",":  # a frame: its place, its palette, the bits of a code
            _skip_palette(file, file.read(9)[8])
            file.read(1)
            inside = True
            yield file.tell()
        elif kind == b"!":  # an extension: its kind
            file.read(1)
            inside = True


def _skip_palette(file: IO[bytes], flags: int) -> None:
    if flags & 128:
        file.seek(3 << (flags & 7) + 1, os.SEEK_CUR)
