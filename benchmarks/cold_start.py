"""Measure the duration of commands from a cold start, for reslab and other tools, each in a new process.

python benchmarks/cold_start.py                    7 rounds, about three minutes
python benchmarks/cold_start.py --rounds 3
python benchmarks/cold_start.py --model cats.safetensors --photo cat.jpg

The commands take turns, round after round. A first round only fills the disk's cache. The time runs from
the start of the process to its end, with its output discarded: median over the rounds, with the smallest
and the largest. Tools that are not installed are skipped and named. Another run of each command finds out
whether it imports torch. Without --model, a new ResNet-18 predicts a drawn photo. `reslab runs` lists a
small run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from reslab.hardware import cores, processor_name

HELP_TARGET = 0.2  # seconds
RIVALS = {  # name: (package, command)
    "import timm": ("timm", ["-c", "import timm"]),
    "from fastai.vision.all import *": ("fastai", ["-c", "from fastai.vision.all import *"]),
    "yolo help": ("ultralytics", ["-c", "from ultralytics.cfg import entrypoint; entrypoint('help')"]),
    "import ultralytics": ("ultralytics", ["-c", "from ultralytics import YOLO"]),
    "import torchvision": ("torchvision", ["-c", "import torchvision"]),
    "import keras": ("keras", ["-c", "import keras"]),
    "import lightning": ("lightning", ["-c", "import lightning"]),
}
WITHOUT_TORCH = ("--help", "runs", "conv 224 --kernel 7", "train --help")
START = "import sys; sys.argv[0] = 'reslab'; from reslab.cli.main import main; main()"
WATCHED = """import sys
sys.argv[0] = 'reslab'
from reslab.cli.main import main
try:
    main(sys.argv[2:])
except SystemExit:
    pass
open(sys.argv[1], 'w').write(str('torch' in sys.modules))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all commands in turns. Print a table, and whether each target is met."""
    options = _parse(arguments)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision") if _installed(name))
    python, load = sys.version.split()[0], os.getloadavg()[0]
    print(f"{processor_name()}, {cores()} cores, load {load:.1f}, Python {python}")
    print(f"{versions}; {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environment = os.environ | {"XDG_CACHE_HOME": folder, "NO_COLOR": "1"}
        model, photo = options.model or _model(place), options.photo or _photo(place)
        _run(place, environment)
        commands = {f"reslab {of}": _reslab(of.split()) for of in WITHOUT_TORCH}
        predict = ["predict", os.path.abspath(model), os.path.abspath(photo)]
        commands["reslab predict MODEL PHOTO"] = _reslab(predict)
        commands["python -c 'import torch'"] = [sys.executable, "-c", "import torch"]
        commands["python -c ''"] = [sys.executable, "-c", ""]
        for name, (package, command) in RIVALS.items():
            if _installed(package):
                commands[f"{name} ({version(package)})"] = [sys.executable, *command]
            else:
                print(f"not installed, and left out: {package}")
        times = _in_turns(commands, options.rounds, environment, place)
        imported = {of: _imports_torch(of.split(), place, environment) for of in WITHOUT_TORCH}
    print()
    for name, seconds in times.items():
        median = statistics.median(seconds)
        print(f"  {name:42} {median:6.3f} s  [{min(seconds):.3f}, {max(seconds):.3f}]")
    print()
    for of, torch in imported.items():
        print(f"reslab {of}: {'IMPORTS torch' if torch else 'does not import torch'}")
    helped = statistics.median(times["reslab --help"])
    print(
        f"reslab --help: {helped:.3f} s (asked: under {HELP_TARGET}): "
        f"{'met' if helped < HELP_TARGET else 'NOT MET'}"
    )
    pairs = zip(times["reslab predict MODEL PHOTO"], times["python -c 'import torch'"], strict=True)
    ratios = [ours / torch for ours, torch in pairs]
    print(
        f"reslab predict, one photo: {statistics.median(ratios):.2f} x import torch "
        f"[{min(ratios):.2f}, {max(ratios):.2f}]"
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a model file or run folder to predict with")
    parser.add_argument("--photo", type=Path, help="the photo to predict")
    parser.add_argument("--rounds", type=int, default=7)
    return parser.parse_args(arguments)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _reslab(arguments: list[str]) -> list[str]:
    """Return the installed command, or the same through `python -c` if there is none."""
    script = Path(sys.executable).parent / "reslab"
    start = [str(script)] if script.exists() else [sys.executable, "-c", START]
    return [*start, *arguments]


def _model(folder: Path) -> Path:
    """Save a model in another process, so that this one stays small."""
    path = folder / "model.safetensors"
    program = (
        "import sys, reslab; from reslab.networks.registry import NetworkSpec; from reslab.photos.loading"
        ".preprocess import Preprocess; spec = NetworkSpec('resnet18', 2, 3, None); "
        "reslab.Classifier(spec.build(), ('cat', 'dog'), Preprocess(size=128, resize=146), spec)"
        ".save(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", program, path], check=True)
    return path


def _run(folder: Path, environment: dict[str, str]) -> None:
    """Train one epoch on a few plain images, into runs/first."""
    from PIL import Image

    for number in range(40):
        kind, colour = (("blue", (9, 9, 99 + number)), ("red", (99 + number, 9, 9)))[number % 2]
        (folder / "photos" / kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), colour).save(folder / "photos" / kind / f"{number}.png")
    settings = "--network cifar_resnet20 --size 32 --epochs 1 --precision fp32 --run runs/first"
    command = _reslab(["train", "photos", *settings.split()])
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)


def _photo(folder: Path) -> Path:
    from PIL import Image

    path = folder / "photo.jpg"
    Image.effect_mandelbrot((500, 375), (-2, -1.2, 1, 1.2), 50).convert("RGB").save(path)
    return path


def _in_turns(
    commands: dict[str, list[str]], rounds: int, environment: dict[str, str], folder: Path
) -> dict[str, list[float]]:
    """Return the seconds of each command in each round. Raise RuntimeError if a command fails."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            done = subprocess.run(command, env=environment, cwd=folder, capture_output=True)
            seconds = time.perf_counter() - started
            if done.returncode:
                raise RuntimeError(f"{name} failed:\n{done.stderr.decode(errors='replace')}")
            if number:
                times[name].append(seconds)
    return times


def _imports_torch(arguments: list[str], folder: Path, environment: dict[str, str]) -> bool:
    told = folder / "imported"
    command = [sys.executable, "-c", WATCHED, str(told), *arguments]
    subprocess.run(command, env=environment, cwd=folder, capture_output=True)
    return told.read_text() == "True"


if __name__ == "__main__":
    main()
