"""Measure processor time and memory of decoding the worst photos within photos/decoding/limits.py.

    python benchmarks/worst_photos.py

Each photo is as large as the limits allow for its format, or built to take long. It is decoded in its own
process. Memory is the peak above the memory before; only Linux measures it.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from odd_files import chunk, many_passes, png, run_lengths, saved

from reslab.text import table

DECODE = """
import sys, time
from pathlib import Path
from reslab.errors import PhotosError
from reslab.photos.decoding.decode import decode, readable_formats

def largest():
    status = Path("/proc/self/status").read_text()
    return int(status[status.index("VmHWM:") + 6 :].split()[0]) / 1024

readable_formats()
before, start = largest(), time.process_time()
try:
    width, height = decode(Path(sys.argv[1])).size
    result = f"{width} x {height}"
except PhotosError as error:
    result = "refused: " + error.why.strip()[:60]
print(f"{time.process_time() - start:.2f}\\t{largest() - before:.0f}\\t{result}")
"""


def noise(side: int, mode: str = "RGB", high: int | None = None) -> Image.Image:
    small = np.random.default_rng(0).integers(
        0, 256, (256, 256, len(Image.new(mode, (1, 1)).getbands())), np.uint8
    )
    times = (1 + (high or side) // 256, 1 + side // 256, 1)
    return Image.fromarray(np.tile(small, times)[: high or side, :side].squeeze(), mode)


def lying(side: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(noise(side), "JPEG", quality=75, exif=exif, **options)


def numbers(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).random((side, side), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def many_chunks() -> bytes:
    gray = (b"\0" + b"\7" * 24) * 16
    return png(24, 16, 8, 0, gray, chunk(b"tEXt", b"a\0b") * 199_990)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WORST: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: saved(noise(11_000), "JPEG", quality=75),
    "JPEG, lying": lambda: lying(11_000),
    "JPEG, lying, profile": lambda: lying(11_000, icc_profile=PROFILE),
    "JPEG, read at half its size": lambda: saved(noise(15_500), "JPEG", quality=75),
    "JPEG, CMYK, progressive": lambda: saved(noise(8_500, "CMYK"), "JPEG", quality=75, progressive=True),
    "JPEG, 990 scans": lambda: many_passes(980, 2_000),
    "JPEG, 45 scans": lambda: many_passes(35, 9_000),
    "PNG, alpha, profile": lambda: saved(noise(8_500, "RGBA"), "PNG", compress_level=1, icc_profile=PROFILE),
    "PNG, 200,000 chunks": many_chunks,
    "WebP, alpha": lambda: saved(noise(6_900, "RGBA"), "WEBP", lossless=True, method=0, quality=0),
    "GIF": lambda: saved(noise(8_500, "L"), "GIF"),
    "TIFF, float": lambda: numbers(7_500),
    "TIFF, CMYK": lambda: saved(noise(11_000, "CMYK"), "TIFF", compression="tiff_adobe_deflate"),
    "AVIF": lambda: saved(noise(8_000), "AVIF", quality=50, speed=10),
    "HEIC": lambda: saved(noise(7_000), "HEIF", quality=50),
    "JPEG 2000": lambda: saved(noise(6_400), "JPEG2000"),
    "JPEG 2000, alpha": lambda: saved(noise(6_400, "RGBA"), "JPEG2000"),
    "JPEG 2000, 9,900 tiles": lambda: saved(noise(6_360, "RGBA"), "JPEG2000", tile_size=(64, 64)),
    "PGM, 16 bits": lambda: b"P5 7500 7500 65535\n" + bytes(2 * 7_500**2),
    "PPM, as text": lambda: b"P3 3160 3160 255\n" + b"123 " * (3 * 3_160**2),
    "BMP, run lengths": lambda: run_lengths(3_160, 3_160, b"\1\0\0\0" * 3_160),
    "BMP, runs of one": lambda: run_lengths(3_160, 3_160, (b"\1\7" * 3_160 + b"\0\0") * 3_160),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", help=f"some of: {', '.join(WORST)}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo"
        for name in parser.parse_args().only or WORST:
            path.write_bytes(WORST[name]())
            command = [sys.executable, "-c", DECODE, str(path)]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            rows.append([name, f"{path.stat().st_size / 1e6:.1f}", *output.strip("\n").split("\t")])
            print(name, file=sys.stderr)
    print(table(["photo", "MB", "seconds", "MiB", "result"], rows, "lrrrl"))


if __name__ == "__main__":
    main()
