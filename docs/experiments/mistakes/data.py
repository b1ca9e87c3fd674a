"""Mistakes with data: Compose without its list, decoding, labels by folder order, no normalization."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import reslab
from reslab.errors import PhotosError
from reslab.photos.loading.augmentation import training_transform
from reslab.photos.loading.pixel_cache import open_pixels

from .bench import (
    Bench,
    Figures,
    accuracy,
    normalize,
    pictures,
    predict,
    preprocess_at,
    right,
    small_resnet,
    spread,
    update,
)


def compose_without_list(bench: Bench) -> Figures:
    """Return the message of the error, without the name of the class at its start."""
    compose: Any = v2.Compose  # no type checker would let this pass
    try:
        compose(v2.Resize(256), v2.CenterCrop(224), v2.ToImage())
    except TypeError as error:
        return {"message": str(error).partition("() ")[2]}
    return {"message": "no error"}


def folder_order(bench: Bench) -> Figures:
    """Evaluate on test/Dog and test/cat: capitals are sorted first, so the labels are swapped."""
    place = bench.folder.with_name(f"{bench.folder.name}-renamed")
    split = "train" if bench.quick else "test"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(bench.folder / "train", place / "train")
    for name in ("dog", "cat"):
        shutil.copytree(bench.folder / split / name, place / "test" / name.replace("dog", "Dog"))
    preprocess = preprocess_at(bench.size)
    tutorial = ImageFolder(str(place / "test"), v2.Compose([v2.PILToTensor(), preprocess.evaluation]))
    images, numbers = zip(*tutorial, strict=True)
    labels, names = torch.tensor(numbers), [tutorial.classes[number] for number in numbers]
    by_name = torch.tensor([("cat", "dog").index(name.lower()) for name in names])
    logits = [
        predict(right(bench, seed).network, normalize(torch.stack(images))) for seed in bench.every_seed
    ]
    return {
        "classes": ", ".join(tutorial.classes),
        **spread("by_order", [accuracy(rows, labels) for rows in logits]),
        **spread("by_name", [accuracy(rows, by_name) for rows in logits]),
        "answer": _answer(place),
    }


def _answer(folder: Path) -> str:
    """Return the message of reslab's error for this folder."""
    try:
        reslab.Photos(folder)
    except PhotosError as error:
        return error.what.replace(str(folder), "photos")
    return "nothing"


def no_normalization(bench: Bench) -> Figures:
    """Evaluate networks that were trained on normalized images on images from 0 to 1."""
    test = pictures(bench, "test")
    bare = test.images.float() / 255
    runs = [right(bench, seed) for seed in bench.every_seed]
    logits = [predict(run.network, bare) for run in runs]
    most = [torch.bincount(rows.argmax(1), minlength=2).max().item() / len(rows) for rows in logits]
    return {
        **spread("accuracy", [accuracy(rows, test.labels) for rows in logits]),
        **spread("right_accuracy", [accuracy(run.logits[-1], test.labels) for run in runs]),
        **spread("most_often", most),
    }


def decoding(bench: Bench) -> Figures:
    """Measure the CPU milliseconds per photo of 500 x 375 pixels: decode and crop, from the cache, update."""
    folder, size = _photos_of_usual_size(bench), 224
    prepare = v2.Compose([v2.RandomResizedCrop(size), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    photos = ImageFolder(str(folder), prepare)
    decode = _milliseconds(lambda: [photos[i] for i in range(len(photos))], len(photos))
    ours, preprocess = reslab.Photos(folder), reslab.Preprocess(size=size, resize=256)
    pixels = open_pixels(ours.folder, ours.train, preprocess, progress=False)
    transform = training_transform(preprocess)
    cached = _milliseconds(lambda: [transform(pixels.read(p)) for p in ours.train], len(ours.train))
    network = small_resnet()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    batch, labels = torch.rand(8, 3, size, size), torch.zeros(8, dtype=torch.int64)
    small = _milliseconds(lambda: update(network, optimizer, batch, labels), 8)
    large_network = reslab.resnet18(num_classes=2)
    large_optimizer = torch.optim.SGD(large_network.parameters(), 0.01)
    large = _milliseconds(lambda: update(large_network, large_optimizer, batch, labels), 8)
    return {
        "decode": decode,
        "cached": cached,
        "small_update": small,
        "large_update": large,
        "small_share": decode / (decode + small),
        "large_share": decode / (decode + large),
        "per_second": 1000 / decode,
        **_epochs_of_workers(photos, 1 if bench.quick else 3),
    }


def _photos_of_usual_size(bench: Bench) -> Path:
    place = bench.folder.with_name(f"{bench.folder.name}-large")
    shutil.rmtree(place, ignore_errors=True)
    for path in sorted((bench.folder / "train").glob("*/*.jpg"))[:: 4 if bench.quick else 16]:
        (place / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(path).resize((500, 375), Image.Resampling.BICUBIC).save(
            place / path.parent.name / path.name, quality=90
        )
    return place


def _milliseconds(work: Callable[[], object], count: int) -> float:
    """Return the CPU time of one of `count`, the better of two measurements: the first warms up."""
    times = []
    for _ in range(2):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return 1000 * min(times) / count


def _epochs_of_workers(photos: ImageFolder, epochs: int) -> Figures:
    """Return the photos per second of wall time in a training of the small network."""
    found: Figures = {}
    for workers in (0, 2):
        network = small_resnet()
        optimizer = torch.optim.SGD(network.parameters(), 0.01)
        loader = DataLoader(photos, 32, num_workers=workers, persistent_workers=workers > 0)
        for _ in loader:  # start the processes before the clock
            pass
        started = time.perf_counter()
        for _ in range(epochs):
            for images, labels in loader:
                update(network, optimizer, images, labels)
        found[f"photos_per_second_{workers}_workers"] = epochs * len(photos) / (time.perf_counter() - started)
    return found
