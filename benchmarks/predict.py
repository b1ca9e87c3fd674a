"""Compare `reslab predict` on many photos with a plain torchvision loop and with ultralytics.

    reslab train photos --recipe finetune --run runs/first
    python benchmarks/predict.py photos/test runs/first                    2,000 photos, three rounds
    python benchmarks/predict.py photos/test runs/first --photos 500 --rounds 1

MODEL is a run or a model file of a network that torchvision has by the same name. It predicts photos of
--size pixels, even if it was trained at another size. It must be trained: with random weights nearly every
photo is ambiguous and computed twice.

The tools take turns, each time in a new process. torchvision's network has the same weights in fp32 and a
DataLoader of two workers, batches of 64. ultralytics' predict wraps the same network with random weights,
since its answers are not compared; batches of 64, all threads, where it would take one less. `inside` is
the time after everything is loaded and one photo is predicted. `whole` is that of the process from its
start; for reslab that of the command. A ratio is the median over the rounds of the ratios within a round,
with the smallest and the largest. Tools that are not installed are skipped.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

TARGETS = {"torchvision": 3.0, "ultralytics": 1.5}
NEEDED = {"reslab": "reslab", "torchvision": "torchvision", "ultralytics": "ultralytics"}
BATCH_SIZE, WORKERS = 64, 2
Labels = list[str]
Answer = Callable[[list[Path]], Labels]


def reslab(model: Path) -> Answer:
    from reslab import Classifier

    classifier = Classifier.load(model, device="cpu")
    return lambda photos: [str(prediction.label) for prediction in classifier.predict_all(photos)]


def torchvision(model: Path) -> Answer:
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import models
    from torchvision.transforms import v2

    from reslab import Classifier

    given = Classifier.load(model, device="cpu")
    network = models.get_model(given.spec.name, num_classes=len(given.classes))
    network.load_state_dict(given.network.state_dict())
    network.eval()
    preprocess = given.preprocess
    transform = v2.Compose([
        v2.Resize(preprocess.resize), v2.CenterCrop(preprocess.size), v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(preprocess.mean, preprocess.std),
    ])  # fmt: skip

    class Folder(Dataset[torch.Tensor]):
        def __init__(self, photos: list[Path]) -> None:
            self.photos = photos

        def __len__(self) -> int:
            return len(self.photos)

        def __getitem__(self, index: int) -> torch.Tensor:
            image: torch.Tensor = transform(Image.open(self.photos[index]).convert("RGB"))
            return image

    def answer(photos: list[Path]) -> Labels:
        labels: Labels = []
        with torch.no_grad():
            for images in DataLoader(Folder(photos), BATCH_SIZE, num_workers=WORKERS):
                labels += [given.classes[i] for i in network(images).argmax(1).tolist()]
        return labels

    return answer


def ultralytics(model: Path) -> Answer:
    import torch
    from ultralytics import YOLO

    from reslab import Classifier

    given = Classifier.load(model, device="cpu")
    width = given.network.get_submodule("fc").in_features
    with tempfile.TemporaryDirectory() as scratch:
        description = Path(scratch) / "wrapped-cls.yaml"
        description.write_text(
            f"nc: {len(given.classes)}\n"
            f"backbone:\n  - [-1, 1, TorchVision, [{width}, {given.spec.name}, None, True, 2]]\n"
            "head:\n  - [-1, 1, Classify, [nc]]\n"
        )
        network = YOLO(str(description), task="classify", verbose=False)
    network.add_callback("on_predict_start", lambda _: torch.set_num_threads(len(os.sched_getaffinity(0))))

    def answer(photos: list[Path]) -> Labels:
        found = network.predict(
            [str(photo) for photo in photos] if len(photos) == 1 else str(photos[0].parent),
            imgsz=given.preprocess.size, batch=BATCH_SIZE, stream=True, device="cpu", verbose=False,
        )  # fmt: skip
        return [result.names[result.probs.top1] for result in found]

    return answer


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    if options.one:
        _one(options)
        return
    import torch

    from reslab.hardware import cores, processor_name

    present = [name for name, needed in NEEDED.items() if importlib.util.find_spec(needed)]
    versions = ", ".join(f"{name} {_version(name)}" for name in ["torch", *present])
    print(f"{processor_name()}, {cores()} cores, {torch.get_num_threads()} threads; {versions}")
    for name in NEEDED.keys() - present:
        print(f"{name} is not installed and left out")
    with _prepared(options) as (folder, model):
        rounds = [_round(present, folder, model, number) for number in range(options.rounds)]
    for kind in ("inside", "whole"):
        print(f"\n{kind}:")
        for name in present:
            seconds = [r[name, kind] for r in rounds]
            print(
                f"  {name:12} {statistics.median(seconds):7.2f} s [{min(seconds):.2f}, {max(seconds):.2f}]",
                end="",
            )
            ratios = [r[name, kind] / r["reslab", kind] for r in rounds]
            target = f", the target is {TARGETS[name]} x" if name in TARGETS else ""
            print(f"  {statistics.median(ratios):5.2f} x [{min(ratios):.2f}, {max(ratios):.2f}]{target}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="JPEGs, at any depth")
    parser.add_argument("model", type=Path, help="a run or a model file")
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128, help="in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--one", choices=list(NEEDED), help="used by the script itself: one turn of one rival"
    )
    parser.add_argument(
        "--warm", action="store_true", help="used by the script itself: one photo before the others"
    )
    return parser.parse_args(arguments)


@contextmanager
def _prepared(options: argparse.Namespace) -> Iterator[tuple[Path, Path]]:
    """Make a flat folder of links to the photos, and the model at this size as a file."""
    from reslab import Classifier

    found = sorted(options.folder.rglob("*.jpg"))
    step = max(1, len(found) // options.photos)
    chosen = found[::step][: options.photos]
    if not chosen:
        sys.exit(f"there is no .jpg in {options.folder}")
    with tempfile.TemporaryDirectory() as scratch:
        folder, model = Path(scratch) / "photos", Path(scratch) / "model.safetensors"
        folder.mkdir()
        for number, photo in enumerate(chosen):
            (folder / f"{number:06}.jpg").symlink_to(photo.resolve())
        classifier = Classifier.load(options.model, device="cpu")
        replace(classifier, preprocess=classifier.preprocess.at(options.size)).save(model)
        print(f"{len(chosen)} photos, {classifier.spec.name} at {options.size} pixels")
        yield folder, model


def _round(names: list[str], folder: Path, model: Path, number: int) -> dict[tuple[str, str], float]:
    seconds, labels = {}, {}
    for name in names:
        own = [sys.executable, __file__, str(folder), str(model), "--one", name]
        said = json.loads(_run([*own, "--warm"])[0])
        seconds[name, "inside"], labels[name] = said["seconds"], said["labels"]
        command = [
            sys.executable,
            "-m",
            "reslab",
            "predict",
            str(model),
            str(folder),
            "--csv",
            "--device",
            "cpu",
        ]
        seconds[name, "whole"] = _run(command if name == "reslab" else own)[1]
    times = ", ".join(
        f"{name} {seconds[name, 'inside']:.2f} / {seconds[name, 'whole']:.2f} s" for name in names
    )
    other = sum(a != b for a, b in zip(labels["reslab"], labels["torchvision"], strict=True))
    print(f"round {number + 1}: {times} (inside / whole); load {os.getloadavg()[0]:.1f}; "
          f"{other} labels other than torchvision's", flush=True)  # fmt: skip
    return seconds


def _run(command: list[str]) -> tuple[str, float]:
    started = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip().rpartition("\n")[2], time.perf_counter() - started


def _one(options: argparse.Namespace) -> None:
    photos = sorted(options.folder.iterdir())
    answer = {"reslab": reslab, "torchvision": torchvision, "ultralytics": ultralytics}[options.one](
        options.model
    )
    if options.warm:
        answer(photos[:1])
    started = time.perf_counter()
    labels = answer(photos)
    assert len(labels) == len(photos)
    print(json.dumps({"seconds": time.perf_counter() - started, "labels": labels}))


def _version(name: str) -> str:
    from importlib.metadata import version

    return version(name)


if __name__ == "__main__":
    main()
