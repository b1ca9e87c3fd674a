"""Test accuracy over time from scratch: reslab beside what people use instead, on the same photos.

python benchmarks/time_to_accuracy.py FOLDER --minutes 10            everybody gets ten minutes at 128 pixels
python benchmarks/time_to_accuracy.py FOLDER --minutes 10 --only reslab fastai

FOLDER has train/ and test/ with a folder per class, and two classes. The rivals are those of rivals.py; those
that are not installed are left out, and said. They are measured on the test photos after every epoch, reslab
once at the end, as it always is; for its curve, give it several times: --reslab 2m 3m 5m 10m. A rival's
minutes are those of its training, reslab's are those of the whole command.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rivals import RIVALS

import reslab

LEVELS = (0.85, 0.90, 0.91, 0.93)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs everybody in turn and prints a row for every measurement, then the time to each level."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="of training for each rival")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--reslab", nargs="+", default=["10m"], metavar="TIME", help="runs of reslab")
    parser.add_argument("--only", nargs="+", choices=["reslab", *RIVALS], default=["reslab", *RIVALS])
    options = parser.parse_args(arguments)
    curves: dict[str, list[tuple[float, float]]] = {}
    if "reslab" in options.only:
        curves["reslab"] = [_reslab(options.folder, options.size, text) for text in options.reslab]
    for name in [name for name in options.only if name != "reslab"]:
        try:
            for seconds, accuracy in RIVALS[name](options.folder, options.size, options.minutes):
                curves.setdefault(name, []).append((seconds, accuracy))
                print(f"{name:12} {seconds:7.0f} s  {accuracy:.4f}", flush=True)
        except ImportError as error:
            print(f"{name}: left out, {error}", flush=True)
    print(f"\n{'':12}" + "".join(f"{level:>9.0%}" for level in LEVELS) + "     best")
    for name, rows in curves.items():
        reached = [min((s for s, a in rows if a >= level), default=None) for level in LEVELS]
        cells = "".join(f"{'-' if s is None else f'{s:.0f} s':>9}" for s in reached)
        print(f"{name:12}{cells}{max(a for _, a in rows):>9.4f}")


def _reslab(folder: Path, size: int, text: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        recipe = reslab.Recipe.load("fast").with_settings(time=text, size=size)
        run = reslab.train(folder, "resnet18", recipe, run=Path(scratch) / "run", progress=False, say=_say)
        seconds = time.perf_counter() - started
        assert run.result is not None
        print(f"{'reslab':12} {seconds:7.0f} s  {run.result['test_accuracy']:.4f}", flush=True)
        return seconds, run.result["test_accuracy"]


def _say(text: str) -> None:
    print(f"    {text}", flush=True)


if __name__ == "__main__":
    main()
