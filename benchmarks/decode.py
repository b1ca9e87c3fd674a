"""Compare the speed and the memory of decoding photos: reslab at reduced scale, Pillow, torchvision.

    python benchmarks/decode.py photos --megapixels 12 --size 224

Each method decodes every photo to uint8 pixels for a network of `--size` pixels, on one core and in its own
process. The methods take turns. Photos per second count processor time. Memory is the peak above the
process with everything imported. `--megapixels` first enlarges the photos to 4 x 3 of that many, with
sensor noise, as JPEGs of quality 90: they have the size and the cost of a phone's photos, but no more
detail than before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from reslab.photos.decoding.decode import decode
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import table

Read = Callable[[Path], object]


def reslab(preprocess: Preprocess) -> Read:
    return preprocess.read


def reslab_at_full_scale(preprocess: Preprocess) -> Read:
    return lambda photo: preprocess.shrink(decode(photo))


def pillow(preprocess: Preprocess) -> Read:
    def read(photo: Path) -> object:
        with Image.open(photo) as file:
            image = file.convert("RGB")
        scale = preprocess.resize / min(image.size)
        sides = (int(scale * image.width), int(scale * image.height))
        return np.array(image.resize(sides, Image.Resampling.BILINEAR))

    return read


def torchvision_io(preprocess: Preprocess) -> Read:
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms import v2

    torch.set_num_threads(1)
    resize = v2.Resize(preprocess.resize, antialias=True)
    return lambda photo: resize(decode_jpeg(read_file(str(photo)), ImageReadMode.RGB))


WAYS: dict[str, Callable[[Preprocess], Read]] = {
    "reslab": reslab,
    "reslab, all at full scale": reslab_at_full_scale,
    "Pillow: open, convert, resize": pillow,
    "torchvision.io and v2.Resize": torchvision_io,
}


def measure(way: str, size: int, photos: list[Path]) -> None:
    """Print seconds of processor time and MB of memory as JSON."""
    preprocess = Preprocess(size=size, resize=round(size * 8 / 7))
    read = WAYS[way](preprocess)
    small = Path(photos[0]).with_name("small.jpg")
    if not small.exists():
        Image.new("RGB", (32, 32)).save(small)
    read(small)  # what is imported where it is used
    before = largest()
    started = time.process_time()
    for photo in photos:
        read(photo)
    seconds = time.process_time() - started
    print(json.dumps([seconds, largest() - before]))


def largest() -> float:
    """Return the peak memory of this process in MB."""
    status = Path("/proc/self/status")
    text = status.read_text() if status.exists() else "VmHWM: 0 kB"
    return int(text[text.index("VmHWM:") + 6 :].split()[0]) / 1024


def prepare(folder: Path, count: int, megapixels: float, place: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*.jpg") if path.is_file())
    found = found[:: max(1, len(found) // count)][:count]
    generator = np.random.default_rng(0)
    for number, path in enumerate(found):
        photo = place / f"{number:05}.jpg"
        if not megapixels:
            photo.write_bytes(path.read_bytes())
            continue
        unit = 16 * round((megapixels * 1e6 / 12) ** 0.5 / 16)
        image = decode(path)
        sides = (4 * unit, 3 * unit) if image.width > image.height else (3 * unit, 4 * unit)
        pixels = np.asarray(image.resize(sides, Image.Resampling.BICUBIC), np.float32)
        pixels = pixels + generator.normal(0, 3, (*pixels.shape[:2], 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(photo, quality=90)
    return sorted(place.glob("[0-9]*.jpg"))


def differences(size: int, photos: list[Path]) -> tuple[float, int]:
    """Return the mean and the largest difference from the full scale, in gray levels."""
    preprocess = Preprocess(size=size, resize=round(size * 8 / 7))
    off = [(preprocess.read(photo).int() - preprocess.shrink(decode(photo)).int()).abs() for photo in photos]
    return statistics.fmean(each.float().mean().item() for each in off), max(int(each.max()) for each in off)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="photos, .jpg")
    parser.add_argument("--count", type=int, default=30, help="how many of them [30]")
    parser.add_argument("--size", type=int, nargs="+", default=[128, 224], help="of the network [128 224]")
    parser.add_argument("--megapixels", type=float, default=0, help="enlarge them to so many [as they are]")
    parser.add_argument("--rounds", type=int, default=3, help="show the median of so many [3]")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        measure(asked.way, asked.size[0], sorted(asked.folder.glob("[0-9]*.jpg")))
        return
    with tempfile.TemporaryDirectory(prefix="reslab-decode-") as place:
        photos = prepare(asked.folder, asked.count, asked.megapixels, Path(place))
        for size in asked.size:
            told = dict[str, list[tuple[float, float]]]()
            for _ in range(asked.rounds):
                for way in WAYS:
                    command = [sys.executable, __file__, place, "--size", str(size), "--way", way]
                    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                    told.setdefault(way, []).append(tuple(json.loads(said)))
            speed = {way: len(photos) / statistics.median(s for s, _ in of) for way, of in told.items()}
            rows = [
                [
                    way,
                    f"{speed[way]:.1f}",
                    f"{speed['reslab'] / speed[way]:.2f}",
                    f"{max(m for _, m in of):.0f}",
                ]
                for way, of in told.items()
            ]
            mean, largest = differences(size, photos)
            print(f"\n{len(photos)} photos for a network of {size} pixels")
            print(table(["", "photos/s", "reslab is faster", "MB"], rows, "lrrr"))
            print(f"reslab at reduced and at full scale differ by {mean:.2f} grey levels, at most {largest}")


if __name__ == "__main__":
    main()
