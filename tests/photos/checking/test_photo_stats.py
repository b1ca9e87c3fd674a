"""Statistics of a large JPEG at reduced scale agree with those of all its pixels."""

import struct
from pathlib import Path

import numpy as np
import pytest
from odd_files import png, saved
from PIL import Image

from reslab.photos.checking import findings
from reslab.photos.checking.photo_stats import REDUCED_SIDE, PhotoStats, compute_stats, photo_findings
from reslab.photos.decoding.decode import decode


def both(photo: bytes, folder: Path) -> tuple[PhotoStats, PhotoStats]:
    """Return the statistics of a JPEG, decoded at reduced scale, and of a BMP with the same pixels."""
    jpeg, bmp = folder / "photo.jpg", folder / "photo.bmp"
    jpeg.write_bytes(photo)
    whole = decode(photo)
    assert decode(photo, shrunk_to=REDUCED_SIDE).width < whole.width
    whole.save(bmp)
    return compute_stats(jpeg), compute_stats(bmp)


def found(stats: PhotoStats) -> list[str]:
    return [kind.kind for kind, _ in photo_findings(stats, f".{stats.format.lower()}")]


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
def test_noise_in_a_reduced_photo_is_not_averaged_away(
    base: int, sigma: float, kinds: list[str], tmp_path: Path
) -> None:
    pixels = base + np.random.default_rng(0).normal(0, sigma, (1488, 1600, 1)).repeat(3, 2)
    photo = saved(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "JPEG", quality=99)
    reduced, whole = both(photo, tmp_path)
    assert found(reduced) == found(whole) == kinds


@pytest.mark.slow
def test_a_reduced_photo_keeps_its_size_and_fingerprint(cats_dogs_natural: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted(cats_dogs_natural.rglob("*.jpg"))[::60]:
        image = decode(path)
        large = image.resize((2000, 1600) if image.width > image.height else (1488, 1600))
        reduced, whole = both(saved(large, "JPEG", quality=90, exif=exif), tmp_path)
        assert (reduced.width, reduced.height) == (whole.width, whole.height) == large.size[::-1]
        assert (reduced.phash ^ whole.phash).bit_count() <= 2
        levels = [np.frombuffer(stats.thumbnail, np.uint8).astype(int) for stats in (reduced, whole)]
        assert np.abs(levels[0] - levels[1]).max() <= 2
        assert found(reduced) == found(whole)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "AVIF"])
@pytest.mark.parametrize("count", [1, 3])
def test_several_frames_or_pages_are_a_finding(kind: str, count: int, tmp_path: Path) -> None:
    path, pixels = tmp_path / "photo", np.random.default_rng(0).integers(0, 256, (count, 24, 32, 3), np.uint8)
    first, *rest = map(Image.fromarray, pixels)
    path.write_bytes(saved(first, kind, save_all=True, append_images=rest))
    expected = [(findings.Animated, "several frames or pages; the first is used")] if rest else []
    assert photo_findings(compute_stats(path), f".{kind.lower()}") == expected


def test_16_bit_color_that_uses_a_part_of_its_range_is_not_called_blank(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + struct.pack(">3H", 3000, 1000, 4000) * 24 for _ in range(16))
    path = tmp_path / "deep.png"
    path.write_bytes(png(24, 16, 16, 2, rows))
    ((kind, why),) = photo_findings(compute_stats(path), ".png")
    assert (kind, why) == (
        findings.PartOfRange,
        "uses 3% of its range: 16-bit color, read by its upper 8 bits",
    )
