"""Make odd photos, each with the pixels that must be read from it or the finding that refuses it."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 180, 30), (30, 30, 220), (220, 220, 30)
WHITE, BLACK, GREY = (255, 255, 255), (0, 0, 0), (99, 99, 99)
Color = tuple[int, int, int]

# {EXIF orientation: colors of the displayed corners, top left, top right, bottom left, bottom right}. The
# comments quote the standard: where row 0 and column 0 of the file are displayed.
DISPLAYED = {
    1: (RED, GREEN, BLUE, YELLOW),
    2: (GREEN, RED, YELLOW, BLUE),  # row 0 top, column 0 right
    3: (YELLOW, BLUE, GREEN, RED),  # bottom, right
    4: (BLUE, YELLOW, RED, GREEN),  # bottom, left
    5: (RED, BLUE, GREEN, YELLOW),  # left, top
    6: (BLUE, RED, YELLOW, GREEN),  # right, top
    7: (YELLOW, GREEN, BLUE, RED),  # right, bottom
    8: (GREEN, YELLOW, RED, BLUE),  # left, bottom
}


@dataclass(frozen=True)
class Odd:
    """A file, with the image that must be read from it or the finding that refuses it.

    Attributes:
        make: returns the bytes.
        size: width, height.
        corners: colors at top left, top right, bottom left, bottom right.
        by: tolerance of a lossy format, in levels of 256.
        finding: kind that `check` reports; "" for a photo that can be read.
    """

    name: str
    make: Callable[[], bytes]
    size: tuple[int, int] = (24, 16)
    corners: tuple[Color, Color, Color, Color] = (RED, RED, RED, RED)
    by: int = 0
    finding: str = ""


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(color: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (24, 16)) -> Image.Image:
    return Image.new(mode, size, color if len(color) > 1 else color[0])


def corners(scale: int = 1) -> Image.Image:
    """Draw red, green, blue and yellow corners: top left, top right, bottom left, bottom right."""
    image, width, height = Image.new("RGB", (48 * scale, 32 * scale)), 24 * scale, 16 * scale
    for color, (x, y) in ((RED, (0, 0)), (GREEN, (1, 0)), (BLUE, (0, 1)), (YELLOW, (1, 1))):
        image.paste(color, (x * width, y * height, (x + 1) * width, (y + 1) * height))
    return image


def lying(kind: str, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = corners()
    if kind == "HEIF":  # pillow-heif writes the orientation into HEIF's own entry
        image.info["exif"] = exif.tobytes()
        return saved(image, kind, **options)
    return saved(image, kind, exif=exif, **options)


def swapped_profile() -> bytes:
    """Return sRGB with red and green exchanged: ignoring it gives the wrong color."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    entries = {
        bytes(profile[at : at + 4]): at
        for at in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12)
    }
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *before: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, color, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + body


def ycck() -> bytes:
    y, cb, cr = flat(RED).convert("YCbCr").getpixel((0, 0))  # type: ignore[misc]
    content = bytearray(saved(flat((y, cb, cr, 0), "CMYK"), "JPEG", quality=95, subsampling=0))
    content[content.index(b"Adobe") + 11] = 2  # Adobe's marker: these four channels are YCCK
    return bytes(content)


def sixteen_bit_color() -> bytes:
    rows = b"".join(b"\0" + struct.pack(">3H", 56_320, 7_680, 7_700) * 24 for _ in range(16))
    return png(24, 16, 16, 2, rows)


def sixteen_bits_with_transparency() -> bytes:
    rows = (b"\0" + struct.pack(">H", 25_500) * 24) * 16
    return png(24, 16, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 25_500)))


def numbers(value: float, kind: type, largest: float | None = None) -> bytes:
    """Return a TIFF of one value, with one pixel of the `largest` value in the middle."""
    pixels = np.full((16, 24), value, kind)
    if largest is not None:
        pixels[8, 12] = largest
    return saved(Image.fromarray(pixels), "TIFF")


def lab() -> bytes:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    image = ImageCms.profileToProfile(flat(RED), *profiles, outputMode="LAB")
    assert image is not None
    return saved(image, "TIFF")


def animated(kind: str, **options: object) -> bytes:
    return saved(flat(RED), kind, save_all=True, append_images=[flat(BLUE), flat(GREEN)], **options)


def noisy(kind: str, **options: object) -> bytes:
    """Return a photo of noise, so large that half of its bytes lack pixels in every format."""
    pixels = np.random.default_rng(5).integers(0, 256, (96, 128, 3), np.uint8)
    return saved(Image.fromarray(pixels), kind, **options)


