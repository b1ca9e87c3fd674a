"""Compare test accuracy over time from scratch: reslab and other tools on the same photos.

python benchmarks/time_to_accuracy.py FOLDER --minutes 10            ten minutes for each at 128 pixels
python benchmarks/time_to_accuracy.py FOLDER --minutes 10 --only reslab fastai
python benchmarks/time_to_accuracy.py FOLDER --minutes 5 --only reslab fixed --reslab 5m --fixed 6 24

FOLDER has train/ and test/ with a folder per class, and two classes. The other tools are those of
rivals.py; those that are not installed are skipped and named. They are measured on the test photos after
every epoch. reslab is measured once at the end; several times give its curve: --reslab 2m 3m 5m 10m. The
minutes of the other tools are those of their training, reslab's are those of the whole command. `fixed` is
reslab's own recipe with a number of epochs instead of a time, measured like the other tools and cut off at
the end of the minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rivals import RIVALS

import reslab

LEVELS = (0.85, 0.90, 0.91, 0.93)
WHO = ("reslab", "fixed", *RIVALS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run each tool in turn. Print a row for every measurement, then the time to each level."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="of training for each rival")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--reslab", nargs="+", default=["10m"], metavar="TIME", help="runs of reslab")
    parser.add_argument("--fixed", nargs="+", type=int, default=[12], metavar="EPOCHS", help="runs of fixed")
    parser.add_argument("--seed", type=int, default=0, help="of reslab's runs")
    parser.add_argument("--only", nargs="+", choices=WHO, default=["reslab", *RIVALS])
    options = parser.parse_args(arguments)
    curves: dict[str, list[tuple[float, float]]] = {}
    for name in options.only:
        try:
            for label, rows in _curves(name, options):
                for seconds, accuracy in rows:
                    curves.setdefault(label, []).append((seconds, accuracy))
                    print(f"{label:12} {seconds:7.0f} s  {accuracy:.4f}", flush=True)
        except ImportError as error:
            print(f"{name}: skipped, {error}", flush=True)
    print(f"\n{'':12}" + "".join(f"{level:>9.0%}" for level in LEVELS) + "     best     last")
    for name, rows in curves.items():
        reached = [min((s for s, a in rows if a >= level), default=None) for level in LEVELS]
        cells = "".join(f"{'-' if s is None else f'{s:.0f} s':>9}" for s in reached)
        print(f"{name:12}{cells}{max(a for _, a in rows):>9.4f}{rows[-1][1]:>9.4f}")


def _curves(name: str, options: argparse.Namespace) -> Iterator[tuple[str, Iterator[tuple[float, float]]]]:
    """Yield (label, measurements) of each run that `name` stands for."""
    folder, size, minutes = options.folder, options.size, options.minutes
    if name == "reslab":
        yield name, (_reslab(folder, size, text, options.seed) for text in options.reslab)
    elif name == "fixed":
        for epochs in options.fixed:
            yield f"{epochs} epochs", _fixed(folder, size, minutes, epochs, options.seed)
    else:
        yield name, RIVALS[name](folder, size, minutes)


def _fixed(folder: Path, size: int, minutes: float, epochs: int, seed: int) -> Iterator[tuple[float, float]]:
    """Train reslab's recipe for a number of epochs, cut off at the end of the minutes."""
    recipe = reslab.Recipe(epochs=epochs, size=size, seed=seed)
    torch.manual_seed(seed)
    photos, network = reslab.Photos(folder), reslab.resnet18(num_classes=2)
    classifier = reslab.Classifier(network, photos.classes, recipe.preprocess(3))
    spent, started = 0.0, time.perf_counter()
    for _ in reslab.fit(network, photos, recipe, progress=False):
        spent += time.perf_counter() - started
        if spent > 60 * minutes:
            return
        yield spent, classifier.evaluate(photos).accuracy
        started = time.perf_counter()


def _reslab(folder: Path, size: int, text: str, seed: int) -> tuple[float, float]:
    """Run the command as a user does, and time it from its start to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        asked = ["train", folder, "--time", text, "--size", size, "--seed", seed, "--run", run]
        command = [sys.executable, "-m", "reslab", *map(str, asked)]
        started = time.perf_counter()
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        seconds = time.perf_counter() - started
        print(textwrap.indent(said, "    "), flush=True)
        result = reslab.Run(run).result
        assert result is not None
        return seconds, result["test_accuracy"]


if __name__ == "__main__":
    main()
