"""Statistics of one photo: its format, brightness and metadata, and a fingerprint of its content."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from reslab.errors import PhotosError
from reslab.photos.decoding.color import has_deep_mode
from reslab.photos.decoding.decode import Truncated, decode, quiet_pillow, read_values, readable_formats
from reslab.photos.decoding.levels import ValueRange, format_range, sample_values
from reslab.photos.decoding.metadata import camera, oddities

from . import findings
from .findings import Finding

THUMBNAIL_SIDE = 16  # pixels
GRID = 8  # places of a photo in a row or column
GRID_PIXELS = 32  # pixels of a row or column: 4 x 4 for each place
HASH_SIDE = 32  # pixels, the input of imagehash.phash
IGNORED_FRACTION = 1 / 50  # of the pixels: half of it the darkest, half the brightest
DARK_LEVEL, BRIGHT_LEVEL = 40, 220  # grey levels: darker photos are under-exposed, brighter ones over-exposed
BLANK_SPREAD = 8  # grey levels between the darkest and the brightest pixel of a blank photo
REDUCED_SIDE = 256  # pixels of the shorter side at which large JPEGs are decoded
REDUCED_MARGIN = 40  # grey levels: nearer to a finding, a large JPEG is decoded again at full size
MAX_ASPECT_RATIO = 4
TRUNCATED_REASON = re.compile(r"truncat|unexpected end|not enough|premature", re.IGNORECASE)
MULTI_FRAME_FORMATS = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # the frames of an MPO show the same photo


@dataclass(frozen=True)
class Header:
    """Header of a file. If it is damaged, all fields are the defaults.

    Attributes:
        size: width and height of a JPEG as stored, before the EXIF orientation; None for other formats.
    The other attributes are those of PhotoStats.
    """

    format: str = ""
    animated: bool = False
    odd: str = ""
    size: tuple[int, int] | None = None
    mode: str = ""
    quantization: int = 0
    camera: str = ""
    deep: str = ""


@dataclass(frozen=True)
class PhotoStats:
    """Statistics of one photo. If it cannot be decoded, all but `problem` and `reason` are the defaults.

    Attributes:
        format: Pillow's name, JPEG for the MPO files of phones; "" if it is unknown.
        width: width of the upright photo, in pixels.
        height: height of the upright photo, in pixels.
        animated: whether the file has several frames or pages.
        darkest: grey level that at most IGNORED_FRACTION / 2 of the pixels are below.
        brightest: grey level that at most IGNORED_FRACTION / 2 of the pixels are above.
        spread: brightest minus darkest level of red, green or blue, the largest of the three.
        phash: perceptual hash, 64 bits.
        odd: problems of the metadata, as text; "" for most photos.
        mode: Pillow's name of how the file stores pixels, as "RGB" or "L".
        quantization: sum of the first quantization table of a JPEG, greater for lower quality; else 0.
        camera: maker and model of the camera from EXIF; "" if they are missing.
        deep: "color" for 16-bit color, which is read by its upper 8 bits; for a grey photo of more than 8
            bits that is nearly uniform, its values as text; else "".
        file_size: in bytes.
        thumbnail: THUMBNAIL_SIDE x THUMBNAIL_SIDE grey levels, a byte each.
        pixels: GRID_PIXELS x GRID_PIXELS x RGB, a byte each: the photo as a square, or b"".
        problem: `Finding.kind` of the finding if the photo cannot be decoded, else "".
        reason: why it cannot be decoded, else "".
    """

    format: str = ""
    width: int = 0
    height: int = 0
    animated: bool = False
    darkest: int = 0
    brightest: int = 255
    spread: int = 255
    phash: int = 0
    odd: str = ""
    mode: str = ""
    quantization: int = 0
    camera: str = ""
    deep: str = ""
    file_size: int = 0
    thumbnail: bytes = b""
    pixels: bytes = b""
    problem: str = ""
    reason: str = ""


def compute_stats(
    path: Path,
    truncated: Truncated = "refuse",
    with_pixels: bool = False,
    value_range: ValueRange | None = None,
) -> PhotoStats:
    """Decode a photo as training does and measure it. A photo that cannot be decoded gets a `problem`.

    It does not raise for a missing or damaged file.

    A large JPEG is decoded at reduced scale. This averages noise away, so if its brightness is close to a
    finding, the photo is decoded again at full size.

    Args:
        path: the file.
        truncated: "refuse" or "keep" a JPEG whose end is missing.
        with_pixels: whether to keep `pixels`, 3 KB.
        value_range: of the folder's photos of more than 8 bits; None without such photos.
    """
    try:
        file_size = path.stat().st_size
        if file_size == 0:
            return PhotoStats(problem=findings.Empty.kind, reason="zero bytes")
        image = decode(path, truncated=truncated, shrunk_to=REDUCED_SIDE, value_range=value_range)
        header = _read_header(path)
        stats = _measure(header, image)
        if image.width < stats.width and _is_borderline(stats):
            stats = _measure(header, decode(path, truncated=truncated))
        if stats.spread <= BLANK_SPREAD and (values := read_values(path)) is not None:
            low, high = np.quantile(sample_values(values), (IGNORED_FRACTION / 2, 1 - IGNORED_FRACTION / 2))
            stats = replace(stats, deep=format_range((float(low), float(high))) if low < high else "")
        return replace(stats, file_size=file_size, pixels=square_pixels(image) if with_pixels else b"")
    except PhotosError as error:
        return PhotoStats(problem=_problem(error.why), reason=error.why or error.what)
    except OSError as error:
        return unreadable_stats(error.strerror or str(error))


def square_pixels(image: Image.Image) -> bytes:
    """Return the pixels of an RGB image, shrunk to a square: GRID_PIXELS x GRID_PIXELS x RGB."""
    return image.resize((GRID_PIXELS, GRID_PIXELS), Image.Resampling.BOX).tobytes()


def unreadable_stats(reason: str) -> PhotoStats:
    return PhotoStats(problem=findings.Unreadable.kind, reason=reason)


def _measure(header: Header, image: Image.Image) -> PhotoStats:
    """Return the statistics of an upright image, which may be reduced; the file's own size is in `header`."""
    shorter, longer = sorted(header.size or image.size)
    width, height = (longer, shorter) if image.width > image.height else (shorter, longer)
    grey = image.convert("L")
    darkest, brightest = _percentiles(grey.histogram())
    colors = np.array(image.histogram()).reshape(3, 256)
    spread = max(bright - dark for dark, bright in map(_percentiles, colors.tolist()))
    phash, thumbnail = fingerprint(grey)
    return PhotoStats(
        format=header.format,
        width=width,
        height=height,
        animated=header.animated,
        darkest=darkest,
        brightest=brightest,
        spread=spread,
        phash=phash,
        odd=header.odd,
        mode=header.mode,
        quantization=header.quantization,
        camera=header.camera,
        deep=header.deep,
        thumbnail=thumbnail,
    )


