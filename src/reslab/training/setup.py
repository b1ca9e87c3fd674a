"""Network + photos + recipe -> a training that can start."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from reslab.evaluation.inference import predict_logits
from reslab.evaluation.metrics import mean_loss
from reslab.hardware import choose_device, keep_freed_memory
from reslab.networks.input_channels import input_channels
from reslab.networks.precision import Precision, parse_precision
from reslab.networks.registry import check_input
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.batches import Batches
from reslab.photos.loading.gpu_augmentation import keep_on_device
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.unreadable import ReadablePhotos, skip_unreadable
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision

from .epoch_plan import image_sizes
from .loop import Validate
from .optimizer import freeze, make_average, make_optimizer
from .progress import bar
from .recipe import Recipe
from .state import TrainState

log = logging.getLogger("reslab")


@dataclass(frozen=True)
class TrainingSetup:
    """A training that could begin: what `events` takes, and what it was made from."""

    state: TrainState
    train: Batches
    val: Batches
    preprocess: Preprocess
    measured: MeasuredPrecision

    def validate(self, progress: bool) -> Validate:
        """The function that measures a network on the validation split: (mean loss, accuracy)."""

        def validate(network: nn.Module, size: int) -> tuple[float, float]:
            labels = torch.from_numpy(self.val.photos.labels.astype(np.int64))
            batches = bar(self.val.epoch(size=size), len(self.val), "validation", progress)
            images = (batch.images for batch in batches)
            rows = list(predict_logits(network, images, self.state.device, self.state.precision))
            logits = torch.cat(rows)
            right = (logits.argmax(1) == labels).sum().item()
            return mean_loss(logits.numpy(), labels.numpy()), right / len(labels)

        return validate


def prepare(
    network: nn.Module,
    photos: Photos | ReadablePhotos,
    recipe: Recipe,
    *,
    measured: MeasuredPrecision | None = None,
    name: str | None = None,
    progress: bool = True,
    say: Callable[[str], Any] = lambda text: None,
) -> TrainingSetup:
    """Checks that network, photos and recipe fit together and puts them in place.

    `photos`: of Photos, those that cannot be read are left out with a warning; what `find_readable` gave is
    taken as it is. `measured` is the precision of an earlier start of the same run; without it, it is
    measured now.
    """
    name = name or type(network).__name__
    if isinstance(photos, Photos):
        photos = find_readable(network, photos, recipe, name=name, progress=progress)
        if photos.skipped.total:
            log.warning(photos.skipped.warning(photos.photos, shlex.quote(str(photos.photos.folder))))
    kept, preprocess = photos.photos, photos.preprocess
    recipe = recipe.for_photos(len(kept.train))
    device = choose_device(recipe.device)
    freeze(network, recipe.freeze)
    pixels = photos.pixels
    if not recipe.workers:  # whoever asks for processes wants the photos made there, and on the CPU
        pixels = keep_on_device(pixels, kept.train + kept.val, device)
    train = Batches(
        kept.train, pixels, preprocess, recipe.batch_size, True, recipe.seed, workers=recipe.workers
    )
    val = Batches(kept.val, pixels, preprocess, recipe.batch_size, workers=recipe.workers)
    if measured is None:
        measured = measure_precision(network, name, recipe, preprocess, len(kept.train), device, say)
    precision: Precision = parse_precision(measured.precision)
    precision.place(network, device)
    average = make_average(network, recipe.weight_averaging)
    optimizer = make_optimizer(network, recipe, precision)
    state = TrainState(network, optimizer, average, recipe, device, precision, measured.threads)
    return TrainingSetup(state, train, val, preprocess, measured)


def find_readable(
    network: nn.Module, photos: Photos, recipe: Recipe, *, name: str, progress: bool = True
) -> ReadablePhotos:
    """The photos of a new training without those that cannot be read.

    Before one is decoded, network and recipe are found to fit, and the network put on its device. Raises
    NetworkError and RecipeError, and PhotosError if too many photos cannot be read.
    """
    preprocess = _place(network, name, recipe, len(photos.classes))
    return skip_unreadable(photos, preprocess, cache=recipe.cache, progress=progress)


def find_again(
    network: nn.Module, photos: Photos, recipe: Recipe, *, name: str, progress: bool = True
) -> ReadablePhotos:
    """The same for the photos that a run began with: all could be read, and none is left out any more.

    Raises PhotosError if one has to be decoded anew and cannot be.
    """
    preprocess = _place(network, name, recipe, len(photos.classes))
    every = photos.train + photos.val + photos.test
    pixels = open_pixels(photos.folder, every, preprocess, cache=recipe.cache, progress=progress)
    return ReadablePhotos(photos, preprocess, pixels)


def _place(network: nn.Module, name: str, recipe: Recipe, num_classes: int) -> Preprocess:
    device = device_of(recipe)
    if device.type == "cpu":
        keep_freed_memory()
    preprocess = recipe.preprocess(input_channels(network))
    network.to(device)
    for size in image_sizes(recipe):
        check_input(network, name, preprocess.channels, size, num_classes)
    return preprocess


def device_of(recipe: Recipe) -> torch.device:
    """Where it computes. Raises RecipeError for a device or a precision that there is not."""
    if recipe.precision != "auto":
        parse_precision(recipe.precision)
    return choose_device(recipe.device)
