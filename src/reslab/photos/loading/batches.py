"""Photos -> (images, labels), resumable at any step, one batch ahead.

What an image looks like in an epoch depends on (seed, epoch, image) alone, so that the number of workers and
a restart in mid-epoch change nothing.
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
from reslab.parallel import end_with_parent, own_number
from reslab.photos.folder.photo_list import PhotoList
from reslab.randomness import permutation, uniforms_of_each

from .augmentation import NUMBERS, augment, draw
from .gpu_augmentation import DevicePixels, augment_on_device, evaluate_on_device
from .pixel_store import Pixels
from .preprocess import Preprocess
from .replacements import Replacements, read_or_replace


class Batch(NamedTuple):
    """images: float32 (N, channels, size, size), normalised, where the pixels are; labels: int64 (N,), CPU"""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batches:
    """One split of photos in batches, as often as asked for, at any epoch and step.

    With `augment` in an order and under transforms that belong to (seed, epoch); without, in the order of the
    files and never altered. A last batch of one image joins the one before it: batch norm needs two. The next
    batch is made while the present one is looked at: by a thread, or by `workers` processes.
    """

    photos: PhotoList
    pixels: Pixels
    preprocess: Preprocess
    batch_size: int
    augment: bool = False
    seed: int = 0
    workers: int = 0

    def __len__(self) -> int:
        count, size = len(self.photos), self.batch_size
        joins = self.augment and count > size > 1 and count % size == 1
        return -(-count // size) - joins

    def epoch(
        self,
        epoch: int = 0,
        first_step: int = 0,
        *,
        size: int | None = None,
        replacements: Replacements | None = None,
    ) -> Generator[Batch, None, None]:
        """The batches of `epoch` from `first_step` on, `size` pixels wide if not the preprocessing's size.

        Raises PhotosError if a photo cannot be read; with `replacements` another one takes its place and is
        counted there, until they are too many.
        """
        look = self.preprocess if size is None else self.preprocess.at(size)
        steps = _Steps(self, look, epoch, replacements is not None)
        wanted = range(first_step, len(self))
        made = _from_workers(steps, wanted) if self.workers else _one_ahead(steps.__getitem__, wanted)
        with closing(made):  # else an error would keep it, and its thread might be the one that ends it
            for item in made:
                if isinstance(item, PhotosError):
                    raise item
                for path, why in item.replaced:
                    assert replacements is not None
                    replacements.add(path, why, len(self.photos))
                yield Batch(look.normalize(item.images), item.labels)


class _Made(NamedTuple):
    """A batch as a worker hands it over: uint8 images; what was replaced, as (path, why)."""

    images: Tensor
    labels: Tensor
    replaced: tuple[tuple[str, str], ...]


class _Steps(Dataset[Any]):
    """The steps of one epoch: an item is a whole batch, or the PhotosError that prevented it."""

    def __init__(self, batches: Batches, look: Preprocess, epoch: int, replace: bool) -> None:
        self.batches, self.look, self.epoch, self.replace = batches, look, epoch, replace
        count = len(batches.photos)
        drawn = batches.augment
        self.order = permutation(batches.seed, "order", epoch, count=count) if drawn else np.arange(count)

    def __getitem__(self, step: int) -> _Made | PhotosError:
        size, last = self.batches.batch_size, step == len(self.batches) - 1
        indices = self.order[step * size : None if last else (step + 1) * size]
        try:
            return self._make(indices)
        except PhotosError as error:
            return error  # a worker can return it whole, but not raise it whole

    def _make(self, indices: NDArray[np.int64]) -> _Made:
        batches = self.batches
        pixels, labels, replaced = [], [], []
        for index in indices:
            wanted = batches.photos[int(index)]
            if self.replace:
                read, photo, why = read_or_replace(
                    batches.pixels.read, wanted, batches.photos, batches.seed, self.epoch
                )
                replaced += [] if why is None else [(wanted.path, why.why or why.what)]
            else:
                read, photo = batches.pixels.read(wanted), wanted
            pixels.append(read)
            labels.append(photo.label)
        images = self._augmented(pixels, indices) if batches.augment else self._unaltered(pixels)
        return _Made(images, torch.tensor(labels), tuple(replaced))

    def _augmented(self, pixels: Sequence[Tensor], indices: NDArray[np.int64]) -> Tensor:
        things = self.batches.photos.digests[indices].view(np.uint64)  # (N, 2)
        numbers = uniforms_of_each(
            self.batches.seed, "augmentation", self.epoch, things=things, count=NUMBERS
        )
        sizes = np.array([photo.shape[1:] for photo in pixels], np.int64)  # (N, 2)
        views = draw(self.look, sizes, numbers)
        if isinstance(self.batches.pixels, DevicePixels):
            return augment_on_device(self.look, pixels, views)
        return augment(self.look, pixels, views)

    def _unaltered(self, pixels: Sequence[Tensor]) -> Tensor:
        if isinstance(self.batches.pixels, DevicePixels):
            return evaluate_on_device(self.look, pixels)
        return torch.stack([self.look.evaluation(photo) for photo in pixels])


def _one_ahead(make: Callable[[int], Any], steps: Sequence[int]) -> Generator[Any, None, None]:
    """`make` of every step, in order; a thread makes the next one meanwhile, and is gone when we are."""
    pool = ThreadPoolExecutor(1, "batches")
    try:
        ahead = [pool.submit(make, step) for step in steps[:1]]
        for step in steps:
            now = ahead.pop().result()
            if step != steps[-1]:
                ahead.append(pool.submit(make, step + 1))
            yield now
    finally:
        pool.shutdown(cancel_futures=True)


def _from_workers(steps: _Steps, wanted: Sequence[int]) -> Generator[Any, None, None]:
    """Each step from one of the processes, in order. Raises TrainingError if one of them died."""
    loader = DataLoader(
        steps,
        batch_size=None,  # a step is a batch already
        sampler=wanted,
        num_workers=steps.batches.workers,
        collate_fn=_as_it_is,
        worker_init_fn=partial(_begin_worker, own_number()),
        generator=torch.Generator(),  # otherwise it would draw from the global random state
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that prepares batches has died",
            f"{error}; most often the memory was full",
            "use fewer --workers; 0 prepares batches in this process",
        ) from error


def _as_it_is(made: Any) -> Any:
    return made


def _begin_worker(parent: int | None, _: int) -> None:
    """Ctrl-C and a first SIGTERM reach every process of a group: what they mean, the parent decides.

    A killed parent ends its workers at once, also one that has just begun, which torch would leave waiting.
    A connection that ends on the way needs no traceback.
    """
    end_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))

    def say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, EOFError | ConnectionError):
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = say
