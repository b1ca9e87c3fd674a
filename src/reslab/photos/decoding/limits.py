"""What decoding one photo may cost, in memory and in time, looked at before it is decoded.

A decoder at work cannot be stopped from outside: it runs in C, in a thread. So what is refused is what would
take long or need much: each limit stands for a way to build a small file that does, and the figures of
benchmarks/worst_photos.py say what the worst file within the limits costs.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from PIL import Image

MOST_FILE = 2**30  # bytes of a file
MOST_PIXELS = 250_000_000
MOST_MEMORY = 2**30  # bytes that decoding may take, by the two tables below
MOST_SCANS = 1_000  # passes of a JPEG over its picture; programs write about ten
MOST_SCANNED = 4_000_000_000  # pixels of a JPEG times its passes
MOST_CHUNKS = 200_000  # of a PNG
MOST_PIECES = 200_000  # strips or tiles of a TIFF
MOST_RUN_LENGTH = 10_000_000  # pixels of a BMP with run lengths, which Pillow decodes in Python

# Bytes a pixel at the peak, measured: what the decoder holds, and what the way to sRGB holds.
DECODER = {"WEBP": 22, "AVIF": 16, "HEIF": 16, "TIFF": 8}
SEVERAL_PASSES = 12  # a JPEG's coefficients, which wait for the last pass
TO_SRGB = {"RGBA": 14, "LA": 16, "PA": 16, "P": 14, "F": 19, "I": 19}
PLAIN = 8
IN_MEMORY = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")  # formats whose file is read whole


class TooCostly(Exception):  # noqa: N818  an answer, not an error of the program
    """Why a photo is not decoded, in words."""


def check_file(file: BinaryIO) -> None:
    """What the bytes alone say, before Pillow sees them. Raises TooCostly."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MOST_FILE:
        raise TooCostly(f"a file of {size:,} bytes; more than {MOST_FILE:,} are not decoded")
    head = file.read(8)
    if head == b"\x89PNG\r\n\x1a\n":
        _check_chunks(file)
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_directory(file, head)
    file.seek(0)


def check_image(image: Image.Image, file: BinaryIO) -> int:
    """What the header says, before the pixels are decoded. Raises TooCostly.

    Returns what width and height must be divided by: 2 for a JPEG of one pass that is too large, else 1.
    """
    width, height = image.size
    pixels, passes, reduction = width * height, 1, 1
    if pixels > MOST_PIXELS:
        raise TooCostly(f"{width} x {height} pixels; more than {MOST_PIXELS:,} pixels are not decoded")
    if image.format in ("JPEG", "MPO"):
        passes = _count_passes(file)
        if passes > MOST_SCANS or pixels * passes > MOST_SCANNED:
            raise TooCostly(
                f"a JPEG of {passes:,} passes over {width} x {height} pixels; about ten are usual"
            )
        if passes == 1 and _memory(image, file, passes) > MOST_MEMORY:
            reduction = 2
    tile = getattr(image, "tile", None)
    if tile and tile[0][0] == "bmp_rle" and pixels > MOST_RUN_LENGTH:
        raise TooCostly(
            f"a BMP of run lengths with {width} x {height} pixels; more than {MOST_RUN_LENGTH:,} pixels "
            "are not decoded"
        )
    if (needed := _memory(image, file, passes, reduction)) > MOST_MEMORY:
        raise TooCostly(
            f"{width} x {height} pixels of this kind take {needed / 2**20:,.0f} MiB to decode; "
            f"more than {MOST_MEMORY / 2**20:,.0f} are not used"
        )
    return reduction


def _memory(image: Image.Image, file: BinaryIO, passes: int, reduction: int = 1) -> int:
    kind = image.format or ""
    decoder = SEVERAL_PASSES if passes > 1 else DECODER.get(kind, 4)
    whole = file.seek(0, os.SEEK_END) if kind in IN_MEMORY else 0
    pixels = -(-image.width // reduction) * -(-image.height // reduction)
    return pixels * max(decoder, TO_SRGB.get(image.mode, PLAIN)) + whole


def _count_passes(file: BinaryIO) -> int:
    """Starts of a scan in a JPEG, as libjpeg finds them: not those in its metadata or behind its end."""
    file.seek(0)
    content = file.read()
    found = content.count(b"\xff\xda")
    if found < 2:
        return found
    passes, at = 0, 2
    while (at := content.find(b"\xff", at)) >= 0:
        while content[at : at + 1] == b"\xff":
            at += 1
        marker = content[at] if at < len(content) else 0xD9
        at += 1
        if marker == 0xD9:  # end of image
            break
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no segment follows
            continue
        passes += marker == 0xDA
        at += int.from_bytes(content[at : at + 2], "big")
    return passes


def _check_chunks(file: BinaryIO) -> None:
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    raise TooCostly(f"a PNG of more than {MOST_CHUNKS:,} chunks")


def _check_directory(file: BinaryIO, head: bytes) -> None:
    """The first page's strips or tiles: Pillow makes an object of each. What is damaged is left to Pillow."""
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    counts, entry = ("Q", "HHQ8x") if big else ("H", "HHI4x")
    start = file.read(8) if big else head[4:]
    if len(start) < struct.calcsize(order + ("Q" if big else "I")):
        return
    file.seek(min(struct.unpack(order + ("Q" if big else "I"), start)[0], MOST_FILE))
    number = file.read(struct.calcsize(order + counts))
    if len(number) < struct.calcsize(order + counts):
        return
    size = struct.calcsize(order + entry)
    entries = file.read(min(struct.unpack(order + counts, number)[0], 0xFFFF) * size)
    for tag, _, count in struct.iter_unpack(order + entry, entries[: len(entries) // size * size]):
        if tag in (273, 324) and count > MOST_PIECES:  # StripOffsets, TileOffsets
            raise TooCostly(f"a TIFF of {count:,} strips or tiles; more than {MOST_PIECES:,} are not decoded")