def half(kind: str, **options: object) -> bytes:
    content = noisy(kind, **options)
    return content[: len(content) // 2]


def many_passes(passes: int, side: int) -> bytes:
    content = saved(Image.new("RGB", (side, side)), "JPEG", progressive=True, subsampling=0)
    last, end = content.rindex(b"\xff\xda"), content.rindex(b"\xff\xd9")
    return content[:end] + content[last:end] * passes + content[end:]


def run_lengths(width: int, height: int, body: bytes, index: int = 0) -> bytes:
    palette = bytes(3 * [index] + [0]) * 256
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + head + palette + body


def tiff(entries: list[tuple[int, int, int, int]], body: bytes) -> bytes:
    """Return a little-endian TIFF: the body at byte 8, then one page of (tag, type, count, value)."""
    page = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    start = struct.pack("<I", 8 + len(body))
    return b"II*\0" + start + body + struct.pack("<H", len(entries)) + page + bytes(4)


def tiff_of_strips(width: int, height: int, strips: int) -> bytes:
    kinds = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    places = [(322, 4, 1, 1), (323, 4, 1, 1), (324, 4, strips, 8), (325, 4, strips, 8)]
    return tiff(kinds + places, struct.pack("<I", 8) * min(strips, 300_000))


def gif_screen(width: int, height: int) -> bytes:
    content = bytearray(saved(flat((9,), "L"), "GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def text_bomb() -> bytes:
    squeezed = zlib.compress(bytes(50_000_000), 9)
    return png(24, 16, 8, 2, (b"\0" + bytes(RED) * 24) * 16, chunk(b"zTXt", b"a\0\0" + squeezed))


def photo(color: Color = RED, **options: object) -> bytes:
    return saved(flat(color), "JPEG", quality=95, **options)


def all_of(color: Color) -> tuple[Color, Color, Color, Color]:
    return (color, color, color, color)


def _read() -> list[Odd]:
    rows = [
        Odd(f"orientation {o}.jpg", lambda o=o: lying("JPEG", o, quality=95), (48, 32), DISPLAYED[o], 40)  # type: ignore[misc]
        for o in (1, 2, 3, 4)
    ]
    for o in (5, 6, 7, 8):
        rows.append(
            Odd(f"orientation {o}.jpg", lambda o=o: lying("JPEG", o, quality=95), (32, 48), DISPLAYED[o], 40)
        )  # type: ignore[misc]
    for kind in ("PNG", "WEBP", "TIFF", "AVIF", "HEIF"):
        rows.append(Odd(f"lying.{kind.lower()}", lambda k=kind: lying(k, 6), (32, 48), DISPLAYED[6], 40))  # type: ignore[misc]
    rows += [
        Odd("lying, packed.tif", lambda: lying("TIFF", 8, compression="tiff_lzw"), (32, 48), DISPLAYED[8]),
        Odd("cmyk.jpg", lambda: saved(flat(RED).convert("CMYK"), "JPEG", quality=95), by=6),
        Odd("cmyk.tif", lambda: saved(flat(RED).convert("CMYK"), "TIFF"), by=2),
        Odd("ycck.jpg", ycck, by=6),
        Odd("grey.jpg", lambda: saved(flat((99,), "L"), "JPEG"), corners=all_of(GREY), by=3),
        Odd("grey.png", lambda: saved(flat((99,), "L"), "PNG"), corners=all_of(GREY)),
        Odd("one bit.png", lambda: saved(flat((1,), "1"), "PNG"), corners=all_of(WHITE)),
        Odd("a fax.tif", lambda: saved(flat((0,), "1"), "TIFF", compression="group4"), corners=all_of(BLACK)),
        Odd("16 bits.png", lambda: png(24, 16, 16, 0, (b"\0" + b"\x63\x80" * 24) * 16), corners=all_of(GREY)),
        Odd("16 bits.tif", lambda: numbers(99 * 256 + 77, np.uint16), corners=all_of(GREY)),
        Odd("16 bits of color.png", sixteen_bit_color, corners=all_of((220, 30, 30))),
        Odd("16 bits, transparent.png", sixteen_bits_with_transparency, corners=all_of(WHITE)),
        Odd("float to 1.tif", lambda: numbers(99 / 255, np.float32, 1), corners=all_of(GREY)),
        Odd("float to 255.tif", lambda: numbers(99, np.float32, 255), corners=all_of(GREY)),
        Odd("float to 65535.tif", lambda: numbers(99 * 257, np.float32, 65_535), corners=all_of(GREY)),
        Odd("float beyond.tif", lambda: numbers(99e4, np.float32, 255e4), corners=all_of(WHITE)),
        Odd(
            "float without a number.tif", lambda: numbers(99 / 255, np.float32, np.nan), corners=all_of(GREY)
        ),
        Odd("float below zero.tif", lambda: numbers(-3, np.float32, 1), corners=all_of(BLACK)),
        Odd("32 bits.tif", lambda: numbers(99 * 257, np.int32, 65_535), corners=all_of(GREY)),
        Odd("palette.png", lambda: saved(flat(RED).quantize(4), "PNG")),
        Odd("palette.gif", lambda: saved(flat(RED).quantize(4), "GIF")),
        Odd("palette.bmp", lambda: saved(flat(RED).quantize(4), "BMP")),
        Odd(
            "clear palette.gif", lambda: saved(flat((5,), "P"), "GIF", transparency=5), corners=all_of(WHITE)
        ),
        Odd(
            "clear palette.png",
            lambda: saved(flat(RED).quantize(4), "PNG", transparency=0),
            corners=all_of(WHITE),
        ),
        Odd("clear color.png", lambda: saved(flat(RED), "PNG", transparency=RED), corners=all_of(WHITE)),
        Odd(
            "alpha.png",
            lambda: saved(flat((0, 0, 200, 51), "RGBA"), "PNG"),
            (24, 16),
            all_of((204, 204, 244)),
            1,
        ),
        Odd(
            "alpha.webp",
            lambda: saved(flat((0, 0, 200, 51), "RGBA"), "WEBP", lossless=True),
            corners=all_of((204, 204, 244)),
            by=1,
        ),
        Odd(
            "alpha.tif",
            lambda: saved(flat((0, 0, 200, 51), "RGBA"), "TIFF"),
            corners=all_of((204, 204, 244)),
            by=1,
        ),
        Odd(
            "grey with alpha.png",
            lambda: saved(flat((0, 51), "LA"), "PNG"),
            corners=all_of((204, 204, 204)),
            by=1,
        ),
        Odd("profile.jpg", lambda: photo((30, 220, 30), icc_profile=swapped_profile()), by=6),
        Odd("profile.png", lambda: saved(flat((30, 220, 30)), "PNG", icc_profile=swapped_profile()), by=6),
        Odd("broken profile.jpg", lambda: photo(icc_profile=swapped_profile()[:300]), by=6),
        Odd(
            "color profile of a grey photo.png",
            lambda: saved(flat((99,), "L"), "PNG", icc_profile=swapped_profile()),
            (24, 16),
            all_of(GREY),
        ),
        Odd("lab.tif", lab, by=6),
        Odd("animated.gif", lambda: animated("GIF")),
        Odd("animated.webp", lambda: animated("WEBP", lossless=True)),
        Odd("animated.png", lambda: animated("PNG")),
        Odd("pages.tif", lambda: animated("TIFF")),
        Odd("two views.jpg", lambda: animated("MPO", quality=95), by=6),
        Odd("photo.avif", lambda: saved(flat(RED), "AVIF", quality=90), by=12),
        Odd("photo.heic", lambda: saved(flat(RED), "HEIF", quality=90), by=12),
        Odd(
            "run lengths.bmp",
            lambda: run_lengths(24, 16, (b"\x18\7\0\0") * 16 + b"\0\1", 99),
            corners=all_of(GREY),
        ),
        Odd("packed.tif", lambda: saved(flat(RED), "TIFF", compression="tiff_adobe_deflate")),
        Odd("a jpeg inside.tif", lambda: saved(flat(RED), "TIFF", compression="jpeg", quality=95), by=6),
        Odd("progressive.jpg", lambda: photo(progressive=True), by=6),
        Odd("really a png.jpg", lambda: saved(flat(RED), "PNG")),
        Odd("really a jpeg.heic", photo, by=6),
        Odd("REALLY A GIF.TIFF", lambda: saved(flat(RED).quantize(4), "GIF")),
        Odd("bytes after its end.jpg", lambda: photo() + b"\xff\xda moving picture" * 2000, by=6),
        Odd("damaged metadata.jpg", lambda: photo(exif=b"Exif\0\0" + b"\xff" * 40), by=6),
        Odd("wavelets.jpg", lambda: saved(flat(RED), "JPEG2000"), by=2),
        Odd("map.ppm", lambda: saved(flat(RED), "PPM")),
        Odd("one pixel.png", lambda: saved(flat(RED, size=(1, 1)), "PNG"), (1, 1)),
        Odd("very wide.png", lambda: saved(flat(RED, size=(2000, 3)), "PNG"), (2000, 3)),
    ]
    names = (
        "a b  c.jpg",
        "猫 图.jpg",
        "🐱👩‍🚀.jpg",
        "line\nbreak\r\t.jpg",
        "-rf.jpg",
        "--json.jpg",
        "a'b\"c`$(x).jpg",
    )
    more = (
        "*?[1]{a,b}.jpg",
        "%s %00 \\n.jpg",
        "\udcff\udcfe no utf-8.jpg",
        "n" * 251 + ".jpg",
        "ünï.JPG",
        "~root.jpg",
    )
    return rows + [Odd(name, photo, by=6) for name in names + more]


def jpeg2000_of_tiles() -> bytes:
    """Return a JPEG 2000 of 200 x 60 pixels that claims tiles of one pixel."""
    content = saved(Image.new("RGB", (200, 60), RED), "JPEG2000")
    sizes = struct.pack(">8I", 200, 60, 0, 0, 200, 60, 0, 0)
    assert content.find(sizes) == 85 + 8  # the codestream begins at 85
    return content.replace(sizes, struct.pack(">8I", 200, 60, 0, 0, 1, 1, 0, 0))


def with_boxes(count: int, header: int | None = None) -> bytes:
    """Return a JPEG 2000 with empty boxes before its header, and with another length of that one."""
    content = saved(flat(RED), "JPEG2000")
    start = content.find(b"jp2h") - 4
    length = content[start : start + 4] if header is None else struct.pack(">I", header)
    return content[:start] + b"\0\0\0\x08free" * count + length + content[start + 4 :]


def _refused() -> list[Odd]:
    none, cut, broken = "not an image", "truncated", "unreadable"
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\nshowpage\n%%EOF\n"
    grey = (b"\0" + b"\7" * 24) * 16
    rows: list[tuple[str, Callable[[], bytes], str]] = [
        ("nothing.jpg", lambda: b"", "empty file"),
        ("zeros.jpg", lambda: bytes(5000), none),
        ("text.jpg", lambda: b"this is no photo\n" * 50, none),
        ("a page.jpg", lambda: b"<!DOCTYPE html><html><body>404</body></html>", none),
        ("drawing.png", lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", none),
        ("postscript.jpg", lambda: postscript, none),
        ("document.jpg", lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n", none),
        (
            "layers.tif",
            lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 16, 24, 8, 3) + bytes(99),
            none,
        ),
        ("icon.png", lambda: saved(flat(RED), "ICO"), none),
        ("targa.bmp", lambda: saved(flat(RED), "TGA"), none),
        ("random.jpg", lambda: np.random.default_rng(9).bytes(5000), none),
        ("half.jpg", lambda: half("JPEG"), cut),
        ("half, progressive.jpg", lambda: half("JPEG", progressive=True), cut),
        ("half.png", lambda: half("PNG"), cut),
        ("half.gif", lambda: half("GIF"), cut),
        ("half.webp", lambda: half("WEBP"), cut),
        ("half.bmp", lambda: half("BMP"), cut),
        ("half.tif", lambda: half("TIFF"), cut),
        ("half.avif", lambda: half("AVIF"), cut),
        ("half.heic", lambda: half("HEIF"), cut),
        ("a head.jpg", lambda: noisy("JPEG")[:20], broken),
        ("no height.jpg", lambda: photo().replace(b"\x08\0\x10\0\x18", b"\x08\0\0\0\x18"), broken),
        ("huge.png", lambda: png(20_000, 20_000, 8, 0, grey), broken),
        ("huge.gif", lambda: gif_screen(65_535, 65_535), broken),
        (
            "huge.tif",
            lambda: tiff(
                [
                    (256, 4, 1, 10**9),
                    (257, 4, 1, 10**9),
                    (258, 3, 1, 8),
                    (259, 3, 1, 1),
                    (262, 3, 1, 1),
                    (273, 4, 1, 8),
                    (278, 4, 1, 16),
                    (279, 4, 1, 384),
                ],
                grey,
            ),
            broken,
        ),
        ("strips.tif", lambda: tiff_of_strips(1000, 300, 300_000), broken),
        ("more strips than bytes.tif", lambda: tiff_of_strips(60_000, 4_000, 240_000_000), broken),
        ("a text of 50 MB.png", text_bomb, broken),
        ("chunks.png", lambda: png(24, 16, 8, 0, grey, chunk(b"tEXt", b"a\0b") * 200_001), broken),
        ("a thousand passes.jpg", lambda: many_passes(1000, 1000), broken),
        ("tiles.jp2", lambda: jpeg2000_of_tiles(), broken),
        ("tiles.j2k", lambda: jpeg2000_of_tiles()[85:], broken),
        ("boxes.jp2", lambda: with_boxes(10_001), broken),
        ("a header.jp2", lambda: with_boxes(0, header=5_000_000), broken),
        ("large, as text.ppm", lambda: b"P3 10000 1001 255\n" + b"7 " * 99, broken),
        ("large, of run lengths.bmp", lambda: run_lengths(20_000, 10_000, b"\1\0\0\0" * 10_000), broken),
    ]
    return [Odd(name, make, finding=finding) for name, make, finding in rows]


READ, REFUSED = _read(), _refused()
