"""Photos -> (images, labels), resumable at any step.

What an image looks like in an epoch depends on (seed, epoch, image) alone, so that the number of workers and
a restart in mid-epoch change nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import PhotosError, TrainingError
from ..randomness import permutation, torch_seeded
from .cache import Pixels
from .folder import Photo
from .preprocess import Preprocess


class Batch(NamedTuple):
    """images: float32 (N, channels, size, size), normalised; labels: int64 (N,)"""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Batches:
    """One split of photos in batches, as often as asked for, at any epoch and step.

    With `augment` in an order and under transforms that belong to (seed, epoch); without, in the order of the
    files and never altered. A last batch of one image joins the one before it: batch norm needs two.
    """

    photos: Sequence[Photo]
    pixels: Pixels
    preprocess: Preprocess
    batch_size: int
    augment: bool = False
    seed: int = 0
    workers: int = 0

    def __len__(self) -> int:
        return len(self._slices())

    def epoch(self, epoch: int = 0, first_step: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from `first_step` on. Raises PhotosError if a photo cannot be read."""
        count = len(self.photos)
        order = permutation(self.seed, "order", epoch, count=count) if self.augment else range(count)
        plan = [[int(i) for i in order[part]] for part in self._slices()[first_step:]]
        loader = DataLoader(
            _EpochImages(self, epoch),
            batch_sampler=plan,
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=_leave_signals_to_parent if self.workers else None,
            generator=torch.Generator(),  # otherwise it would draw from the global random state
        )
        items = iter(loader)
        while (item := _next(items)) is not None:
            if isinstance(item, PhotosError):
                raise item
            images, labels = item
            yield Batch(self.preprocess.normalize(images), labels)

    def _slices(self) -> list[slice]:
        starts = list(range(0, len(self.photos), self.batch_size))
        if self.augment and len(starts) > 1 and len(self.photos) - starts[-1] == 1:
            starts.pop()
        return [slice(a, b) for a, b in pairwise([*starts, len(self.photos)])]


class _EpochImages(Dataset[tuple[Tensor, int]]):
    def __init__(self, batches: Batches, epoch: int) -> None:
        self.batches, self.epoch = batches, epoch

    def __getitem__(self, index: int) -> tuple[Tensor, int] | PhotosError:  # type: ignore[override]
        batches = self.batches
        photo = batches.photos[index]
        try:
            pixels = batches.pixels.read(photo)
        except PhotosError as error:
            return error  # a worker can return it whole, but not raise it whole
        if not batches.augment:
            return batches.preprocess.evaluation(pixels), photo.label
        with torch_seeded(batches.seed, f"augmentation {photo.digest}", self.epoch):
            return batches.preprocess.training(pixels), photo.label


def _collate(items: list[tuple[Tensor, int] | PhotosError]) -> tuple[Tensor, Tensor] | PhotosError:
    for item in items:
        if isinstance(item, PhotosError):
            return item
    images, labels = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(labels)


def _next(items: Iterator[Any]) -> Any:
    """The next item, None at the end. Raises TrainingError if a worker died."""
    try:
        return next(items, None)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TrainingError(
            "a process that prepares batches has died",
            f"{error}; most often the memory was full",
            "use fewer --workers; 0 prepares batches in this process",
        ) from error


def _leave_signals_to_parent(_: int) -> None:
    """Ctrl-C and a first SIGTERM reach every process of a group: what they mean, the parent decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: signal.signal(number, signal.SIG_DFL))
