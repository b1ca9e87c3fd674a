"""Measure the memory that a training needs for its list of photos: bytes per photo, stage by stage.

python benchmarks/memory.py                     8,000, 100,000 and 1,000,000 photos; about half an hour
python benchmarks/memory.py --photos 100000     may be given several times
python benchmarks/memory.py --list              from a list of photos, as `reslab check --fix` writes it
python benchmarks/memory.py --folder /mnt/disk  where to put the photos; a million take 4 GB for the moment

Each count has its own process and a folder of as many tiny JPEGs, all different, in two classes. The
stages: list the photos and split them (Photos); the quick check; write photos.jsonl and read it again, as a
resumed run does; build the cache and open it; draw an order and a first batch. `holds` is the growth of the
process after the stage and a garbage collection, per photo. It includes the stages before, for a training
keeps everything. `peak` is the largest growth during the stage. The needs of Python, torch and a batch are
measured on a few photos first and subtracted. `objects` counts the memory blocks that Python has allocated
since, in all. Python takes memory in pieces of 1 MB: at 8,000 photos one piece is 131 bytes per photo.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from reslab.hardware import cores, processor_name

COUNTS, TARGET = (8_000, 100_000, 1_000_000), 200  # bytes a photo
WARM = 5000  # photos of the first pass, which is not measured
SIDE = 8  # pixels of a photo
EVERY = 0.005  # seconds between two readings of the memory


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the photos, measure every count in its own process, and print whether the target is met."""
    options = _parse(arguments)
    print(f"{processor_name()}, {cores()} cores, load {os.getloadavg()[0]:.1f}")
    answers = []
    for count in options.photos or COUNTS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            _make_photos(Path(folder) / "warm", WARM)
            _make_photos(Path(folder) / "photos", count)
            here, there = multiprocessing.get_context("spawn").Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=_measure, args=(Path(folder), count, options, there)
            )
            process.start()
            there.close()
            with suppress(EOFError):
                answers.append(here.recv())
            process.join()
            for path in Path(folder).iterdir():
                shutil.rmtree(path, ignore_errors=True)
    print("\n" + "\n".join(answers))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, action="append", help="how many; may be given several times")
    parser.add_argument("--folder", type=Path, help="where to put them for the time being")
    parser.add_argument("--no-cache", dest="cache", action="store_false", help="without decoding: faster")
    parser.add_argument("--list", action="store_true", help="from a list of photos instead of the folder")
    return parser.parse_args(arguments)


def _make_photos(folder: Path, count: int) -> None:
    """Make tiny JPEGs in train/cat and train/dog. A number after the end of each makes it unique."""
    from PIL import Image

    started, buffer = time.perf_counter(), BytesIO()
    Image.new("RGB", (SIDE, SIDE), (120, 90, 60)).save(buffer, "JPEG")
    content = buffer.getvalue()
    for number in range(count):
        kind = folder / "train" / ("cat", "dog")[number % 2]
        if number < 2:
            kind.mkdir(parents=True)
        with open(f"{kind}/IMG_{number:08}.jpg", "wb") as file:
            file.write(content + number.to_bytes(8, "little"))
    if count > WARM:
        print(f"\n{count:,} photos made in {time.perf_counter() - started:.0f} s", flush=True)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Meter:
    """Growth of the process since this object was made."""

    def __init__(self, count: int) -> None:
        self.count, self.worst = count, 0.0
        self.settle()
        self.start, self.objects = _resident(), sys.getallocatedblocks()

    def settle(self) -> None:
        """Collect garbage and return unused memory to the system."""
        gc.collect()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Run `work`. Print the memory that it holds, and its peak."""
        peak, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(EVERY):
                peak[0] = max(peak[0], _resident())

        watcher = threading.Thread(target=watch)
        started = time.perf_counter()
        watcher.start()
        try:
            result = work()
        finally:
            done.set()
            watcher.join()
        seconds = time.perf_counter() - started
        self.settle()
        holds = (_resident() - self.start) / self.count
        most = max(peak[0] - self.start, 0) / self.count
        objects = sys.getallocatedblocks() - self.objects
        self.worst = max(self.worst, holds)
        print(
            f"  {name:42} holds {holds:6.0f}, peak {most:6.0f} bytes a photo; {objects:6,} objects; "
            f"{seconds:5.1f} s",
            flush=True,
        )
        return result


def _measure(folder: Path, count: int, options: argparse.Namespace, pipe: Any) -> None:
    """Run all stages: for a few photos without output, then for all."""
    import torch

    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    with open(os.devnull, "w") as nowhere:
        out, os.environ["COLUMNS"] = os.dup(1), "200"
        os.dup2(nowhere.fileno(), 1)
        kept = _stages(folder, folder / "warm", options, _Meter(WARM))
        os.dup2(out, 1)
    del kept
    meter = _Meter(count)
    kept = _stages(folder, folder / "photos", options, meter)
    assert len(kept[0].train) + len(kept[0].val) == count
    met = "met" if meter.worst < TARGET else "NOT MET"
    source = "a list of " if options.list else ""
    held = f"{meter.worst:.0f} bytes a photo are held, {meter.worst * count / 1e6:.1f} MB in all"
    pipe.send(f"{source}{count:,} photos: at most {held} (asked: under {TARGET}): {met}")


def _stages(folder: Path, source: Path, options: argparse.Namespace, meter: _Meter) -> tuple[Any, ...]:
    """Run the stages of a training before its first step. Return everything that it keeps."""
    from reslab import Batches, Photos, Recipe
    from reslab.photos.checking.quick_check import quick_check
    from reslab.photos.loading.pixel_cache import open_pixels

    lines = folder / f"{source.name}.jsonl"
    given = source
    if options.list:
        every = Photos(source)
        given = folder / f"{source.name}-list.jsonl"
        every.save(given)
        del every
        meter.settle()
        meter.start = _resident()
    photos = meter.stage("Photos: found, digested, cut to splits", lambda: Photos(given))
    meter.stage("quick check", lambda: str(len(quick_check(photos).findings)))
    meter.stage("photos.jsonl written", partial(photos.save, lines))
    del photos
    photos = meter.stage("photos.jsonl read instead", lambda: Photos.load(lines))
    preprocess = Recipe().preprocess(3)

    def opened() -> Any:
        return open_pixels(source, photos.train + photos.val, preprocess, cache=options.cache)

    if options.cache:
        meter.stage("cache built", lambda: str(opened()))
    pixels = meter.stage("cache opened", opened)
    batches = Batches(photos.train, pixels, preprocess, 16, augment=True)
    epoch = iter(batches.epoch(0, size=32))  # of a small batch, for that is no bookkeeping
    meter.stage("order and batch of an epoch", lambda: len(next(epoch).labels))
    return photos, pixels, batches, epoch


if __name__ == "__main__":
    main()
