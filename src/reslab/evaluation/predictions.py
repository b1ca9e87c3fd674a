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

from ..errors import PhotosError
from ..networks.precision import FP32, Precision
from ..photos.preprocess import Preprocess
from ..processes import cores

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
            logits = network(precision.place_images(batch, device))
        yield logits.float().cpu()


def read_ahead(
    photos: Sequence[Path | bytes], preprocess: Preprocess, batch_size: int
) -> Iterator[list[Read]]:
    """Photos as the network sees them (uint8), or the error of those that cannot be read, batch by batch.

    Decoded on all cores while the batch before is being looked at; never more than two batches in memory.
    """

    def read(photo: Path | bytes) -> Read:
        try:
            return preprocess.evaluation(preprocess.read(photo))
        except PhotosError as error:
            return error

    starts = range(0, len(photos), batch_size)
    with ThreadPoolExecutor(cores()) as pool:

        def submit(start: int) -> list[Future[Read]]:
            return [pool.submit(read, photo) for photo in photos[start : start + batch_size]]

        ahead = submit(0)
        for start in starts:
            now, ahead = ahead, submit(start + batch_size)
            yield [future.result() for future in now]
