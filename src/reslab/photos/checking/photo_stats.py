"""One photo looked at once: what its file is, how bright it is, and a fingerprint of what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from reslab.errors import PhotosError
from reslab.photos.decoding.decode import Truncated, decode, readable_formats, undisturbed
from reslab.photos.decoding.metadata import MOST_PAGES, count_pages, oddities

from . import findings

if TYPE_CHECKING:
    from .findings import Finding

SIDE = 16  # of the thumbnail that pixels are compared by
HASHED = 32  # side of what imagehash.phash takes its cosine transform of
FEW = 1 / 50  # of the pixels, at either end of the brightness, that do not count
DARK, BRIGHT = 40, 220  # a picture is under-exposed if all that counts is darker than the first
SPREAD = 8  # grey levels: nothing that counts differs by more in a blank picture
ENOUGH = 256  # shorter side that all this is seen at as well as at a photo's own
DOUBT = 40  # grey levels between a reduced photo and a finding, so that averages of its pixels can tell
LONGEST = 4  # times its width that a picture may be high before its shape is a finding
ENDS_EARLY = re.compile(r"truncat|unexpected end|not enough|premature", re.IGNORECASE)
MANY_PAGES = ("GIF", "PNG", "WEBP", "TIFF", "AVIF")  # in an MPO the others are the same photo once more
Header = tuple[str, int, str, tuple[int, int] | None]  # format, frames, oddities, sides


@dataclass(frozen=True)
class Look:
    """What is kept of a photo: a few numbers, and no pixels but a thumbnail.

    `darkest`, `brightest`: grey levels 0 to 255 that all pixels but FEW lie between, `spread`: the largest
    such distance of the three colours. `odd`: what is strange in its metadata. `phash`: 64 bits;
    `thumbnail`: SIDE x SIDE bytes of grey. `problem`: what keeps it from being decoded, as a kind of
    finding, with its `reason`; "" if nothing.
    """

    format: str = ""
    width: int = 0
    height: int = 0
    frames: int = 1
    darkest: int = 0
    brightest: int = 255
    spread: int = 255
    phash: int = 0
    odd: str = ""
    thumbnail: bytes = b""
    problem: str = ""
    reason: str = ""

    @property
    def blank(self) -> bool:
        return not self.problem and self.spread <= SPREAD


def look(path: Path, truncated: Truncated = "refuse") -> Look:
    """Decodes a photo, as training does: a large JPEG at reduced scale, unless its brightness is in doubt.

    What cannot be decoded is no error, but a Look with a problem.
    """
    try:
        if path.stat().st_size == 0:
            return Look(problem=findings.Empty.kind, reason="zero bytes")
        image = decode(path, truncated=truncated, shrunk_to=ENOUGH)
        header = _header(path)
        seen = _seen(header, image)
        if image.width < seen.width and _in_doubt(seen):
            seen = _seen(header, decode(path, truncated=truncated))
        return seen
    except PhotosError as error:
        return Look(problem=_problem(error.why), reason=error.why or error.what)
    except OSError as error:
        return unreadable(error.strerror or str(error))


def _seen(header: Header, image: Image.Image) -> Look:
    """`image` may be a reduced one."""
    format_, frames, odd, sides = header
    shorter, longer = sorted(sides or image.size)
    width, height = (longer, shorter) if image.width > image.height else (shorter, longer)
    grey = image.convert("L")
    darkest, brightest = _ends(grey.histogram())
    colours = np.array(image.histogram()).reshape(3, 256)
    spread = max(bright - dark for dark, bright in map(_ends, colours.tolist()))
    phash, thumbnail = _fingerprint(grey)
    return Look(format_, width, height, frames, darkest, brightest, spread, phash, odd, thumbnail)


def _in_doubt(seen: Look) -> bool:
    """Whether its brightness is to be seen at every pixel: in a large photo noise is averaged out."""
    return seen.spread <= SPREAD + DOUBT or seen.brightest <= DARK + DOUBT or seen.darkest >= BRIGHT - DOUBT


def unreadable(reason: str) -> Look:
    return Look(problem=findings.Unreadable.kind, reason=reason)


def faults_of(seen: Look, suffix: str) -> list[tuple[type[Finding], str]]:
    """What is wrong with one photo by itself, and why; `suffix` is that of its name."""
    if seen.problem:
        return [(next(kind for kind in findings.KINDS if kind.kind == seen.problem), seen.reason)]
    found: list[tuple[type[Finding], str]] = []
    if seen.blank:
        found.append((findings.Blank, f"98 % of it within {seen.spread + 1} of 256 levels in every colour"))
    elif seen.brightest <= DARK:
        found.append((findings.UnderExposed, f"98 % of it darker than {seen.brightest + 1} of 255"))
    elif seen.darkest >= BRIGHT:
        found.append((findings.OverExposed, f"98 % of it brighter than {seen.darkest - 1} of 255"))
    if max(seen.width, seen.height) > LONGEST * min(seen.width, seen.height):
        found.append((findings.Stretched, f"{seen.width} x {seen.height} pixels"))
    if seen.frames > 1:
        count = f"more than {MOST_PAGES:,}" if seen.frames > MOST_PAGES else f"{seen.frames}"
        found.append((findings.Animated, f"{count} frames or pages; the first is used"))
    if seen.odd:
        found.append((findings.OddMetadata, seen.odd))
    meant = _format_of(suffix.lower())
    if seen.format and meant not in ("", seen.format):
        found.append((findings.WrongSuffix, f"a {seen.format} called {suffix}"))
    return found


def _problem(reason: str) -> str:
    if ENDS_EARLY.search(reason):
        return findings.Truncated.kind
    none = reason.startswith("it is none of")
    return (findings.NotAnImage if none else findings.Unreadable).kind


def _header(path: Path) -> Header:
    """The format is JPEG for what phones add a second view to, the sides are of what alone may be reduced."""
    try:
        with undisturbed, Image.open(path, formats=readable_formats()) as file:
            name = file.format or ""
            sides = file.size if name in ("JPEG", "MPO") else None
            odd = "; ".join(oddities(file))
            frames = count_pages(file) if name in MANY_PAGES else 1
            return "JPEG" if name == "MPO" else name, frames, odd, sides
    except Exception:  # noqa: BLE001  damaged files make Pillow raise SyntaxError, struct.error ...
        return "", 1, "", None


@cache
def _format_of(suffix: str) -> str:
    return Image.registered_extensions().get(suffix, "")


def _ends(histogram: list[int]) -> tuple[int, int]:
    """The levels below and above which at most FEW / 2 of the pixels lie."""
    shares = np.cumsum(histogram) / sum(histogram)
    return int(np.searchsorted(shares, FEW / 2)), int(np.searchsorted(shares, 1 - FEW / 2))


def _fingerprint(grey: Image.Image) -> tuple[int, bytes]:
    import imagehash

    small = grey.resize((HASHED, HASHED), Image.Resampling.LANCZOS)
    bits = np.packbits(imagehash.phash(small).hash.ravel())
    thumbnail = small.resize((SIDE, SIDE), Image.Resampling.BOX)
    return int.from_bytes(bits.tobytes()), thumbnail.tobytes()
