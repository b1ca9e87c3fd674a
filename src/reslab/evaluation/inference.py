"""The one exact pass over photos. Validation, evaluation and prediction all use it.

Every photo once, none altered, in eval mode and without gradients, in fixed order; the network comes back as
it was, each module in its own mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from reslab.errors import ClassifierError, PhotosError
from reslab.hardware import cores, end_of_memory
from reslab.networks.precision import FP32, Precision
from reslab.photos.loading.preprocess import Preprocess

BATCH_SIZE = 64
LARGE = 224  # pixels; of larger photos as many fewer make a batch as they have more pixels

Photo = Path | str | bytes
Read = Tensor | PhotosError


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside the block; afterwards every module has its own mode back."""
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
    """images (N, C, H, W), normalised -> logits (N, num_classes), float32 on the CPU, batch by batch."""
    for batch in images:
        with evaluating(network), precision.autocast(device):
            logits = network(precision.place_images(batch, device)).float().cpu()
        yield logits


def answer(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """images (N, C, H, W), normalised -> logits (N, num_classes), float32 on the CPU.

    Raises ClassifierError where the memory is too small for them.
    """
    what = f"there is not enough memory for {len(images)} photos of {images.shape[-1]} pixels at once"
    do = "end other programs" + ("" if device.type == "cpu" else ", or compute on the CPU: --device cpu")
    with end_of_memory(lambda why: ClassifierError(what, why, do)):
        return next(predict_logits(network, [images], device))


def batch_size_at(size: int, most: int = BATCH_SIZE) -> int:
    """How many photos of `size` pixels are computed at once, so that more pixels take no more memory."""
    return max(1, min(most, most * LARGE**2 // size**2))


def answer_exactly(
    network: nn.Module, photos: Sequence[Photo], preprocess: Preprocess, device: torch.device
) -> Iterator[Read]:
    """Each photo's logits (num_classes,) by the network itself, or why it cannot be read, in order."""
    for read in read_ahead(photos, preprocess, batch_size_at(preprocess.size)):
        if good := whole(read):
            images = preprocess.normalize(stack(good))
            read = fill(read, answer(network, images, device))
        yield from read


def whole(read: Iterable[Read]) -> list[Tensor]:
    """What is no error."""
    return [item for item in read if not isinstance(item, PhotosError)]


def stack(photos: Sequence[Tensor]) -> Tensor:
    """N photos (channels, H, W) -> (N, channels, H, W), channels last, as they come from their files."""
    return torch.stack([photo.permute(1, 2, 0) for photo in photos]).permute(0, 3, 1, 2)


def fill(read: Sequence[Read], logits: Tensor) -> list[Read]:
    """The logits (N, num_classes), each in the place of the photo that it is for; errors stay."""
    rows = iter(logits)
    return [item if isinstance(item, PhotosError) else next(rows) for item in read]


def read_photo(photo: Photo, preprocess: Preprocess) -> Read:
    """The photo as the network sees it, uint8 (channels, H, W), or why it cannot be read."""
    try:
        return preprocess.evaluation(preprocess.read(Path(photo) if isinstance(photo, str) else photo))
    except PhotosError as error:
        return error


def read_ahead(photos: Sequence[Photo], preprocess: Preprocess, batch_size: int) -> Iterator[list[Read]]:
    """Photos as the network sees them (uint8), or the error of those that cannot be read, batch by batch.

    Decoded on all cores while the batch before is being looked at; never more than two batches in memory.
    """
    starts = range(0, len(photos), batch_size)
    with ThreadPoolExecutor(cores()) as pool:

        def submit(start: int) -> list[Future[Read]]:
            return [
                pool.submit(read_photo, photo, preprocess) for photo in photos[start : start + batch_size]
            ]

        ahead = submit(0)
        for start in starts:
            now, ahead = ahead, submit(start + batch_size)
            yield [future.result() for future in now]
