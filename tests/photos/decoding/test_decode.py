"""decode: one upright sRGB image from files of any format, and an error for other content."""

import contextlib
import io
import os
import struct
import threading
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from damage import damaged, whole_photos
from hypothesis import given
from hypothesis import strategies as st
from odd_files import BLUE, GREEN, READ, RED, REFUSED, YELLOW, Odd, corners, flat, saved, swapped_profile
from PIL import Image, ImageCms, features

from reslab.errors import PhotosError
from reslab.photos.decoding import limits
from reslab.photos.decoding.decode import (
    FORMATS,
    MAX_ASPECT_RATIO,
    MIN_REDUCED_OVERSIZE,
    SUFFIXES,
    Truncated,
    decode,
)
from reslab.photos.decoding.limits import MAX_PIXELS


def color_of(content: bytes) -> tuple[int, int, int]:
    image = decode(content)
    assert (image.mode, image.size) == ("RGB", (24, 16))
    return image.getpixel((12, 8))  # type: ignore[return-value]


def near(one: tuple[int, ...], other: tuple[int, ...], by: int = 6) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= by


# Corners of the upright image (top left, top right, bottom left, bottom right) by EXIF orientation.
# The comments are the standard's words for the visual position of row 0 and column 0.
CORNERS = {
    1: (RED, GREEN, BLUE, YELLOW),
    2: (GREEN, RED, YELLOW, BLUE),  # row 0 top, column 0 right
    3: (YELLOW, BLUE, GREEN, RED),  # bottom, right
    4: (BLUE, YELLOW, RED, GREEN),  # bottom, left
    5: (RED, BLUE, GREEN, YELLOW),  # left, top
    6: (BLUE, RED, YELLOW, GREEN),  # right, top
    7: (YELLOW, GREEN, BLUE, RED),  # right, bottom
    8: (GREEN, YELLOW, RED, BLUE),  # left, bottom
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", sorted(CORNERS))
def test_a_photo_is_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(saved(corners(), kind, exif=exif, quality=95))
    width, height = image.size
    assert (width, height) == ((32, 48) if orientation > 4 else (48, 32))
    places = [(4, 4), (width - 5, 4), (4, height - 5), (width - 5, height - 5)]
    seen = [image.getpixel(place) for place in places]
    assert all(near(a, b, 40) for a, b in zip(seen, CORNERS[orientation], strict=True)), seen  # type: ignore[arg-type]


@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40])
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    assert near(color_of(saved(flat(RED), "JPEG", exif=exif)), RED)


def test_an_undefined_orientation_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert decode(saved(corners(), "PNG", exif=exif)).tobytes() == corners().tobytes()


