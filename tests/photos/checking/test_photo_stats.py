"""What is seen of a large JPEG, decoded at reduced scale, is what is seen of all its pixels; and what is seen
of files of many pages, or of metadata that were made to cost.
"""

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from odd_files import chunk, saved
from PIL import Image, TiffImagePlugin

from reslab.photos.checking import findings
from reslab.photos.checking.photo_stats import ENOUGH, Look, faults_of, look
from reslab.photos.decoding.decode import decode


def both(photo: bytes, folder: Path) -> tuple[Look, Look]:
    """What is seen of a JPEG that is reduced, and of a BMP of the same pixels, which never is."""
    jpeg, bmp = folder / "photo.jpg", folder / "photo.bmp"
    jpeg.write_bytes(photo)
    whole = decode(photo)
    assert decode(photo, shrunk_to=ENOUGH).width < whole.width
    whole.save(bmp)
    return look(jpeg), look(bmp)


def found(seen: Look) -> list[str]:
    return [kind.kind for kind, _ in faults_of(seen, f".{seen.format.lower()}")]


@pytest.mark.parametrize(
    ("base", "sigma", "kinds"),
    [
        (128, 0, ["blank"]),
        (128, 2.5, []),
        (20, 6, ["under-exposed"]),
        (32, 5, []),
        (240, 6, ["over-exposed"]),
        (228, 5, []),
    ],
)
def test_noise_in_a_dull_photo_is_not_averaged_away(
    base: int, sigma: float, kinds: list[str], tmp_path: Path
) -> None:
    pixels = base + np.random.default_rng(0).normal(0, sigma, (1488, 1600, 1)).repeat(3, 2)
    photo = saved(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "JPEG", quality=99)
    reduced, whole = both(photo, tmp_path)
    assert found(reduced) == found(whole) == kinds


def test_a_large_photo_has_its_own_size_and_its_fingerprint(cats_dogs_natural: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted(cats_dogs_natural.rglob("*.jpg"))[::60]:
        image = decode(path)
        large = image.resize((2000, 1600) if image.width > image.height else (1488, 1600))
        reduced, whole = both(saved(large, "JPEG", quality=90, exif=exif), tmp_path)
        assert (reduced.width, reduced.height) == (whole.width, whole.height) == large.size[::-1]
        assert (reduced.phash ^ whole.phash).bit_count() <= 2
        levels = [np.frombuffer(seen.thumbnail, np.uint8).astype(int) for seen in (reduced, whole)]
        assert np.abs(levels[0] - levels[1]).max() <= 2
        assert found(reduced) == found(whole)


def tiff(*entries: tuple[int, int, int], pages: int = 1, order: str = "<", big: bool = False) -> bytes:
    """A grey TIFF whose first page has these entries too: tag, type (3 for 16 bits, 4 for 32), number."""
    first = 16 if big else 8
    least = [(256, 4, 16), (257, 4, 16), (273, 4, first)]
    rest = [(258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1), (278, 4, 16), (279, 4, 256)]
    count, entry, place = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    value = {3: "H6x", 4: "I4x"} if big else {3: "H2x", 4: "I"}
    mark = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}H", 43 if big else 42)
    mark += struct.pack(f"{order}HH", 8, 0) if big else b""
    content = [mark, struct.pack(order + place, first + 256), bytes(range(256))]
    at = first + 256
    for page in range(pages):
        held = sorted([*least, *rest, *entries]) if page == 0 else least
        described = struct.pack(order + count, len(held))
        for tag, kind, number in held:
            described += struct.pack(order + entry, tag, kind, 1)
            described += struct.pack(order + value[kind], number)
        at += len(described) + struct.calcsize(order + place)
        content += [described, struct.pack(order + place, at if page < pages - 1 else 0)]
    return b"".join(content)


