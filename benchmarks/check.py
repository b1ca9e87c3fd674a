"""Measure the speed and the memory of `reslab check` on many photos, and count the planted problems it finds.

    python benchmarks/check.py photos --count 100000

Builds a temporary folder of that many photos: hard links to the real ones, then crops of them, some
mirrored, re-encoded. Adds leaks (half of them byte for byte, half saved at another size and quality) and
contradictions: one of each per hundred and per four hundred photos. Then runs `reslab check` in its own
process: with an empty cache, with the cache, and on the list of --fix.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

LEAKS, CONTRADICTIONS = 100, 400  # photos to one of each
Planted = dict[str, tuple[str, str]]  # {copy: (original, kind)}


@dataclass(frozen=True)
class Run:
    """One process: its seconds, its peak memory in MB, and its output."""

    seconds: float
    memory: float
    output: dict[str, Any]


def build(source: Path, folder: Path, count: int, draw: random.Random) -> Planted:
    """Fill `folder`. Return the planted problems."""
    real = sorted(source.rglob("*.jpg"))
    draw.shuffle(real)
    train: list[Path] = []
    for number, photo in enumerate(_photos(real, folder, count)):
        if photo.parts[-3] == "train":
            train.append(photo)
        if number % 1000 == 999:
            print(f"\r{number + 1:,} photos made", end="", file=sys.stderr)
    chosen = draw.sample(train, count // LEAKS + count // CONTRADICTIONS)
    planted: Planted = {}
    for number, photo in enumerate(chosen):
        leak, name = number < count // LEAKS, photo.parent.name
        other = "dog" if name == "cat" else "cat"
        copy = folder / ("test" if leak else "train") / (name if leak else other) / f"planted{number}.jpg"
        if leak and number % 2:
            shutil.copy(photo, copy)
        else:
            _save_again(photo, copy, draw)
        planted[str(copy.relative_to(folder))] = (
            str(photo.relative_to(folder)),
            "leak" if leak else "contradiction",
        )
    return planted


def _photos(real: list[Path], folder: Path, count: int) -> Iterator[Path]:
    for number in range(count):
        photo, round_ = real[number % len(real)], number // len(real)
        split = "test" if number % 5 == 4 else "train"
        path = folder / split / ("dog" if "dog" in photo.parent.name else "cat") / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if round_:
            _part(photo, path, round_)
        else:
            _link(photo, path)
        yield path


def _link(photo: Path, path: Path) -> None:
    try:
        os.link(photo.resolve(), path)
    except OSError:  # another disk
        shutil.copy(photo, path)


def _part(photo: Path, path: Path, number: int) -> None:
    """Crop a corner of a photo. `number` decides its size and whether it is mirrored."""
    with Image.open(photo) as file:
        image = file.convert("RGB")
    share = 0.45 + 0.1 * (number // 8 % 4)
    width, height = round(image.width * share), round(image.height * share)
    left = (image.width - width) * (number % 2)
    top = (image.height - height) * (number // 2 % 2)
    image = image.crop((left, top, left + width, top + height))
    (ImageOps.mirror(image) if number // 4 % 2 else image).save(path, quality=85)


def _save_again(photo: Path, copy: Path, draw: random.Random) -> None:
    with Image.open(photo) as file:
        image = file.convert("RGB")
    scale = draw.uniform(0.3, 2)
    size = max(32, round(image.width * scale)), max(32, round(image.height * scale))
    image.resize(size).save(copy, quality=draw.randint(30, 95))


def check(folder: Path, cache: Path, *flags: str) -> Run:
    """Run `reslab check` in its own process."""
    command = [sys.executable, "-m", "reslab", "check", str(folder), "--json", *flags]
    with tempfile.TemporaryFile() as out:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, env=os.environ | {"XDG_CACHE_HOME": str(cache)})
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
        out.seek(0)
        return Run(seconds, used.ru_maxrss / 1024, json.load(out))


def judge(output: dict[str, Any], planted: Planted) -> tuple[int, list[dict[str, Any]]]:
    """Count the planted copies that were found with their original, and those that were not planted."""
    reported = {row["path"]: row for row in output["findings"] if row["kind"] in ("leak", "contradiction")}
    found = 0
    for copy, (original, kind) in planted.items():
        sides = [reported.get(copy, {}), reported.get(original, {})]
        found += any(side.get("kind") == kind for side in sides)
    ours = {*planted, *(original for original, _ in planted.values())}
    return found, [row for path, row in reported.items() if path not in ours and row["other"] not in ours]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="real photos of cats and dogs, .jpg, in folders by class")
    parser.add_argument("--count", type=int, default=10_000, help="photos to check [10000]")
    parser.add_argument("--seed", type=int, default=0, help="of what is planted [0]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reslab-check-") as temporary:
        place = Path(temporary)
        planted = build(asked.folder, place / "photos", asked.count, random.Random(asked.seed))
        build(asked.folder, place / "few", 100, random.Random(0))
        print(f"\r{asked.count:,} photos, {len(planted):,} copies planted among them")
        few = check(place / "few", place / "other cache")
        first = check(place / "photos", place / "cache")
        second = check(place / "photos", place / "cache", "--fix", str(place / "list.jsonl"))
        third = check(place / "list.jsonl", place / "cache")
    photos = first.output["photos"]
    found, others = judge(first.output, planted)
    print(f"first:   {first.seconds:.1f} s, {photos / first.seconds:,.0f} photos a second")
    print(f"second:  {second.seconds:.1f} s, {photos / second.seconds:,.0f} photos a second")
    each = 2**20 * (first.memory - few.memory) / photos
    print(
        f"memory:  {first.memory:.0f} MB at most, {few.memory:.0f} for 100 photos: {each:.0f} bytes a photo"
    )
    print(f"planted: {found:,} of {len(planted):,} found; {len(others):,} other leaks and contradictions:")
    for row in others[:20]:
        print(f"         {row['kind']} {row['path']}: {row['why']}")
    spoils = "still a finding" if third.output["spoils_training"] else "no finding"
    print(f"--fix:   {third.output['photos']:,} photos on the list, {spoils} that spoils a training")


if __name__ == "__main__":
    main()
