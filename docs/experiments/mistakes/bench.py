"""Drawn images, a small residual network and a training loop, shared by all experiments.

The wrong and the right version of a line train on the same images in the same order, from the same first
weights. Only the line differs. One thread, so that a seed gives the same figures again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

import reslab
from reslab.networks.resnet import ResNet

Figures = dict[str, float | str | list[float]]
Update = Callable[[nn.Module, torch.optim.Optimizer, Tensor, Tensor], float]


@dataclass(frozen=True)
class Bench:
    """Size of the experiments.

    The quick version evaluates the network on its training images, so that it shows every effect in seconds.
    It measures the direction of an effect, not its size.
    """

    folder: Path
    train: int = 2000
    test: int = 600
    epochs: int = 10
    seeds: int = 3
    size: int = 64
    repeats: int = 20  # of cheap measurements, such as a validation
    quick: bool = False

    def make_drawings(self) -> None:
        """Make the drawn set, unless it exists."""
        if not self.folder.exists():
            reslab.make_drawings(self.folder, train=self.train, test=self.test, progress=False)

    @property
    def every_seed(self) -> range:
        return range(self.seeds)


def quick(folder: Path) -> Bench:
    return Bench(folder, train=48, test=48, epochs=12, seeds=1, size=48, repeats=5, quick=True)


@dataclass(frozen=True, eq=False)
class Pictures:
    """images: uint8 (N, 3, size, size); labels: int64 (N,), in the order of the files."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after its epochs; `losses` by epoch, `updates` by update, `logits` (N, classes) by epoch."""

    network: nn.Module
    losses: tuple[float, ...]
    updates: tuple[float, ...]
    logits: tuple[Tensor, ...]
    seconds: float


@cache
def pictures(bench: Bench, split: str, size: int | None = None) -> Pictures:
    """Load a split, preprocessed except for `normalize`. `size` enlarges the images."""
    photos, preprocess = reslab.Photos(bench.folder, val_fraction=0.05), preprocess_at(bench.size)
    chosen = photos.test if split == "test" and not bench.quick else photos.train
    images = torch.stack([preprocess.evaluation(preprocess.read(photos.path(photo))) for photo in chosen])
    if size:
        images = v2.functional.resize(images, [size, size], antialias=True)
    return Pictures(images, torch.tensor([photo.label for photo in chosen]))


def preprocess_at(size: int) -> reslab.Preprocess:
    return reslab.Preprocess(size=size, resize=size)


def small_resnet(num_classes: int = 2) -> ResNet:
    """Create ResNet-18 with one narrow block per stage instead of two: 310,000 parameters."""
    return ResNet(
        reslab.BasicBlock, (1, 1, 1, 1), (16, 32, 64, 128), stem_channels=16, num_classes=num_classes
    )


def update(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> float:
    """Update the network once, without a mistake. Return the loss."""
    loss = cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def order(bench: Bench, seed: int, epoch: int, count: int) -> Iterator[tuple[Tensor, bool]]:
    """Yield each batch of an epoch: indices of its images, and whether they are mirrored."""
    generator = torch.Generator().manual_seed(1000 * seed + epoch)
    for chosen in torch.randperm(count, generator=generator).split(16 if bench.quick else 32):
        yield chosen, bool(torch.rand((), generator=generator) < 0.5)


def learn(
    bench: Bench,
    seed: int,
    step: Update = update,
    *,
    num_classes: int = 2,
    size: int | None = None,
    epochs: int | None = None,
    crop: v2.Transform | None = None,
) -> Trained:
    """Train the small network by `step`. Adam, the learning rate in one cycle up to 0.004."""
    train, test = pictures(bench, "train", size), pictures(bench, "test", size)
    torch.manual_seed(seed)
    network, epochs = small_resnet(num_classes), epochs or bench.epochs
    optimizer = torch.optim.Adam(network.parameters())
    count = len(train.labels)
    steps = sum(1 for _ in order(bench, seed, 0, count)) * epochs
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.004, steps)
    losses, updates, logits, started = [], [], [], time.process_time()
    for epoch in range(epochs):
        network.train()
        of_epoch = []
        for chosen, mirrored in order(bench, seed, epoch, count):
            images = train.images[chosen].flip(3) if mirrored else train.images[chosen]
            images = crop(images) if crop else images
            of_epoch.append(step(network, optimizer, normalize(images), train.labels[chosen]))
            schedule.step()
        losses.append(fmean(of_epoch))
        updates += of_epoch
        logits.append(predict(network, normalize(test.images)))
    return Trained(network, tuple(losses), tuple(updates), tuple(logits), time.process_time() - started)


@cache
def right(bench: Bench, seed: int) -> Trained:
    """Train without a mistake. The result is cached, since most experiments compare with it."""
    return learn(bench, seed)


def normalize(images: Tensor) -> Tensor:
    return preprocess_at(images.shape[-1]).normalize(images)


def predict(network: nn.Module, images: Tensor, batch_size: int = 100) -> Tensor:
    """Return the logits (N, classes), validated without a mistake."""
    network.eval()
    with torch.no_grad():
        return torch.cat([network(batch) for batch in images.split(batch_size)])


def accuracy(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(1) == labels).float().mean().item()


def spread(name: str, values: Sequence[float]) -> Figures:
    """Return mean, minimum and maximum as {name, name_low, name_high}."""
    return {name: fmean(values), f"{name}_low": min(values), f"{name}_high": max(values)}