def test_every_color_mode_becomes_srgb() -> None:
    cmyk = flat(RED).convert("CMYK")
    assert near(color_of(saved(cmyk, "JPEG", quality=95)), RED)
    assert near(color_of(saved(cmyk, "TIFF")), RED)
    assert near(color_of(saved(flat(RED).convert("YCbCr"), "JPEG", quality=95)), RED)
    assert color_of(saved(flat((99,), "L"), "PNG")) == (99, 99, 99)
    assert color_of(saved(flat((1,), "1"), "PNG")) == (255, 255, 255)
    assert color_of(saved(flat((0,), "1"), "TIFF")) == (0, 0, 0)
    assert color_of(saved(flat(RED).quantize(4), "PNG")) == RED
    assert color_of(saved(flat(RED).quantize(4), "GIF")) == RED
    assert color_of(saved(flat(RED).quantize(4), "BMP")) == RED
    lab = ImageCms.profileToProfile(
        flat(RED), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert near(color_of(saved(lab, "TIFF")), RED)


def test_a_ycck_jpeg_becomes_srgb() -> None:
    y, cb, cr = flat(RED).convert("YCbCr").getpixel((0, 0))  # type: ignore[misc]
    content = bytearray(saved(flat((y, cb, cr, 0), "CMYK"), "JPEG", quality=95, subsampling=0))
    content[content.index(b"Adobe") + 11] = 2  # Adobe's marker: these four channels are YCCK
    assert near(color_of(bytes(content)), RED)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("value", [0, 255, 256, 40_000, 65_535])
def test_16_bit_grey_keeps_the_upper_8_bits(kind: str, value: int) -> None:
    image = Image.fromarray(np.full((16, 24), value, np.uint16))
    assert color_of(saved(image, kind)) == (value // 256,) * 3
    assert decode(saved(image, kind), "L").getpixel((3, 3)) == value // 256


def test_16_bit_color_keeps_the_upper_8_bits() -> None:
    rows = b"".join(b"\0" + struct.pack(">3H", 56_320, 7_680, 65_535) * 24 for _ in range(16))
    parts = {
        b"IHDR": struct.pack(">2I5B", 24, 16, 16, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    )
    assert color_of(content) == (220, 30, 255)


def test_transparency_is_blended_over_white() -> None:
    assert near(color_of(saved(flat((0, 0, 200, 0), "RGBA"), "PNG")), (255, 255, 255), 0)
    assert near(color_of(saved(flat((0, 0, 200, 51), "RGBA"), "PNG")), (204, 204, 244), 1)
    assert near(color_of(saved(flat((0, 0, 200, 51), "RGBA"), "WEBP", lossless=True)), (204, 204, 244), 1)
    assert near(color_of(saved(flat((0, 51), "LA"), "PNG")), (204, 204, 204), 1)
    assert color_of(saved(flat(RED), "PNG", transparency=RED)) == (255, 255, 255)
    assert color_of(saved(flat((9,), "L"), "PNG", transparency=9)) == (255, 255, 255)
    assert color_of(saved(flat((5,), "P"), "GIF", transparency=5)) == (255, 255, 255)
    assert decode(saved(flat((0, 51), "LA"), "PNG"), "L").getpixel((3, 3)) == 204


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_color_profile_is_applied(kind: str) -> None:
    profile = swapped_profile()
    image = flat((30, 220, 30))
    assert near(color_of(saved(image, kind, icc_profile=profile, quality=95)), (220, 30, 30))
    image.putalpha(255)
    assert near(color_of(saved(image, "PNG", icc_profile=profile)), (220, 30, 30))


def test_a_broken_or_unsuitable_profile_is_ignored() -> None:
    for profile in (b"nonsense", swapped_profile()[:300]):
        assert color_of(saved(flat(RED), "PNG", icc_profile=profile)) == RED
    assert color_of(saved(flat((99,), "L"), "PNG", icc_profile=swapped_profile())) == (99, 99, 99)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_read(kind: str) -> None:
    others = [flat(BLUE), flat(GREEN)]
    content = saved(
        flat(RED), kind, save_all=True, append_images=others, **({"lossless": True} if kind == "WEBP" else {})
    )
    assert color_of(content) == RED


def test_all_formats_are_read() -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    assert features.check("avif")  # in Pillow's wheels
    for kind in FORMATS:
        assert near(color_of(saved(flat(RED), kind)), RED, 12), kind
    assert ".jpg" in SUFFIXES


def test_the_content_decides_about_the_format(tmp_path: Path) -> None:
    path = tmp_path / "really a png.jpg"
    path.write_bytes(saved(flat(RED), "PNG"))
    assert decode(path).tobytes() == decode(path.read_bytes()).tobytes() == flat(RED).tobytes()


def test_mode_l_gives_grey() -> None:
    grey = decode(saved(corners(), "PNG"), "L")
    assert grey.mode == "L"
    assert grey.tobytes() == corners().convert("L").tobytes()


JPEG = saved(corners(), "JPEG")
LARGE = saved(corners().resize((480, 320)), "JPEG")
BAD = {
    "nothing": (b"", "zero bytes"),
    "text": (b"this is no photo\n" * 50, "its format is not one of JPEG, PNG"),
    "half a JPEG": (LARGE[: len(LARGE) // 2], "image file is truncated"),
    "half a PNG": (saved(corners(), "PNG")[:90], "truncated|unexpected end|broken"),
    "half a GIF": (saved(corners(), "GIF")[:60], "truncated|not processed|EOF"),
    "half a WebP": (saved(corners(), "WEBP")[:60], "decod|truncated|not one of|image"),
    "the head of a JPEG": (JPEG[:20], "it begins as a JPEG does"),
    "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "its format is not one of"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_photo_is_an_error_with_path_and_reason(name: str, tmp_path: Path) -> None:
    content, why = BAD[name]
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotosError, match=why) as caught:
        decode(path)
    assert str(caught.value).startswith(f"{path} cannot be read as a photo\n  why: ")
    assert caught.value.do == "remove or replace it"
    with pytest.raises(PhotosError, match="^the photo cannot be read as a photo"):
        decode(content)


@given(st.integers(0, len(JPEG) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_photo_is_an_image_or_an_error(place: int, damage: bytes) -> None:
    with contextlib.suppress(PhotosError):
        assert decode(JPEG[:place] + damage + JPEG[place + len(damage) :]).mode == "RGB"


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(PhotosError, match=r"^there is no photo nowhere/1\.jpg\n  do:  check the path$"):
        decode(Path("nowhere/1.jpg"))


@pytest.mark.parametrize("name", ["x" * 300, "nul\0.jpg", os.fsdecode(b"\xff.jpg")])
def test_any_file_name_gives_an_error(name: str) -> None:
    with pytest.raises(PhotosError):
        decode(Path(name))


def test_a_decompression_bomb_is_refused_before_decoding() -> None:
    side = 20_000
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    content += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + b"\0\0\0\x01IDAT\0" + struct.pack(">I", 0)
    with pytest.raises(
        PhotosError, match=r"not decoded\n  why: it has 20000 x 20000 pixels; the limit is 250,000,000"
    ):
        decode(content)
    assert side * side > MAX_PIXELS


def test_pillows_own_limit_is_lifted_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(JPEG).size == (48, 32)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(JPEG))


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 16\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_never_reaches_ghostscript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = tmp_path / "gs"
    ghost.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-called\n")
    ghost.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    path = tmp_path / "photo.jpg"
    path.write_bytes(POSTSCRIPT)
    for photo in (path, POSTSCRIPT):
        with pytest.raises(PhotosError, match="its format is not one of JPEG"):
            decode(photo)
    assert not (tmp_path / "was-called").exists()
    with Image.open(path) as opened, contextlib.suppress(OSError):
        opened.load()  # the trap works: Pillow by itself calls it
    assert (tmp_path / "was-called").exists()


def error_in_time(photo: Path) -> PhotosError:
    """Return the error within ten seconds; in a thread, so that a hanging call fails the test."""
    answers: list[BaseException] = []

    def ask() -> None:
        try:
            decode(photo)
        except PhotosError as error:
            answers.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(10)
    assert answers, f"decode({photo}) hangs"
    assert isinstance(answers[0], PhotosError)
    return answers[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_devices_and_folders_are_errors_at_once(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe.jpg", tmp_path / "link.jpg"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link, Path("/dev/zero"), Path("/dev/null")):
        assert error_in_time(path).why == "it is a pipe or a device, not a file"
    assert error_in_time(tmp_path).why == "it is a folder"


def test_links_are_followed_and_a_loop_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(saved(flat(RED), "PNG"))
    (tmp_path / "link").symlink_to("photo.png")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert decode(tmp_path / "link").tobytes() == flat(RED).tobytes()
    assert "symbolic links" in error_in_time(tmp_path / "loop.jpg").why


def test_threads_decode_at_once_and_restore_global_state(
    photo_folder: Callable[..., Path],
) -> None:
    good = sorted(photo_folder(train=12).rglob("*.jpg"))
    expected = [decode(path).tobytes() for path in good]
    limit, filters, show = Image.MAX_IMAGE_PIXELS, list(warnings.filters), warnings.showwarning

    def read(index: int) -> bool:
        if index % 5 == 4:  # errors restore as well
            with pytest.raises(PhotosError):
                decode(b"no photo")
            return True
        return decode(good[index % 12]).tobytes() == expected[index % 12]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(read, range(400)))
    assert limit == Image.MAX_IMAGE_PIXELS
    assert warnings.filters == filters
    assert warnings.showwarning is show
    with pytest.warns(UserWarning, match="still heard"):
        warnings.warn("still heard", UserWarning, stacklevel=1)


def test_decoding_gives_no_warnings(recwarn: pytest.WarningsRecorder) -> None:
    noisy = saved(flat((5,), "P"), "PNG", transparency=bytes(range(256)))  # Pillow warns about this one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(noisy)
    assert not recwarn.list


@given(st.integers(1, 50), st.integers(1, 50), st.sampled_from([1, 2, 3, 4, 8]), st.integers(1, 200))
def test_the_reduction_of_a_jpeg_follows_from_its_sides(
    across: int, down: int, unit: int, shrunk_to: int
) -> None:
    sides = across * unit, down * unit
    photo = saved(Image.new("L", sides, 99), "JPEG")
    assert decode(photo).size == sides
    seen = decode(photo, shrunk_to=shrunk_to)
    by = sides[0] // seen.width
    assert by in (1, 2, 4, 8)
    assert (seen.width * by, seen.height * by) == sides
    assert by == 1 or min(seen.size) >= MIN_REDUCED_OVERSIZE * shrunk_to
    if by == 1:
        assert seen.tobytes() == decode(photo).tobytes()
    more = [n for n in (2, 4, 8) if n > by and all(side % n == 0 for side in sides)]
    if max(sides) <= MAX_ASPECT_RATIO * min(sides):
        assert all(min(sides) / n < MIN_REDUCED_OVERSIZE * shrunk_to for n in more)
    else:
        assert by == 1


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - {"JPEG", "MPO"}))
def test_other_formats_are_not_reduced(kind: str) -> None:
    pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    photo = saved(corners(4), kind)
    assert decode(photo, shrunk_to=1).tobytes() == decode(photo).tobytes()


def test_a_reduced_jpeg_is_upright_and_has_its_colors() -> None:
    large, exif = corners(8), Image.Exif()  # 384 x 256: an eighth is enough for 10
    photos = {
        "progressive": saved(large, "JPEG", progressive=True),
        "4:2:2": saved(large, "JPEG", subsampling="4:2:2"),
        "grey": saved(large.convert("L"), "JPEG"),
        "CMYK": saved(large.convert("CMYK"), "JPEG"),
        "a profile": saved(large, "JPEG", icc_profile=swapped_profile()),
        "two views": saved(large, "MPO", save_all=True, append_images=[flat(BLUE)]),
    }
    for orientation in CORNERS:
        exif[0x0112] = orientation
        photos[f"orientation {orientation}"] = saved(large, "JPEG", exif=exif)
    for name, photo in photos.items():
        full, reduced = decode(photo), decode(photo, shrunk_to=10)
        assert (reduced.width * 8, reduced.height * 8) == full.size, name
        for x in (4, reduced.width - 5):
            for y in (4, reduced.height - 5):
                one, other = reduced.getpixel((x, y)), full.getpixel((x * 8 + 4, y * 8 + 4))
                assert near(one, other, 3), name  # type: ignore[arg-type]


def outcome(photo: bytes, truncated: Truncated, shrunk_to: int | None) -> str:
    """The error, or "an image"."""
    try:
        decode(photo, truncated=truncated, shrunk_to=shrunk_to)
    except PhotosError as error:
        return str(error)
    return "an image"


@pytest.mark.parametrize("odd", READ + REFUSED, ids=lambda odd: ascii(odd.name)[:40])
def test_an_odd_file_has_the_same_outcome_with_and_without_reduction(odd: Odd) -> None:
    if odd.name.endswith((".heic", "lying.heif")):
        pytest.importorskip("pillow_heif")
    photo = odd.make()
    assert outcome(photo, "refuse", 1) == outcome(photo, "refuse", None)


@pytest.mark.slow
def test_a_damaged_jpeg_has_the_same_outcome_with_and_without_reduction() -> None:
    pytest.importorskip("pillow_heif")
    whole = [(kind, photo) for kind, photo in whole_photos() if kind in ("JPEG", "MPO")]  # 112 x 80
    outcomes = set()
    for seed in range(500):
        photo = damaged(whole, seed)[1]
        ways: tuple[Truncated, ...] = ("refuse", "keep")
        for truncated in ways:
            full = outcome(photo, truncated, None)
            assert [outcome(photo, truncated, to) for to in (3, 6)] == [full] * 2, (
                seed
            )  # an eighth, a quarter
            outcomes.add((truncated, full == "an image"))
    assert len(outcomes) == 4  # so some are damaged and some are not


def test_a_jpeg_too_large_for_memory_is_halved_or_reduced_further(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = saved(corners(8), "JPEG")
    monkeypatch.setattr(limits, "MAX_DECODING_BYTES", 384 * 256 * 6)
    assert decode(photo).size == (192, 128)
    assert decode(photo, shrunk_to=40).size == (192, 128)
    assert decode(photo, shrunk_to=10).size == (48, 32)
    several = saved(corners(8), "JPEG", progressive=True)  # whose scans are kept at full size
    for shrunk_to in (None, 10):
        with pytest.raises(PhotosError, match="384 x 256 pixels of this kind take"):
            decode(several, shrunk_to=shrunk_to)
