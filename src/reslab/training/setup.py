"""Prepare a training: check that network, photos and recipe fit together, and put them on the device."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from reslab.evaluation.inference import predict_logits
from reslab.evaluation.probabilities import mean_loss
from reslab.hardware import choose_device, keep_freed_memory
from reslab.networks.input_channels import input_channels
from reslab.networks.precision import parse_precision
from reslab.networks.registry import check_input
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.batches import Batches
from reslab.photos.loading.data_range import find_data_range
from reslab.photos.loading.gpu_augmentation import keep_on_device
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.unreadable import ReadablePhotos, skip_unreadable
from reslab.training.timing.autotune import measure_precision
from reslab.training.timing.precision_cache import MeasuredPrecision

from .epoch_plan import image_sizes
from .loop import Validate
from .mixing import make_mixing
from .optimizer import freeze, make_average, make_optimizer
from .progress import bar
from .recipe import Recipe
from .state import TrainState

log = logging.getLogger("reslab")


@dataclass(frozen=True)
class TrainingSetup:
    """A training that is ready to start.

    Attributes:
        state: network, optimizer and position, for `training_loop`.
        train: batches of the training split.
        val: batches of the validation split.
        preprocess: preprocessing of the photos.
        measured: precision and threads, with the measurements that chose them.
    """

    state: TrainState
    train: Batches
    val: Batches
    preprocess: Preprocess
    measured: MeasuredPrecision

    def validate(self, progress: bool) -> Validate:
        """Return a function (network, image size in pixels) -> (mean loss, accuracy) on the validation split.

        Args:
            progress: show a progress bar on a terminal.
        """

        def validate(network: nn.Module, size: int) -> tuple[float, float]:
            labels = torch.from_numpy(self.val.photos.labels.astype(np.int64))
            batches = bar(self.val.epoch(size=size), len(self.val), "validation", progress)
            images = (batch.images for batch in batches)
            logits = torch.cat(list(predict_logits(network, images, self.state.device, self.state.precision)))
            correct = (logits.argmax(1) == labels).sum().item()
            return mean_loss(logits.numpy(), labels.numpy()), correct / len(labels)

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
    """Prepare a training and return everything that `training_loop` needs.

    Args:
        network: trained in place. It is moved to the device and the memory format of the precision, and the
            recipe's `freeze` sets requires_grad to False.
        photos: Photos, of which unreadable ones are skipped with a warning, or the result of `open_photos`.
        recipe: settings of the training.
        measured: precision of an earlier start of the same run; measured now by default.
        name: name of the network in messages; the name of its class by default.
        progress: show progress bars on a terminal.
        say: called with each line of text for people.

    Raises:
        PhotosError: too many photos cannot be read.
        NetworkError: the network does not fit the photos.
        RecipeError: a setting does not fit the network, the photos or this machine.
        TrainingError: the memory is too small for a batch.
    """
    name = name or type(network).__name__
    if isinstance(photos, Photos):
        photos = open_photos(network, photos, recipe, name=name, progress=progress)
        if photos.data_range is not None:
            say(str(photos.data_range))
        if photos.skipped.total:
            log.warning(photos.skipped.warning(photos.photos, shlex.quote(str(photos.photos.folder))))
    readable, preprocess, pixels = photos.photos, photos.preprocess, photos.pixels
    recipe = recipe.for_photos(len(readable.train))
    if preprocess.value_range != recipe.value_range:
        recipe = recipe.with_settings(value_range=preprocess.value_range)
    device = choose_device(recipe.device)
    freeze(network, recipe.freeze)
    if not recipe.workers:  # workers prepare images on the CPU
        pixels = keep_on_device(pixels, readable.train + readable.val, device)
    train = Batches(
        readable.train, pixels, preprocess, recipe.batch_size, True, recipe.seed, workers=recipe.workers
    )
    val = Batches(readable.val, pixels, preprocess, recipe.batch_size, workers=recipe.workers)
    if measured is None:
        measured = measure_precision(network, recipe, len(readable.train), device, say)
    precision = parse_precision(measured.precision)
    precision.place(network, device)
    average = make_average(network, recipe.weight_averaging)
    optimizer = make_optimizer(network, recipe, precision)
    num_classes = len(readable.classes)
    weights = None
    if recipe.class_weights == "balanced":
        weights = balanced_class_weights(readable.train.labels, num_classes).to(device)
    state = TrainState(
        network,
        optimizer,
        average,
        recipe,
        device,
        precision,
        measured.threads,
        make_mixing(recipe, num_classes),
        weights,
    )
    return TrainingSetup(state, train, val, preprocess, measured)


def balanced_class_weights(labels: NDArray[np.int32], num_classes: int) -> torch.Tensor:
    """Return the weight of each class in the loss: float32 (num_classes,).

    It is the mean number of photos of a class over the number of this class, as scikit-learn's "balanced"
    (King and Zeng 2001, "Logistic Regression in Rare Events Data", section 4.2).

    Args:
        labels: (N,), with photos of every class.
        num_classes: number of classes.
    """
    counts = np.bincount(labels, minlength=num_classes)
    return torch.from_numpy((len(labels) / (num_classes * counts)).astype(np.float32))


def open_photos(
    network: nn.Module, photos: Photos, recipe: Recipe, *, name: str, progress: bool = True
) -> ReadablePhotos:
    """Check that network and recipe fit the photos, then decode all photos and skip unreadable ones.

    The network is moved to the device of the recipe.

    Args:
        name: of the network, for errors.

    Returns:
        The readable photos with their decoded pixels and preprocessing, and what was skipped.

    Raises:
        NetworkError: the network does not fit the photos.
        RecipeError: a setting does not fit the network or this machine.
        PhotosError: too many photos cannot be read.
    """
    preprocess = _check_and_place(network, name, recipe, len(photos.classes))
    train = photos.train
    found = find_data_range(photos.folder, train.paths, train.digests, recipe.value_range)
    if found is not None:
        preprocess = preprocess.model_copy(update={"value_range": (found.low, found.high)})
    readable = skip_unreadable(photos, preprocess, cache=recipe.cache, progress=progress)
    return replace(readable, data_range=found)


def reopen_photos(
    network: nn.Module, photos: Photos, recipe: Recipe, *, name: str, progress: bool = True
) -> ReadablePhotos:
    """Open the photos of a run that is resumed, without skipping any. Otherwise as `open_photos`.

    Raises:
        NetworkError: the network does not fit the photos.
        RecipeError: a setting does not fit the network or this machine.
        PhotosError: a photo that is not in the cache cannot be read.
    """
    preprocess = _check_and_place(network, name, recipe, len(photos.classes))
    every = photos.train + photos.val + photos.test
    pixels = open_pixels(photos.folder, every, preprocess, cache=recipe.cache, progress=progress)
    return ReadablePhotos(photos, preprocess, pixels)


def _check_and_place(network: nn.Module, name: str, recipe: Recipe, num_classes: int) -> Preprocess:
    """Move the network to the recipe's device, check it at each image size, and return the preprocessing.

    Raises:
        NetworkError: it does not accept the images, which have 1 or 3 channels, or does not return logits
            (N, num_classes).
        RecipeError: the device or the precision is unknown.
    """
    device = check_device(recipe)
    if device.type == "cpu":
        keep_freed_memory()
    preprocess = recipe.preprocess(input_channels(network))
    network.to(device)
    for size in image_sizes(recipe):
        check_input(network, name, preprocess.channels, size, num_classes)
    return preprocess


def check_device(recipe: Recipe) -> torch.device:
    """Return the recipe's device. Raise RecipeError for an unknown precision or an unavailable device."""
    if recipe.precision != "auto":
        parse_precision(recipe.precision)
    return choose_device(recipe.device)
