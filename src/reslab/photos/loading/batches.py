"""Batches: photos to (images, labels), resumable at any step, prepared one batch ahead.

The augmentation of an image depends on (seed, epoch, photo) alone, so the number of workers and a restart in
the middle of an epoch change nothing.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from reslab.errors import PhotosError, TrainingError
from reslab.parallel import end_with_parent, parent_id_for_workers
from reslab.photos.folder.photo_list import PhotoList
from reslab.randomness import permutation, uniforms_of_each

from .augmentation import NUMBERS_PER_PHOTO, augment, draw_views
from .gpu_augmentation import DevicePixels, augment_on_device, evaluate_on_device
from .pixel_store import Pixels
from .preprocess import Preprocess
from .replacements import Replacements, read_or_replace


class Batch(NamedTuple):
    """A batch of images with their labels, which unpacks as `images, labels`.

    Attributes:
        images: float32 (N, channels, size, size), normalized, on the device of the pixels.
        labels: int64 (N,), on the CPU.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batches:
    """Batches of one split of photos, for any epoch and from any step.

    A thread prepares the next batch, or `workers` processes do.

    Args:
        photos: photos of one split.
        pixels: source of their pixels, from `pixel_cache.open_pixels`.
        preprocess: size, normalization and augmentation of the images.
        batch_size: images per batch. In training, a last batch of one image is merged into the batch before
            it, because batch norm needs two.
        augment: shuffle and augment by (seed, epoch), for training. Otherwise the batches follow the order of
            `photos`, and every image is the center crop.
        seed: seed of order, augmentation and replacements.
        workers: processes that prepare batches; 0 for a thread of this process.
    """

    photos: PhotoList
    pixels: Pixels
    preprocess: Preprocess
    batch_size: int
    augment: bool = False
    seed: int = 0
    workers: int = 0

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, 0 without photos."""
        count, size = len(self.photos), self.batch_size
        merge_last = self.augment and count > size > 1 and count % size == 1
        return -(-count // size) - merge_last

    def epoch(
        self,
        epoch: int = 0,
        first_step: int = 0,
        *,
        size: int | None = None,
        replacements: Replacements | None = None,
    ) -> Generator[Batch, None, None]:
        """Yield the batches of an epoch. Closing the generator ends its thread or workers.

        Args:
            epoch: number of the epoch, from 0; it determines order and augmentation.
            first_step: first batch to yield, from 0; the batches before it are not prepared.
            size: side of the images in pixels; that of the preprocessing by default.
            replacements: use another photo, with its own label, for one that cannot be read, and count it
                here. None to raise instead.

        Raises:
            PhotosError: a photo cannot be read; with `replacements`, too many photos or all substitutes.
            TrainingError: a worker process died.
        """
        preprocess = self.preprocess if size is None else self.preprocess.at(size)
        steps = _EpochSteps(self, preprocess, epoch, replacements is not None)
        wanted = range(first_step, len(self))
        made = _from_workers(steps, wanted) if self.workers else _one_ahead(steps.__getitem__, wanted)
        with closing(made):  # an error's traceback would keep the generator and its thread alive
            for item in made:
                if isinstance(item, PhotosError):
                    raise item
                for path, why in item.replaced:
                    assert replacements is not None
                    replacements.add(path, why, len(self.photos))
                yield Batch(preprocess.normalize(item.images), item.labels)


class _RawBatch(NamedTuple):
    """A batch before normalization, as a worker sends it.

    Attributes:
        images: uint8 (N, channels, size, size).
        labels: int64 (N,).
        replaced: (path, why) of each photo that could not be read and was replaced.
    """

    images: Tensor
    labels: Tensor
    replaced: tuple[tuple[str, str], ...]


class _EpochSteps(Dataset[Any]):
    """Steps of one epoch, as a dataset. Item `step` is a whole _RawBatch, or the PhotosError of making it.

    Args:
        batches: photos, pixels and settings.
        preprocess: preprocessing at the size of this epoch.
        epoch: number of the epoch.
        replace: replace photos that cannot be read.
    """

    def __init__(self, batches: Batches, preprocess: Preprocess, epoch: int, replace: bool) -> None:
        self.batches, self.preprocess, self.epoch, self.replace = batches, preprocess, epoch, replace
        count = len(batches.photos)
        shuffle = batches.augment
        self.order = permutation(batches.seed, "order", epoch, count=count) if shuffle else np.arange(count)

    def __getitem__(self, step: int) -> _RawBatch | PhotosError:
        size, last = self.batches.batch_size, step == len(self.batches) - 1
        indices = self.order[step * size : None if last else (step + 1) * size]
        try:
            return self._make(indices)
        except PhotosError as error:
            return error  # a worker would raise it as a RuntimeError

    def _make(self, indices: NDArray[np.int64]) -> _RawBatch:
        """Return the batch of the photos with these indices. Raises PhotosError."""
        batches = self.batches
        pixels, labels, replaced = [], [], []
        for index in indices:
            photo = batches.photos[int(index)]
            if self.replace:
                read, used, error = read_or_replace(
                    batches.pixels.read, photo, batches.photos, batches.seed, self.epoch
                )
                if error is not None:
                    replaced.append((photo.path, error.why or error.what))
            else:
                read, used = batches.pixels.read(photo), photo
            pixels.append(read)
            labels.append(used.label)
        images = self._augment(pixels, indices) if batches.augment else self._evaluate(pixels)
        return _RawBatch(images, torch.tensor(labels), tuple(replaced))

    def _augment(self, pixels: Sequence[Tensor], indices: NDArray[np.int64]) -> Tensor:
        things = self.batches.photos.digests[indices].view(np.uint64)  # (N, 2)
        numbers = uniforms_of_each(
            self.batches.seed, "augmentation", self.epoch, things=things, count=NUMBERS_PER_PHOTO
        )
        sizes = np.array([photo.shape[1:] for photo in pixels], np.int64)  # (N, 2)
        views = draw_views(self.preprocess, sizes, numbers)
        on_device = isinstance(self.batches.pixels, DevicePixels)
        return (augment_on_device if on_device else augment)(self.preprocess, pixels, views)

    def _evaluate(self, pixels: Sequence[Tensor]) -> Tensor:
        if isinstance(self.batches.pixels, DevicePixels):
            return evaluate_on_device(self.preprocess, pixels)
        return torch.stack([self.preprocess.evaluation(photo) for photo in pixels])


def _one_ahead(make: Callable[[int], Any], steps: Sequence[int]) -> Generator[Any, None, None]:
    """Yield `make(step)` for each of the consecutive `steps`, while a thread makes the next one.

    What `make` raises is raised at its step.
    """
    pool = ThreadPoolExecutor(1, "batches")
    try:
        ahead = [pool.submit(make, step) for step in steps[:1]]
        for step in steps:
            made = ahead.pop().result()
            if step != steps[-1]:
                ahead.append(pool.submit(make, step + 1))
            yield made
    finally:
        pool.shutdown(cancel_futures=True)


def _from_workers(steps: _EpochSteps, wanted: Sequence[int]) -> Generator[Any, None, None]:
    """Yield the items of the `wanted` steps in order, made by worker processes.

    Raises TrainingError if a worker died.
    """
    loader = DataLoader(
        steps,
        batch_size=None,  # a step is a batch already
        sampler=wanted,
        num_workers=steps.batches.workers,
        worker_init_fn=partial(_start_worker, parent_id_for_workers()),
        generator=torch.Generator(),  # otherwise it draws from the global random state
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that prepares batches died",
            f"{error}; the usual reason is a lack of memory",
            "use fewer --workers; 0 prepares batches in this process",
        ) from error


def _start_worker(parent: int | None, _: int) -> None:
    """Set up a worker process: it ends with its parent and leaves Ctrl-C and the first SIGTERM to it.

    A connection that the parent closes prints no traceback.

    Args:
        parent: process id from parent_id_for_workers.
        _: number of the worker, from the DataLoader.
    """
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, EOFError | ConnectionError):
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = excepthook
