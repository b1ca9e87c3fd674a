"""Train textbook_resnet18 on Fashion-MNIST and compare with the figure of Dive into Deep Learning.

python benchmarks/fashion_mnist.py --source FOLDER    with the four published files in FOLDER, or
python benchmarks/fashion_mnist.py                    which downloads them

Takes an hour or two on two CPU cores. Called again after an interruption, it resumes. The recipe is the
book's (SGD 0.05, batches of 256, 96 x 96 pixels, ten epochs), the figure is not: the book trains on all
60,000 images and validates on the test set. reslab keeps 6,000 of the 60,000 for validation, chooses the
epoch by it, and uses the test set once.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import reslab
from reslab.hardware import cores
from reslab.training.runs.start import duration

D2L = 0.893  # test accuracy; Zhang et al., Dive into Deep Learning, section 8.6, ResNet-18 on Fashion-MNIST


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the photo folder, train or resume, and print both figures."""
    options = _parse(arguments)
    photos, folder = options.folder / "photos", options.folder / "run"
    if not photos.exists():
        reslab.get("fashion-mnist", photos, source=options.source)
    if folder.exists():
        run = reslab.resume(folder, say=_say)
    else:
        recipe = reslab.Recipe.load("textbook").with_settings(
            epochs=options.epochs, size=options.size, resize=options.size, precision=options.precision
        )
        chosen = _subset(reslab.Photos(photos, seed=recipe.seed), options.photos)
        run = reslab.train(chosen, "textbook_resnet18", recipe, run=folder, say=_say)
    print(report(run))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", type=Path, help="a folder with the four published files")
    parser.add_argument("--folder", type=Path, default=Path("fashion-mnist"), help="for photos and run")
    parser.add_argument("--photos", type=int, help="at most so many of each split, for a quick run")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--precision", default="auto")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, flush=True)


def _subset(photos: reslab.Photos, most: int | None) -> reslab.Photos:
    """Return at most so many photos of each split, evenly from all classes."""
    if most is None:
        return photos
    removed = set[str]()
    for split in photos.splits.values():
        removed |= set(split.paths) - set(split.paths[:: max(1, -(-len(split) // most))])
    return photos.without(removed)


def report(run: reslab.Run) -> str:
    """Print both test accuracies and how they were obtained; then machine, versions and duration."""
    result, recipe, about = run.result, run.recipe, run.about
    assert result is not None, "the run is finished"
    machine = json.loads((run.folder / "environment.json").read_text())
    train, val, test = (f"{len(split):,}" for split in run.photos.splits.values())
    low, high = result["test_interval"]
    epoch = f"epoch {result['best_epoch']} of {recipe.epochs}, chosen by validation on {val}"
    return (
        f"reslab  test accuracy {result['test_accuracy']:.3f} [{low:.3f}, {high:.3f}] over {test} images;"
        f" {train} to train, {epoch}\n"
        f"d2l     test accuracy {D2L} over 10,000 images; 60,000 to train, after the tenth epoch\n"
        f"{recipe.size} x {recipe.size} pixels, precision {about['measured']['precision']},"
        f" {duration(run.seconds)} of training on {machine['device_name'] or _processor()}, {cores()} cores\n"
        f"reslab {machine['reslab']}, torch {machine['torch']}, torchvision {machine['torchvision']},"
        f" Python {machine['python']}, {machine['platform']}"
    )


def _processor() -> str:
    """Return the processor's name where Linux gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.split(": ", 1)[1] for line in lines if line.startswith("model name")), "processor unknown"
    )


if __name__ == "__main__":
    try:
        main()
    except reslab.ReslabError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted; run it again to resume")
