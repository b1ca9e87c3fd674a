"""Small photos of every format, and random damage to them by seed; also for benchmarks/fuzz_photos.py."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import numpy as np
from odd_files import lying, saved, swapped_profile
from PIL import Image

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF")
MARKERS = bytes([0xC0, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xD8, 0xD9, 0xE0, 0xE1, 0xE2, 0xFE, 0xD0, 0x00])
SIZES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def whole_photos() -> list[tuple[str, bytes]]:
    """Return (format, bytes) of photos with metadata, profiles, alpha, palettes and several frames."""
    noise = np.random.default_rng(7).integers(0, 256, (40, 56, 4), np.uint8)
    image = Image.fromarray(noise).convert("RGB").resize((112, 80))
    alpha = Image.fromarray(noise)
    frames = [image.transpose(Image.Transpose.ROTATE_180), image]
    profile = swapped_profile()
    photos = [(kind, saved(image, kind)) for kind in KINDS] + [
        (kind, lying(kind, 6)) for kind in KINDS if kind not in ("GIF", "BMP")
    ]
    photos += [(kind, saved(alpha, kind)) for kind in ("PNG", "WEBP", "TIFF", "AVIF", "HEIF")]
    photos += [(kind, saved(image, kind, icc_profile=profile)) for kind in ("JPEG", "PNG", "WEBP", "TIFF")]
    photos += [
        (kind, saved(image, kind, save_all=True, append_images=frames))
        for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO")
    ]
    photos += [
        ("JPEG", saved(image, "JPEG", progressive=True)),
        ("JPEG", saved(image.convert("CMYK"), "JPEG")),
    ]
    photos += [
        ("TIFF", saved(image, "TIFF", compression=way))
        for way in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")
    ]
    photos += [("TIFF", saved(image.convert("1"), "TIFF", compression="group4"))]
    photos += [
        ("TIFF", saved(Image.fromarray(noise[..., 0].astype(kind)), "TIFF"))
        for kind in (np.float32, np.uint16, np.int32)
    ]
    photos += [(kind, saved(image.quantize(16), kind)) for kind in ("PNG", "BMP", "TIFF")]
    photos += [("PNG", saved(Image.fromarray(noise[..., 0].astype(np.uint16) * 257), "PNG"))]
    return photos


def damaged(photos: list[tuple[str, bytes]], seed: int) -> tuple[str, bytes]:
    """Return (format, bytes) of a random photo with one to four random changes."""
    draw = random.Random(seed)
    kind, content = draw.choice(photos)
    for _ in range(draw.choice((1, 1, 2, 4))):
        change = draw.choice(CHANGES)
        content = change(content, draw, photos)
    return kind, content


Photos = list[tuple[str, bytes]]


def _place(content: bytes, draw: random.Random) -> int:
    """Return a random position, half of the time in the first kilobyte, where the headers are."""
    most = len(content) if draw.random() < 0.5 else min(len(content), 1024)
    return draw.randrange(most) if most else 0


def _put(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def _flip_bits(content: bytes, draw: random.Random, _: Photos) -> bytes:
    changed = bytearray(content)
    for _flip in range(draw.choice((1, 3, 30))):
        if changed:
            changed[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, draw: random.Random, _: Photos) -> bytes:
    return _put(content, _place(content, draw), draw.randbytes(draw.choice((1, 2, 4, 64))))


def _cut(content: bytes, draw: random.Random, _: Photos) -> bytes:
    return content[: _place(content, draw)]


def _drop(content: bytes, draw: random.Random, _: Photos) -> bytes:
    place = _place(content, draw)
    return content[:place] + content[place + draw.choice((1, 4, 100)) :]


def _repeat(content: bytes, draw: random.Random, _: Photos) -> bytes:
    place, length = _place(content, draw), draw.choice((4, 100, 2000))
    return (
        content[:place] + content[place : place + length] * draw.choice((2, 20)) + content[place + length :]
    )


def _splice(content: bytes, draw: random.Random, photos: Photos) -> bytes:
    other = draw.choice(photos)[1]
    return content[: _place(content, draw)] + other[_place(other, draw) :]


def _change_size(content: bytes, draw: random.Random, _: Photos) -> bytes:
    """Overwrite two or four bytes with a number that may be a length, in either byte order."""
    form = draw.choice(("<H", ">H", "<I", ">I"))
    most = 0xFFFF if form[1] == "H" else 0xFFFFFFFF
    return _put(content, _place(content, draw), struct.pack(form, min(draw.choice(SIZES), most)))


def _change_name(content: bytes, draw: random.Random, _: Photos) -> bytes:
    """Overwrite the length or the name of a chunk, a segment or a box."""
    marks = [at for at in range(len(content) - 8) if content[at] == 0xFF or content[at : at + 4].isalpha()]
    if not marks:
        return content
    place = draw.choice(marks)
    if content[place] == 0xFF:
        new = bytes([0xFF, draw.choice(MARKERS)]) + (draw.randbytes(2) if draw.random() < 0.5 else b"")
        return _put(content, place, new)
    if draw.random() < 0.5 and place >= 4:
        return _put(content, place - 4, struct.pack(draw.choice("<>") + "I", draw.choice(SIZES)))
    return _put(
        content, place, draw.choice((b"IDAT", b"IEND", b"tRNS", b"iCCP", b"acTL", b"meta", b"mdat", b"ALPH"))
    )


CHANGES: tuple[Callable[[bytes, random.Random, Photos], bytes], ...] = (
    *(_flip_bits, _overwrite, _cut, _drop, _repeat, _splice, _change_size, _change_name),
)
