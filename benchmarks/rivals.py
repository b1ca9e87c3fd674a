"""Train ResNet-18 from scratch on a folder of photos as other tools do, each with its own settings.

Each tool is a function (folder, size, minutes) -> rows of (seconds of training, test accuracy), one per
epoch. A schedule that has to know its end gets as many epochs as fit into the minutes, by the speed of a
few batches. Measuring the accuracy does not count as training. timm, fastai and ultralytics are imported
where they are used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FINISH = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
WORKERS = 2
TRIED = 12  # steps by which a rival's speed is measured
Rows = Iterator[tuple[float, float]]
Loader = DataLoader[tuple[torch.Tensor, torch.Tensor]]


def tutorial(folder: Path, size: int, minutes: float) -> Rows:
    """The usual tutorial: Adam at 0.003, batches of 32, a constant rate, crops as ImageNet's."""

    def make() -> Training:
        network = models.resnet18(num_classes=2)
        optimizer = torch.optim.Adam(network.parameters(), 0.003)
        return Training(network, optimizer, nn.CrossEntropyLoss(), lambda done: 0.003)

    return _train(make, _train_loader(folder, size, 32), _test_loader(folder, size), minutes)


def torchvision_reference(folder: Path, size: int, minutes: float) -> Rows:
    """references/classification/train.py: SGD, 0.1 at 256 photos scaled to batches of 32, twice a tenth."""

    def curve(done: float) -> float:
        return 0.0125 * 0.1 ** ((done >= 1 / 3) + (done >= 2 / 3))

    def make() -> Training:
        network = models.resnet18(num_classes=2)
        optimizer = torch.optim.SGD(network.parameters(), 0.0125, momentum=0.9, weight_decay=1e-4)
        return Training(network, optimizer, nn.CrossEntropyLoss(), curve)

    return _train(make, _train_loader(folder, size, 32), _test_loader(folder, size), minutes)


def timm(folder: Path, size: int, minutes: float) -> Rows:
    """timm's train.py defaults: SGD with Nesterov, 0.1 at 256 photos, cosine after warming up, jitter 0.4."""
    import timm as library
    from timm.data import create_transform
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2

    rate, warm = 0.1 * 128 / 256, 0.05
    transform = create_transform(size, is_training=True, color_jitter=0.4)
    loader = DataLoader(
        ImageFolder(folder / "train", transform), 128, True, num_workers=WORKERS, drop_last=True
    )

    def curve(done: float) -> float:
        if done < warm:
            return 1e-5 + (rate - 1e-5) * done / warm
        return rate * (1 + math.cos(math.pi * (done - warm) / (1 - warm))) / 2

    def make() -> Training:
        network = library.create_model("resnet18", num_classes=2)
        optimizer = create_optimizer_v2(network, opt="sgd", lr=rate, weight_decay=2e-5, momentum=0.9)
        return Training(network, optimizer, LabelSmoothingCrossEntropy(0.1), curve)

    return _train(make, loader, _test_loader(folder, size), minutes)


def fastai(folder: Path, size: int, minutes: float) -> Rows:
    """fastai's fit_one_cycle at its default rate, with its own transforms in batches of 64."""
    from fastai.vision.all import (
        Callback,
        CancelFitException,
        ImageDataLoaders,
        Resize,
        accuracy,
        aug_transforms,
        resnet18,
        vision_learner,
    )  # fmt: skip

    batches = ImageDataLoaders.from_folder(
        folder, train="train", valid="test", item_tfms=Resize(round(size * 1.25)),
        batch_tfms=aug_transforms(size=size, min_scale=0.75), bs=64, num_workers=WORKERS,
    )  # fmt: skip
    rows: list[tuple[float, float]] = []

    class Timing(Callback):
        """Sum the time inside the training epochs, and measure accuracy as for the other tools."""

        seconds, order = 0.0, 60  # after the recorder, whose order is 50

        def before_train(self) -> None:
            self.started = time.perf_counter()

        def after_train(self) -> None:
            self.seconds += time.perf_counter() - self.started

        def after_epoch(self) -> None:
            rows.append((self.seconds, float(self.learn.recorder.values[-1][-1])))

    class TimedSteps(Callback):
        """Stop after a few steps, of which the second half is timed."""

        started = seconds = 0.0

        def after_batch(self) -> None:
            if self.iter + 1 == TRIED:
                self.started = time.perf_counter()
            if self.iter + 1 == 2 * TRIED:
                self.seconds = (time.perf_counter() - self.started) / TRIED
                raise CancelFitException

    def learner(callback: Callback) -> Any:
        return vision_learner(batches, resnet18, pretrained=False, metrics=accuracy, cbs=[callback])

    trial = TimedSteps()
    learner(trial).fit(1)
    learner(Timing()).fit_one_cycle(max(1, round(60 * minutes / (trial.seconds * len(batches.train)))))
    yield from rows


