"""Exact predictions of a network: eval mode, no gradients, no augmentation, fixed order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from reslab.errors import ClassifierError, PhotosError
from reslab.hardware import catch_out_of_memory, cores
from reslab.networks.precision import FP32, Precision
from reslab.photos.loading.preprocess import Preprocess

BATCH_SIZE = 64
FULL_BATCH_IMAGE_SIZE = 224  # pixels; batches of larger images are smaller, for the same memory

Photo = Path | str | bytes
TensorOrError = Tensor | PhotosError


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put `network` into eval mode, and torch into no_grad, inside the block.

    On exit every module gets the mode back that it had, train or eval.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def predict_logits(
    network: nn.Module, images: Iterable[Tensor], device: torch.device, precision: Precision = FP32
) -> Iterator[Tensor]:
    """Yield the logits of each batch, (N, num_classes), float32 on the CPU.

    Args:
        network: on `device`; it computes in eval mode and keeps its modes between batches.
        images: batches (N, C, H, W), normalized, on any device.
        device: where the network computes.
        precision: of the computation.
    """
    for batch in images:
        with evaluating(network), precision.autocast(device):
            logits = network(precision.place_images(batch, device)).float().cpu()
        yield logits


def predict_batch(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Return the logits of one batch in fp32: (N, num_classes), float32 on the CPU.

    Args:
        network: on `device`.
        images: (N, C, H, W), normalized, on any device.
        device: where the network computes.

    Raises:
        ClassifierError: there is not enough memory, or the network does not take these images.
    """
    what = f"there is not enough memory for {len(images)} photos of {images.shape[-1]} pixels at once"
    do = "end other programs" + ("" if device.type == "cpu" else ", or compute on the CPU: --device cpu")
    try:
        with catch_out_of_memory(lambda why: ClassifierError(what, why, do)):
            return next(predict_logits(network, [images], device))
    except RuntimeError as error:
        raise ClassifierError(
            f"the network does not take images of shape {tuple(images.shape[1:])}",
            next(iter(str(error).splitlines()), "RuntimeError"),
            "give the preprocessing that it was trained with: its channels and its size",
        ) from error


def batch_size_for(size: int, largest: int = BATCH_SIZE) -> int:
    """Return the batch size for images of `size` x `size` pixels, from 1 to `largest`.

    It is `largest` up to FULL_BATCH_IMAGE_SIZE, and falls above it, so that memory does not grow.
    """
    return max(1, min(largest, largest * FULL_BATCH_IMAGE_SIZE**2 // size**2))


def predict_exactly(
    network: nn.Module, photos: Sequence[Photo], preprocess: Preprocess, device: torch.device
) -> Iterator[TensorOrError]:
    """Yield each photo's logits in order: (num_classes,), float32 on the CPU.

    A photo that cannot be read gives its PhotosError instead, which is yielded and not raised.

    Args:
        network: on `device`.
        photos: paths, or contents of files.
        preprocess: turns photos into images.
        device: where the network computes.

    Raises:
        ClassifierError: there is not enough memory.
    """
    for decoded in decode_ahead(photos, preprocess, batch_size_for(preprocess.size)):
        if images := without_errors(decoded):
            logits = predict_batch(network, preprocess.normalize(stack(images)), device)
            yield from insert_logits(decoded, logits)
        else:
            yield from decoded


def without_errors(items: Iterable[TensorOrError]) -> list[Tensor]:
    return [item for item in items if not isinstance(item, PhotosError)]


def stack(images: Sequence[Tensor]) -> Tensor:
    """Return a copy of N images (C, H, W) as one tensor (N, C, H, W), channels last in memory."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def insert_logits(decoded: Sequence[TensorOrError], logits: Tensor) -> list[TensorOrError]:
    """Return a list of `decoded` with each image replaced by its logits; errors keep their places.

    Args:
        decoded: N images, and any number of errors between them.
        logits: (N, num_classes), rows in the order of the images.
    """
    rows = iter(logits)
    return [item if isinstance(item, PhotosError) else next(rows) for item in decoded]


def read_photo(photo: Photo, preprocess: Preprocess) -> TensorOrError:
    """Return a photo as an image uint8 (C, size, size), not normalized. Return a PhotosError, not raise it.

    Args:
        photo: path, or content of a file as bytes.
        preprocess: decodes, resizes and crops as for evaluation.
    """
    try:
        return preprocess.evaluation(preprocess.read(Path(photo) if isinstance(photo, str) else photo))
    except PhotosError as error:
        return error


def decode_ahead(
    photos: Sequence[Photo], preprocess: Preprocess, batch_size: int
) -> Iterator[list[TensorOrError]]:
    """Yield lists of `batch_size` photos in order, the last may be shorter. Items are as in `read_photo`.

    All cores decode the next batch while the current one is in use, so two batches are in memory.
    """
    starts = range(0, len(photos), batch_size)
    with ThreadPoolExecutor(cores()) as pool:

        def submit(start: int) -> list[Future[TensorOrError]]:
            batch = photos[start : start + batch_size]
            return [pool.submit(read_photo, photo, preprocess) for photo in batch]

        ahead = submit(0)
        for start in starts:
            current, ahead = ahead, submit(start + batch_size)
            yield [future.result() for future in current]