def _is_borderline(stats: PhotoStats) -> bool:
    return (
        stats.spread <= BLANK_SPREAD + REDUCED_MARGIN
        or stats.brightest <= DARK_LEVEL + REDUCED_MARGIN
        or stats.darkest >= BRIGHT_LEVEL - REDUCED_MARGIN
    )


def photo_findings(stats: PhotoStats, suffix: str) -> list[tuple[type[Finding], str]]:
    """Return (kind, why) for each problem of a single photo, [] for most.

    A photo that cannot be decoded has only this problem.

    Args:
        stats: its statistics.
        suffix: suffix of its name with the dot, of any case.
    """
    if stats.problem:
        return [(next(kind for kind in findings.KINDS if kind.kind == stats.problem), stats.reason)]
    found: list[tuple[type[Finding], str]] = []
    if stats.deep == "color" and stats.brightest <= DARK_LEVEL:
        used = f"{(stats.brightest + 1) / 256:.0%}"
        found.append(
            (findings.PartOfRange, f"uses {used} of its range: 16-bit color, read by its upper 8 bits")
        )
    elif stats.deep not in ("", "color"):
        levels = "1 grey level" if stats.spread == 0 else f"{stats.spread + 1} grey levels"
        found.append((findings.PartOfRange, f"98 % of its values are {stats.deep}, {levels} of 256"))
    elif stats.spread <= BLANK_SPREAD:
        found.append((findings.Blank, f"98 % of it within {stats.spread + 1} of 256 levels in every color"))
    elif stats.brightest <= DARK_LEVEL:
        found.append((findings.UnderExposed, f"98 % of it darker than {stats.brightest + 1} of 255"))
    elif stats.darkest >= BRIGHT_LEVEL:
        found.append((findings.OverExposed, f"98 % of it brighter than {stats.darkest - 1} of 255"))
    if max(stats.width, stats.height) > MAX_ASPECT_RATIO * min(stats.width, stats.height):
        found.append((findings.Stretched, f"{stats.width} x {stats.height} pixels"))
    if stats.animated:
        found.append((findings.Animated, "several frames or pages; the first is used"))
    if stats.odd:
        found.append((findings.OddMetadata, stats.odd))
    if stats.format and _format_of(suffix.lower()) not in ("", stats.format):
        found.append((findings.WrongSuffix, f"a {stats.format} named {suffix}"))
    return found