@pytest.mark.parametrize(
    ("kind", "count"),
    [("GIF", 1), ("GIF", 3), ("GIF", 300), ("TIFF", 1), ("TIFF", 9), ("PNG", 5), ("WEBP", 5), ("AVIF", 3)],
)
def test_frames_and_pages_are_as_many_as_pillow_counts(kind: str, count: int, tmp_path: Path) -> None:
    path, pixels = tmp_path / "photo", np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3), np.uint8)
    first, *rest = map(Image.fromarray, pixels)
    path.write_bytes(saved(first, kind, save_all=True, append_images=rest, comment=b"of words" * 99))
    with Image.open(path) as file:
        assert getattr(file, "n_frames", 1) == count
    assert look(path).frames == count


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_of_the_pages_of_a_tiff_a_thousand_are_counted(order: str, big: bool, tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    path.write_bytes(tiff(pages=7, order=order, big=big))
    with Image.open(path) as file:
        assert file.n_frames == 7
    assert look(path).frames == 7
    path.write_bytes(tiff(pages=200_000, order=order, big=big))  # of which each had been compared with all
    expected = (findings.Animated, "more than 1,000 frames or pages; the first is used")
    assert faults_of(look(path), ".tif") == [expected]


def test_of_the_frames_of_a_gif_or_a_png_a_thousand_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    first, second = Image.new("L", (4, 4)), Image.new("L", (4, 4), 9)
    two = saved(first, "GIF", save_all=True, append_images=[second], duration=100)
    frame = two[two.rindex(b"!\xf9") : -1]
    for count in (1, 998, 999, 200_000):
        path.write_bytes(two[:-1] + frame * (count - 1) + b";")
        assert look(path).frames == min(count + 1, 1001)
    png = saved(first, "PNG", save_all=True, append_images=[second])
    many = chunk(b"acTL", struct.pack(">2I", 2**31, 0))
    assert chunk(b"acTL", struct.pack(">2I", 2, 0)) in png
    path.write_bytes(png.replace(chunk(b"acTL", struct.pack(">2I", 2, 0)), many))
    assert look(path).frames == 1001


@pytest.mark.parametrize("photo", ["GIF", "TIFF"])
def test_wherever_a_file_of_frames_is_cut_they_are_counted_up_to_there(photo: str, tmp_path: Path) -> None:
    path, pixels = tmp_path / "photo", np.random.default_rng(0).integers(0, 256, (4, 12, 16, 3), np.uint8)
    first, *rest = map(Image.fromarray, pixels)
    whole = saved(first, photo, save_all=True, append_images=rest)
    counts = []
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        seen = look(path)
        if not seen.problem:
            counts.append(seen.frames)
    assert counts == sorted(counts)
    assert set(counts) >= {1, 2, 3}


def test_a_number_in_the_place_of_xmp_is_no_reason_to_make_as_many_zeros(tmp_path: Path) -> None:
    path = tmp_path / "photo.tif"
    path.write_bytes(tiff((274, 3, 1), (700, 4, 2**32 - 1)))
    tracemalloc.start()
    seen = look(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**28
    assert faults_of(seen, ".tif") == []
    assert seen.format == "TIFF"


@pytest.mark.parametrize("kind", [1, 2, 7], ids=["bytes", "text", "undefined"])
@pytest.mark.parametrize("turn", ["6", "6" * 9999])
def test_xmp_in_a_tiff_is_read_as_what_it_is_stored(kind: int, turn: str, tmp_path: Path) -> None:
    said = f'<rdf:Description tiff:Orientation="{turn}"/>'
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = 1
    tags.tagtype[700] = kind
    tags[700] = said if kind == 2 else said.encode()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    path = tmp_path / "photo.tif"
    path.write_bytes(saved(Image.fromarray(pixels), "TIFF", tiffinfo=tags))
    seen = look(path)
    assert seen.format == "TIFF"
    assert ("EXIF orientation 1 and XMP orientation 6" in seen.odd) == (turn == "6")
