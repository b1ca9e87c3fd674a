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
    """Put `network` into eval mode without gradients; on exit every module gets its own mode back."""
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
    """Yield the logits of each batch: (N, C, H, W), normalized -> (N, num_classes), float32 on the CPU."""
    for batch in images:
        with evaluating(network), precision.autocast(device):
            logits = network(precision.place_images(batch, device)).float().cpu()
        yield logits


def predict_batch(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """Return the logits of one batch: (N, C, H, W), normalized -> (N, num_classes), float32 on the CPU.

    Raises:
        ClassifierError: there is not enough memory.
    """
    what = f"there is not enough memory for {len(images)} photos of {images.shape[-1]} pixels at once"
    do = "end other programs" + ("" if device.type == "cpu" else ", or compute on the CPU: --device cpu")
    with catch_out_of_memory(lambda why: ClassifierError(what, why, do)):
        return next(predict_logits(network, [images], device))


def batch_size_for(size: int, largest: int = BATCH_SIZE) -> int:
    """Return the batch size for images of `size` pixels, so that larger images need no more memory."""
    return max(1, min(largest, largest * FULL_BATCH_IMAGE_SIZE**2 // size**2))


def predict_exactly(
    network: nn.Module, photos: Sequence[Photo], preprocess: Preprocess, device: torch.device
) -> Iterator[TensorOrError]:
    """Yield each photo's logits (num_classes,), or the error of a photo that cannot be read, in order."""
    for decoded in decode_ahead(photos, preprocess, batch_size_for(preprocess.size)):
        if images := without_errors(decoded):
            logits = predict_batch(network, preprocess.normalize(stack(images)), device)
            yield from insert_logits(decoded, logits)
        else:
            yield from decoded


def without_errors(items: Iterable[TensorOrError]) -> list[Tensor]:
    return [item for item in items if not isinstance(item, PhotosError)]


def stack(images: Sequence[Tensor]) -> Tensor:
    """Stack N images (C, H, W) to (N, C, H, W), channels last in memory, as decoded photos are."""
    return torch.stack([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)


def insert_logits(decoded: Sequence[TensorOrError], logits: Tensor) -> list[TensorOrError]:
    """Replace each image by its row of `logits` (N, num_classes), and keep the errors."""
    rows = iter(logits)
    return [item if isinstance(item, PhotosError) else next(rows) for item in decoded]


def read_photo(photo: Photo, preprocess: Preprocess) -> TensorOrError:
    """Return the photo as the network's input, uint8 (C, H, W), or the error that it raised."""
    try:
        return preprocess.evaluation(preprocess.read(Path(photo) if isinstance(photo, str) else photo))
    except PhotosError as error:
        return error


def decode_ahead(
    photos: Sequence[Photo], preprocess: Preprocess, batch_size: int
) -> Iterator[list[TensorOrError]]:
    """Yield batches of decoded photos, uint8 (C, H, W), or their errors.

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
