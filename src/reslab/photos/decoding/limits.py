"""Limits on memory and time for decoding one photo, checked before it is decoded.

A decoder runs in C and cannot be stopped. Each limit stands for a way to build a small file that takes long
or needs much memory. benchmarks/worst_photos.py measures the worst files within the limits.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from PIL import Image

MAX_FILE_BYTES = 2**30
MAX_PIXELS = 250_000_000
MAX_DECODING_BYTES = 2**30  # estimated by the two tables below
MAX_JPEG_SCANS = 1_000  # programs write about ten
MAX_JPEG_SCAN_PIXELS = 4_000_000_000  # pixels times scans
MAX_PNG_CHUNKS = 200_000
MAX_TIFF_TILES = 200_000  # strips or tiles
MAX_JPEG2000_TILES = 10_000  # the decoder allocates 13 kB for each before it reads any
MAX_JPEG2000_BOXES = 10_000
MAX_JPEG2000_HEADER_BYTES = 2**22  # Pillow reads its boxes in Python
CODESTREAM = b"\xff\x4f\xff\x51"  # start of a JPEG 2000 codestream, and of its sizes
MAX_PYTHON_PIXELS = 10_000_000  # Pillow decodes run-length BMP and plain PPM in Python
PYTHON_DECODERS = {"bmp_rle": "a run-length BMP", "ppm_plain": "a PPM written as text"}

# Peak bytes per pixel, measured: of the decoder by format, and of the conversion to sRGB by mode.
DECODER_BYTES = {"WEBP": 22, "JPEG2000": 26, "AVIF": 16, "HEIF": 16, "TIFF": 8}
DEFAULT_DECODER_BYTES = 4
MULTI_SCAN_JPEG_BYTES = 12  # the coefficients wait for the last scan
CONVERSION_BYTES = {"RGBA": 14, "LA": 16, "PA": 16, "P": 14, "F": 19, "I": 19}
DEFAULT_CONVERSION_BYTES = 8
READ_WHOLE = ("JPEG", "MPO", "WEBP", "AVIF", "HEIF")  # formats whose file is held in memory


class LimitExceeded(Exception):  # noqa: N818  the reason for an answer, not an error of the program
    """A photo is not decoded, for the reason in the message; decode() turns it into a PhotosError."""


def check_file(file: BinaryIO) -> None:
    """Raise LimitExceeded for a file too large or of too many parts, before Pillow opens it.

    The file is at its start afterwards.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size > MAX_FILE_BYTES:
        raise LimitExceeded(f"the file has {size:,} bytes; the limit is {MAX_FILE_BYTES:,}")
    head = file.read(8)
    if head == b"\x89PNG\r\n\x1a\n":
        _check_png_chunks(file)
    elif head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiff_tiles(file, head)
    elif head[4:] == b"jP  " or head[:4] == CODESTREAM:
        _check_jpeg2000(file, 0 if head[4:] != b"jP  " else _find_codestream(file))
    file.seek(0)


def check_image(image: Image.Image, file: BinaryIO) -> int:
    """Check an opened image by its header, before its pixels are decoded.

    Args:
        image: image from Image.open, not loaded yet.
        file: the file that it was opened from; its position changes.

    Returns:
        The factor to reduce width and height by: 2 for a JPEG of one scan that needs too much memory, else 1.

    Raises:
        LimitExceeded: the image has too many pixels or scans, or needs too much memory even when reduced.
    """
    width, height = image.size
    pixels, scans, reduction = width * height, 1, 1
    size = f"{width} x {height} pixels"
    if pixels > MAX_PIXELS:
        raise LimitExceeded(f"it has {size}; the limit is {MAX_PIXELS:,} pixels")
    if image.format in ("JPEG", "MPO"):
        scans = _count_scans(file)
        if scans > MAX_JPEG_SCANS or pixels * scans > MAX_JPEG_SCAN_PIXELS:
            raise LimitExceeded(f"it is a JPEG with {scans:,} scans of {size}; about ten scans are usual")
        if scans == 1 and _decoding_bytes(image, file, scans) > MAX_DECODING_BYTES:
            reduction = 2
    tile = getattr(image, "tile", None)
    if tile and tile[0][0] in PYTHON_DECODERS and pixels > MAX_PYTHON_PIXELS:
        kind = PYTHON_DECODERS[tile[0][0]]
        raise LimitExceeded(f"it is {kind} of {size}; the limit is {MAX_PYTHON_PIXELS:,} pixels")
    if (needed := _decoding_bytes(image, file, scans, reduction)) > MAX_DECODING_BYTES:
        raise LimitExceeded(
            f"{size} of this kind take {needed / 2**20:,.0f} MiB to decode; "
            f"the limit is {MAX_DECODING_BYTES / 2**20:,.0f} MiB"
        )
    return reduction