def ultralytics(folder: Path, size: int, minutes: float) -> Rows:
    """ultralytics' classify training of its own description of ResNet-18, from random weights."""
    import tempfile

    from ultralytics import YOLO
    from ultralytics.models.yolo.classify import ClassificationTrainer

    rows: list[tuple[float, float]] = []
    clock = {"seconds": 0.0, "started": 0.0}

    def begin(trainer: ClassificationTrainer) -> None:
        clock["started"] = time.perf_counter()

    def end(trainer: ClassificationTrainer) -> None:
        clock["seconds"] += time.perf_counter() - clock["started"]

    def measured(trainer: ClassificationTrainer) -> None:
        rows.append((clock["seconds"], float(trainer.metrics["metrics/accuracy_top1"])))

    with tempfile.TemporaryDirectory() as scratch:
        description = Path(scratch) / "resnet18-cls.yaml"
        description.write_text(
            "nc: 2\nbackbone:\n  - [-1, 1, TorchVision, [512, resnet18, None, True, 2]]\n"
            "head:\n  - [-1, 1, Classify, [nc]]\n"
        )
        network = YOLO(str(description), task="classify")
        for name, function in (
            ("on_train_epoch_start", begin), ("on_train_epoch_end", end), ("on_fit_epoch_end", measured),
        ):  # fmt: skip
            network.add_callback(name, function)
        photos = Path(scratch) / "photos"  # it writes a file next to the photos
        photos.mkdir()
        for split in ("train", "test"):
            (photos / split).symlink_to((folder / split).resolve())
        network.train(
            data=str(photos), imgsz=size, time=minutes / 60, workers=WORKERS, device="cpu", pretrained=False,
            project=scratch, plots=False, verbose=False,
        )  # fmt: skip
    yield from rows[:-1]  # the last is the best epoch, measured once more


RIVALS: dict[str, Callable[[Path, int, float], Rows]] = {
    "tutorial": tutorial,
    "torchvision": torchvision_reference,
    "timm": timm,
    "fastai": fastai,
    "ultralytics": ultralytics,
}


@dataclass(frozen=True)
class Training:
    """A network with its optimizer and schedule. `curve`: fraction of the run -> learning rate."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    loss: nn.Module
    curve: Callable[[float], float]

    def update(self, done: float, images: torch.Tensor, labels: torch.Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.curve(done)
        self.optimizer.zero_grad()
        self.loss(self.network(images), labels).backward()
        self.optimizer.step()


def _train(make: Callable[[], Training], loader: Loader, test: Loader, minutes: float) -> Rows:
    epochs = max(1, round(60 * minutes / (_seconds_per_step(make(), loader) * len(loader))))
    training, seconds = make(), 0.0
    for epoch in range(epochs):
        training.network.train()
        started = time.perf_counter()
        for number, (images, labels) in enumerate(loader):
            training.update((epoch + number / len(loader)) / epochs, images, labels)
        seconds += time.perf_counter() - started
        yield seconds, _accuracy(training.network, test)


def _train_loader(folder: Path, size: int, batch_size: int) -> Loader:
    steps = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *FINISH]
    photos = ImageFolder(folder / "train", v2.Compose(steps))
    return DataLoader(photos, batch_size, shuffle=True, num_workers=WORKERS)


def _test_loader(folder: Path, size: int) -> Loader:
    steps = [v2.Resize(round(size * 8 / 7)), v2.CenterCrop(size), *FINISH]
    return DataLoader(ImageFolder(folder / "test", v2.Compose(steps)), 128, num_workers=WORKERS)


def _seconds_per_step(trial: Training, loader: Loader) -> float:
    """Time a few steps, after as many that start the processes and fill their queues."""
    batches = iter(loader)
    for number, (images, labels) in enumerate(islice(batches, 2 * TRIED)):
        if number == TRIED:
            started = time.perf_counter()
        trial.update(0.0, images, labels)
    return (time.perf_counter() - started) / TRIED


def _accuracy(network: nn.Module, test: DataLoader[object]) -> float:
    network.eval()
    right = count = 0
    with torch.no_grad():
        for images, labels in test:
            right += (network(images).argmax(1) == labels).sum().item()
            count += len(labels)
    return right / count
