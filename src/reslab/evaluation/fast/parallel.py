"""Parallel prediction on a CPU: each core predicts its own batches, with a fast backend.

Threads that share one batch wait for each other after every layer, and a waiting thread spins while another
decodes. On two busy cores that took more than twice the time.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reslab.errors import PhotosError
from reslab.evaluation.inference import (
    Photo,
    TensorOrError,
    batch_size_for,
    insert_logits,
    predict_batch,
    predict_exactly,
    read_photo,
    stack,
    without_errors,
)
from reslab.hardware import cores, threads
from reslab.parallel import on_all_cores
from reslab.photos.loading.preprocess import Preprocess

from .backends import Backend, Predict, choose_backend

MIN_PHOTOS_FOR_BACKEND_CHOICE = 256  # fewer are predicted sooner than a backend is chosen
BATCH_SIZE = 16  # of one core; larger batches do not fit its cache
BATCHES_PER_CHECK = 64  # one photo in so many batches is compared with the network

log = logging.getLogger("reslab")


def is_worthwhile(num_photos: int) -> bool:
    """Return True if `num_photos` are enough to choose a backend and to keep every core busy.

    These are 256, or two batches per core if that is more.
    """
    return num_photos >= max(MIN_PHOTOS_FOR_BACKEND_CHOICE, 2 * BATCH_SIZE * cores())


def predict_in_parallel(
    network: nn.Module, photos: Sequence[Photo], preprocess: Preprocess, approximate: bool
) -> Iterator[TensorOrError]:
    """Yield each photo's logits in order: (num_classes,), float32 on the CPU.

    A photo that cannot be read gives its PhotosError instead, which is yielded and not raised. If no backend
    is accurate and fast, or the chosen one fails later, the network itself predicts the remaining photos.

    Args:
        network: on the CPU.
        photos: paths, or contents of files.
        preprocess: turns photos into images.
        approximate: allow bf16.

    Raises:
        ClassifierError: there is not enough memory.
    """
    cpu = torch.device("cpu")

    def exact(images: Tensor) -> Tensor:
        return predict_batch(network, images, cpu)

    batch_size = batch_size_for(preprocess.size, BATCH_SIZE)
    for start in range(0, len(photos), batch_size):
        decoded = [read_photo(photo, preprocess) for photo in photos[start : start + batch_size]]
        if images := without_errors(decoded):
            break
        yield from decoded
    else:
        return
    logits, backend = choose_backend(network, exact, preprocess.normalize(stack(images)), approximate)
    yield from insert_logits(decoded, logits)
    start += len(decoded)
    if backend is not None:
        log.info("predicting with %s", backend.name)
        start = yield from _predict_with(backend, exact, photos, preprocess, start)
    yield from predict_exactly(network, photos[start:], preprocess, cpu)


@dataclass(frozen=True)
class _Batch:
    """One batch after the backend has predicted it.

    Attributes:
        start: index of its first photo in the whole sequence.
        predictions: logits (num_classes,) or error of each photo; None if the backend failed.
        recheck: images uint8 (C, H, W) by index in the batch, which the network itself must predict, too.
    """

    start: int
    predictions: list[TensorOrError] | None
    recheck: dict[int, Tensor]


def _predict_with(
    backend: Backend, exact: Predict, photos: Sequence[Photo], preprocess: Preprocess, first: int
) -> Generator[TensorOrError, None, int]:
    """Yield the logits or error of each photo from index `first` on, in order, with one thread per core.

    Doubtful photos get the network's own logits. Log a warning and stop if the backend fails or leaves its
    tolerance.

    Args:
        backend: predicts in several threads at once.
        exact: predicts with the network itself.
        photos: the whole sequence.
        preprocess: turns photos into images.
        first: index of the first photo to predict.

    Returns:
        The index of the first photo that was not predicted; len(photos) at the end.
    """
    batch_size = batch_size_for(preprocess.size, BATCH_SIZE)

    def work(start: int) -> _Batch:
        torch.set_num_threads(1)  # applies to this thread
        decoded = [read_photo(photo, preprocess) for photo in photos[start : start + batch_size]]
        images = {i: item for i, item in enumerate(decoded) if not isinstance(item, PhotosError)}
        if not images:
            return _Batch(start, decoded, {})
        try:
            logits = backend.predict(preprocess.normalize(stack(list(images.values()))))
        except Exception as error:  # noqa: BLE001  the network itself is left
            log.info("%s failed: %s", backend.name, error)
            return _Batch(start, None, {})
        ambiguous = backend.is_ambiguous(logits)
        if (start - first) // batch_size % BATCHES_PER_CHECK == 0:
            ambiguous[0] = True
        recheck = {i: image for (i, image), again in zip(images.items(), ambiguous, strict=True) if again}
        return _Batch(start, insert_logits(decoded, logits), recheck)

    try:
        with closing(on_all_cores(work, range(first, len(photos), batch_size))) as batches:
            for batch in batches:
                if batch.predictions is None or not _recheck(batch, backend, exact, preprocess):
                    log.warning("%s failed or left its tolerance: continuing with the network", backend.name)
                    return batch.start
                yield from batch.predictions
    finally:
        torch.set_num_threads(torch.get_num_threads())  # new threads get this thread's number again
    return len(photos)


def _recheck(batch: _Batch, backend: Backend, exact: Predict, preprocess: Preprocess) -> bool:
    """Replace the predictions of the photos in `batch.recheck` by the network's own, in place.

    Return False if the backend's differed by more than its tolerance. If the network's own are not finite,
    return True: the classifier reports them.
    """
    assert batch.predictions is not None
    if not batch.recheck:
        return True
    with threads(1):  # the other cores are busy
        logits = exact(preprocess.normalize(stack(list(batch.recheck.values()))))
    found = torch.stack(without_errors(batch.predictions[i] for i in batch.recheck))
    for i, row in zip(batch.recheck, logits, strict=True):
        batch.predictions[i] = row
    return backend.agrees(found, logits) or not bool(logits.isfinite().all())  # the classifier reports NaN