def _decoding_bytes(image: Image.Image, file: BinaryIO, scans: int, reduction: int = 1) -> int:
    """Estimate the peak memory of decoding, in bytes, at 1 / `reduction` of width and height."""
    kind = image.format or ""
    decoder = MULTI_SCAN_JPEG_BYTES if scans > 1 else DECODER_BYTES.get(kind, DEFAULT_DECODER_BYTES)
    conversion = CONVERSION_BYTES.get(image.mode, DEFAULT_CONVERSION_BYTES)
    file_bytes = file.seek(0, os.SEEK_END) if kind in READ_WHOLE else 0
    pixels = -(-image.width // reduction) * -(-image.height // reduction)
    return pixels * max(decoder, conversion) + file_bytes


def _count_scans(file: BinaryIO) -> int:
    """Count the scans of a JPEG as libjpeg does, without those in its metadata or after its end."""
    file.seek(0)
    content = file.read()
    found = content.count(b"\xff\xda")
    if found < 2:
        return found
    scans, at = 0, 2
    while (at := content.find(b"\xff", at)) >= 0:
        while content[at : at + 1] == b"\xff":
            at += 1
        marker = content[at] if at < len(content) else 0xD9
        at += 1
        if marker == 0xD9:  # end of image
            break
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # no segment follows
            continue
        scans += marker == 0xDA
        at += int.from_bytes(content[at : at + 2], "big")
    return scans


def _check_png_chunks(file: BinaryIO) -> None:
    """Raise LimitExceeded for more than MAX_PNG_CHUNKS, from the file's position 8 on."""
    for _ in range(MAX_PNG_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    raise LimitExceeded(f"it is a PNG with more than {MAX_PNG_CHUNKS:,} chunks")


def _check_tiff_tiles(file: BinaryIO, head: bytes) -> None:
    """Raise LimitExceeded if the first page has too many strips or tiles, which become Pillow objects.

    A damaged header passes: the decoder refuses it.

    Args:
        file: the file, at position 8.
        head: its first 8 bytes.
    """
    order, big = "<" if head[:2] == b"II" else ">", b"+" in head[2:4]
    offset, count, entry = ("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x")
    start = file.read(8) if big else head[4:]
    if len(start) < struct.calcsize(order + offset):
        return
    file.seek(min(struct.unpack(order + offset, start)[0], MAX_FILE_BYTES))
    number = file.read(struct.calcsize(order + count))
    if len(number) < struct.calcsize(order + count):
        return
    size = struct.calcsize(order + entry)
    entries = file.read(min(struct.unpack(order + count, number)[0], 0xFFFF) * size)
    for tag, _, tiles in struct.iter_unpack(order + entry, entries[: len(entries) // size * size]):
        if tag in (273, 324) and tiles > MAX_TIFF_TILES:  # StripOffsets, TileOffsets
            raise LimitExceeded(
                f"it is a TIFF with {tiles:,} strips or tiles; the limit is {MAX_TIFF_TILES:,}"
            )


def _find_codestream(file: BinaryIO) -> int:
    """Return the position of the codestream in a JP2 file; the file's size if it has none.

    Raises LimitExceeded for too many boxes, or a header too large.
    """
    position = 0
    for _ in range(MAX_JPEG2000_BOXES):
        file.seek(position)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        content = 16 if length == 1 else 8
        if kind == b"jp2c":
            return position + content
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if kind == b"jp2h" and length > MAX_JPEG2000_HEADER_BYTES:
            limit = f"the limit is {MAX_JPEG2000_HEADER_BYTES:,}"
            raise LimitExceeded(f"it is a JPEG 2000 with a header of {length:,} bytes; {limit}")
        if length < content:  # damaged, or the last box
            return file.seek(0, os.SEEK_END)
        position = min(position + length, MAX_FILE_BYTES)
    raise LimitExceeded(f"it is a JPEG 2000 with more than {MAX_JPEG2000_BOXES:,} boxes")


def _check_jpeg2000(file: BinaryIO, start: int) -> None:
    """Raise LimitExceeded if the codestream at `start` has too many tiles. A damaged one passes."""
    file.seek(start)
    sizes = file.read(40)
    if len(sizes) < 40:
        return
    if sizes[:4] != CODESTREAM:
        raise LimitExceeded("it is a JPEG 2000 that does not begin with its sizes")
    # the image ends at (right, bottom); a grid of tiles begins at (left, top)
    right, bottom, _, _, width, height, left, top = struct.unpack(">8I", sizes[8:])
    tiles = -((left - right) // max(1, width)) * -((top - bottom) // max(1, height))
    if tiles > MAX_JPEG2000_TILES:
        raise LimitExceeded(f"it is a JPEG 2000 with {tiles:,} tiles; the limit is {MAX_JPEG2000_TILES:,}")
