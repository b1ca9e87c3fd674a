"""Measure the cost of feeding real photos: epochs on photos against the same steps on random tensors.

python benchmarks/feed.py FOLDER                       at 128, 96 and 64 pixels, 2,000 photos, 7 rounds
python benchmarks/feed.py FOLDER --size 128 --photos 7200
python benchmarks/feed.py FOLDER --workers 1           number of workers to compare with 0 [2]
python benchmarks/feed.py FOLDER --work                by the CPU time of one thread, for a busy machine
python benchmarks/feed.py FOLDER --no-decoding         without the cost of the first epoch

FOLDER is a photo folder, such as `reslab get` makes. Measured are whole epochs of reslab's own loop, with
the optimizer of the recipe `fast` and the precision of `--precision auto`, in turns and in alternating
order: on tensors, on photos with a thread that makes the batches, on photos with worker processes. The
photos come from a cache that exists before; every epoch draws new crops and flips. The tensors are a few
batches made once, in the layout of the loop. A ratio is the median over the rounds of the ratios within a
round, with the smallest and the largest. The clock starts before the first batch, so it includes the start
of the workers, which weighs less in an epoch of all photos.

The cost of the first epoch, decoding every photo and writing the cache, is shown separately.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import PIL
import torch
import torchvision
from core_waits import waiting
from torch import nn

import reslab
from reslab import Batch, Batches, Photos, Recipe
from reslab.hardware import cores, keep_freed_memory, processor_name
from reslab.networks.precision import parse_precision
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.training.loop import Epoch, training_loop
from reslab.training.optimizer import make_optimizer
from reslab.training.state import TrainState
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision

CPU = torch.device("cpu")
SIZES, TARGET = (128, 96, 64), 1.05
DIFFERENT = 4  # batches of random tensors that take turns: more would only fill the memory


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size and print a table for it, then whether the target is met."""
    options = _parse(arguments)
    threads, load = torch.get_num_threads(), os.getloadavg()[0]
    print(f"{processor_name()}, {cores()} cores, {threads} threads, load {load:.1f}")
    print(f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}")
    keep_freed_memory()
    if options.work:
        torch.set_num_threads(1)
        options.workers = 0  # their CPU time is not this process's
    photos = Photos(options.folder)
    train = photos.train[:: max(1, len(photos.train) // options.photos)][: options.photos]
    recipe = Recipe.load("fast").with_settings(batch_size=options.batch)
    answers = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = (
            folder  # a cache of its own: an empty one is what the first epoch finds
        )
        preprocess = recipe.preprocess(3)
        started, before = time.perf_counter(), time.process_time()
        pixels = open_pixels(photos.folder, train, preprocess, progress=False)
        if options.decoding:
            print(
                _decoding(train, options.folder, time.perf_counter() - started, time.process_time() - before)
            )
        batches = Batches(train, pixels, preprocess, options.batch, augment=True, seed=0)
        for size in options.size or SIZES:
            answers.append(_at(size, batches, recipe, options))
    print("\n" + "\n".join(answers))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, action="append", help="in pixels; may be given several times")
    parser.add_argument("--photos", type=int, default=2000, help="of the train split")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2, help="processes; 0: no such turns")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", action="store_true", help="CPU time of one thread, not time that passes")
    parser.add_argument("--no-decoding", dest="decoding", action="store_false")
    return parser.parse_args(arguments)


def _decoding(photos: Sequence[reslab.Photo], folder: Path, seconds: float, work: float) -> str:
    size = sum(os.path.getsize(folder / photo.path) for photo in photos)
    return (
        f"once: {len(photos):,} photos of {size / 1e6:.0f} MB decoded and cached in {seconds:.1f} s, "
        f"{len(photos) / seconds:,.0f} photos/s, {1000 * work / len(photos):.2f} ms of CPU time each"
    )


@dataclass(frozen=True)
class Tensors:
    """Batches from tensors in memory, with the interface of Batches."""

    steps: Sequence[Batch]

    def __len__(self) -> int:
        return len(self.steps)

    def epoch(self, epoch: int = 0, first_step: int = 0, **_: Any) -> Iterator[Batch]:
        """Return the same batches in every epoch."""
        yield from self.steps[first_step:]