def _problem(reason: str) -> str:
    """Return the kind of finding, "truncated" say, for the reason of a decoder's error."""
    if TRUNCATED_REASON.search(reason):
        return findings.Truncated.kind
    unknown = reason.startswith("its format is not one of")
    return (findings.NotAnImage if unknown else findings.Unreadable).kind


def _read_header(path: Path) -> Header:
    """Return the header of a file, the default Header if it is damaged."""
    try:
        with quiet_pillow, Image.open(path, formats=readable_formats()) as file:
            name = file.format or ""
            size = file.size if name in ("JPEG", "MPO") else None
            animated = name in MULTI_FRAME_FORMATS and bool(getattr(file, "is_animated", False))
            deep = "color" if ";16" in str(file.tile) and not has_deep_mode(file) else ""
            odd = "; ".join(oddities(file))  # may decode the file, which empties its tile
            tables = getattr(file, "quantization", None) or {}
            quantization = sum(tables.get(0, ()))
            name = "JPEG" if name == "MPO" else name
            return Header(name, animated, odd, size, file.mode, quantization, camera(file), deep)
    except Exception:  # noqa: BLE001  damaged files make Pillow raise SyntaxError, struct.error ...
        return Header()


@cache
def _format_of(suffix: str) -> str:
    """Return Pillow's format for a suffix in lower case, "" if it has none."""
    return Image.registered_extensions().get(suffix, "")


def _percentiles(histogram: list[int]) -> tuple[int, int]:
    """Return the levels that at most IGNORED_FRACTION / 2 of the pixels are below, and above.

    Args:
        histogram: number of pixels of each level.
    """
    cumulated = np.cumsum(histogram) / sum(histogram)
    low, high = IGNORED_FRACTION / 2, 1 - IGNORED_FRACTION / 2
    return int(np.searchsorted(cumulated, low)), int(np.searchsorted(cumulated, high))


def fingerprint(grey: Image.Image) -> tuple[int, bytes]:
    """Return perceptual hash (64 bits) and thumbnail of a grey image."""
    import imagehash

    small = grey.resize((HASH_SIDE, HASH_SIDE), Image.Resampling.LANCZOS)
    bits = np.packbits(imagehash.phash(small).hash.ravel())
    thumbnail = small.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return int.from_bytes(bits.tobytes()), thumbnail.tobytes()
