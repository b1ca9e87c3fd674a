"""Training and prediction while other processes use the cores, with and without GOMP_SPINCOUNT.

    python benchmarks/busy_machine.py [--seconds 12] [--rounds 3] [--others 0 2 6] [--precision fp32]

libgomp's waiting threads spin. On a busy machine they take the cores from the threads that they wait for.
Each setting runs in a process of its own, in turn, because libgomp reads its variables once. Training: steps
of ResNet-18, 64 px, batches of 32. Prediction: Classifier.predict_all of ResNet-18 on drawings at 128 px.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SETTINGS = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}


def main() -> None:
    """Run every setting next to every number of busy processes and print a table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seconds", type=float, default=12)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--others", type=int, nargs="+", default=[0, 2, 6])
    arguments.add_argument("--precision", default="fp32")
    arguments.add_argument("--work", nargs="+", default=["train", "predict"])
    arguments.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)  # work and folder of a child process
    given = arguments.parse_args()
    if given.measure:
        work, folder = given.measure
        measure = train if work == "train" else predict
        print(json.dumps(measure(Path(folder), given.seconds, given.precision)))
        return
    import reslab

    with tempfile.TemporaryDirectory() as folder:
        reslab.make_drawings(Path(folder) / "photos", train=400, test=4, size=160, progress=False)
        for work in given.work:
            for others in given.others:
                speeds: dict[str, list[float]] = {name: [] for name in SETTINGS}
                with busy(others):
                    for _ in range(given.rounds):
                        for name in SETTINGS:
                            speeds[name].append(child(name, work, folder, given))
                for name, values in speeds.items():
                    spread = f"{min(values):.1f} to {max(values):.1f}"
                    median = statistics.median(values)
                    print(f"{work:8} {others} busy  {name:24} {median:7.1f} images/s  ({spread})", flush=True)


def child(name: str, work: str, folder: str, given: argparse.Namespace) -> float:
    """Images per second of one setting in a new process."""
    free = {
        key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    command = [sys.executable, __file__, "--measure", work, folder]
    command += ["--seconds", str(given.seconds), "--precision", given.precision]
    done = subprocess.run(command, env=free | SETTINGS[name], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep `count` processes computing."""
    others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(count)]
    for process in others:
        process.start()
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.join()


def spin() -> None:
    """Compute for ever."""
    while True:
        sum(range(10_000))


def train(folder: Path, seconds: float, precision: str) -> float:
    """Images per second of training steps on random images."""
    import torch

    from reslab import resnet18
    from reslab.networks.precision import parse_precision

    chosen = parse_precision(precision)
    device = torch.device("cpu")
    network = chosen.place(resnet18(num_classes=2), device)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    images = chosen.place_images(torch.randn(32, 3, 64, 64), device)
    labels = torch.zeros(32, dtype=torch.int64)

    def step() -> None:
        with chosen.autocast(device):
            logits = network(images)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        step()
        count += 32
    return count / passed


def predict(folder: Path, seconds: float, precision: str) -> float:
    """Photos per second of Classifier.predict_all."""
    from reslab import Classifier, Preprocess, resnet18

    photos = sorted((folder / "photos").rglob("*.jpg"))
    classifier = Classifier(resnet18(num_classes=2).eval(), ("cat", "dog"), Preprocess(size=128, resize=146))
    started, count = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds:
        count += sum(1 for _ in classifier.predict_all(photos))
    return count / passed


if __name__ == "__main__":
    main()