def _at(size: int, batches: Batches, recipe: Recipe, options: argparse.Namespace) -> str:
    """Measure and print one size. Return the line about the target."""
    recipe = recipe.with_settings(size=size, progressive_resizing=False, epochs=10**5)
    network = reslab.resnet18(num_classes=2)
    measured = measure_precision(network, recipe.with_settings(epochs=12), 7200, CPU, lambda text: None)
    feeds: dict[str, Any] = {
        "tensors in memory": _tensors(size, batches, measured),
        "photos, a thread": batches,
    }
    if options.workers:
        feeds[f"photos, {options.workers} workers"] = replace(batches, workers=options.workers)
    trainings = {name: _training(feed, recipe, measured) for name, feed in feeds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in feeds}
    waits = dict.fromkeys(feeds, 0.0)
    clock = time.process_time if options.work else time.perf_counter
    for number in range(options.rounds + 1):
        for name in list(feeds)[:: 1 if number % 2 else -1]:
            before, started = waiting(), clock()
            next(event for event in trainings[name] if isinstance(event, Epoch))
            if number:  # the first builds what torch computes with
                seconds[name].append(clock() - started)
                waits[name] += waiting() - before
    alone = _alone(batches, size)
    print(
        f"\n{size} px, {len(batches.photos):,} photos, batches of {batches.batch_size}, {measured.precision}"
    )
    for name, times in seconds.items():
        each = statistics.median(times) / len(batches)
        print(
            f"  {name:20} {1000 * each:6.0f} ms a step  {_ratio(times, seconds['tensors in memory'])}  "
            f"waited {waits[name] / sum(times):5.1%} of the time for a core"
        )
    print(
        f"  making the batches alone, in one thread: {1000 * alone:.3f} ms of CPU time a photo, "
        f"{alone * batches.batch_size / each / torch.get_num_threads():.1%} of what a step has of the cores"
    )
    return "\n".join(_judge(size, name, times, seconds) for name, times in list(seconds.items())[1:])


def _tensors(size: int, batches: Batches, measured: MeasuredPrecision) -> Tensors:
    """Return as many batches as the photos make, of the same lengths."""
    precision = parse_precision(measured.precision)
    made = [
        precision.place_images(torch.randn(batches.batch_size, 3, size, size), CPU) for _ in range(DIFFERENT)
    ]
    lengths = [batches.batch_size] * len(batches)
    lengths[-1] = len(batches.photos) - sum(lengths[:-1])
    if lengths[-1] > batches.batch_size:  # a last batch of one has joined it
        made.append(torch.cat([made[0], made[1][:1]]))
    return Tensors(
        [
            Batch(made[-1 if n > batches.batch_size else i % DIFFERENT][:n], torch.arange(n) % 2)
            for i, n in enumerate(lengths)
        ]
    )


def _training(feed: Any, recipe: Recipe, measured: MeasuredPrecision) -> Iterator[Any]:
    """Yield the steps of a training without end and without validation."""
    torch.manual_seed(0)
    network: nn.Module = reslab.resnet18(num_classes=2)
    precision = parse_precision(measured.precision)
    precision.place(network, CPU)
    state = TrainState(
        network, make_optimizer(network, recipe, precision), None, recipe, CPU, precision, measured.threads
    )
    return training_loop(state, feed, lambda network, size: (0.0, 0.0))


def _alone(batches: Batches, size: int) -> float:
    """Return the seconds of CPU time per photo for making a batch."""
    before = time.process_time()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in batches.epoch(0, size=size):
        pass
    torch.set_num_threads(threads)
    return (time.process_time() - before) / len(batches.photos)


def _ratio(times: list[float], reference: list[float]) -> str:
    ratios = [a / b for a, b in zip(times, reference, strict=True)]
    return f"{statistics.median(ratios):5.3f} x [{min(ratios):.3f}, {max(ratios):.3f}]"


def _judge(size: int, name: str, times: list[float], seconds: dict[str, list[float]]) -> str:
    ratio = statistics.median(a / b for a, b in zip(times, seconds["tensors in memory"], strict=True))
    return f"{size} px, {name}: {ratio:.3f} x the steps on tensors (asked: {TARGET}): " + (
        "met" if ratio <= TARGET else "NOT MET"
    )


if __name__ == "__main__":
    main()
