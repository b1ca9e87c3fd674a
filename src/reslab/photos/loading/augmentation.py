"""What a training does to a batch of photos: a random part, mirrored, its colours moved.

The draws of a whole batch are made at once, from numbers that the caller brings; then each photo's part goes
into one block of uint8. In distribution it is torchvision's RandomResizedCrop, RandomHorizontalFlip and
ColorJitter, which the tests hold it against.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from .preprocess import Preprocess

RATIO = (3 / 4, 4 / 3)  # width over height of a random part: Szegedy et al. 2014, section 6
TRIES = 10  # before the middle of the photo is taken
ALONE = 2**15 - 1  # pixels up to which torch starts no threads, which the training step needs
NUMBERS = 2 * TRIES + 2 + 1 + 3 + 3  # uniform numbers that a photo takes: sizes, place, flip, factors, order


class Views(NamedTuple):
    """What was drawn for N photos."""

    boxes: NDArray[np.int64]  # (N, 4): top, left, height, width
    flips: NDArray[np.bool_]  # (N,)
    factors: NDArray[np.float64]  # (N, 3): of brightness, contrast, saturation
    orders: NDArray[np.int64]  # (N, 3): which of these first


def draw(look: Preprocess, sizes: NDArray[np.int64], numbers: NDArray[np.float64]) -> Views:
    """The views of N photos. `sizes` (N, 2): height, width; `numbers` (N, NUMBERS), uniform in [0, 1)."""
    tries, place, flip, factors, orders = np.split(numbers, np.cumsum([2 * TRIES, 2, 1, 3]), axis=1)
    jitter = look.color_jitter
    return Views(
        _boxes(look.min_crop_area, sizes, tries.reshape(-1, TRIES, 2), place),
        (flip[:, 0] < 0.5) & look.horizontal_flip,
        1 + jitter * (2 * factors - 1),
        orders.argsort(axis=1),
    )


def _boxes(
    min_area: float, sizes: NDArray[np.int64], tries: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The first of the tries that lies inside the photo, anywhere in it; without one, the middle."""
    area = sizes.prod(axis=1)[:, None] * (min_area + (1 - min_area) * tries[:, :, 0])  # (N, TRIES)
    low, high = log(RATIO[0]), log(RATIO[1])
    ratio = np.exp(low + (high - low) * tries[:, :, 1])
    tried = np.rint(np.sqrt([area / ratio, area * ratio])).transpose(1, 2, 0).astype(np.int64)
    good = ((tried > 0) & (tried <= sizes[:, None])).all(axis=2)  # (N, TRIES)
    found = tried[np.arange(len(sizes)), good.argmax(axis=1)]  # (N, 2): height, width
    start = (place * (sizes - found + 1)).astype(np.int64)
    middle = _middle(sizes)
    some = np.any(good, axis=1, keepdims=True)
    size = np.where(some, found, middle)
    return np.concatenate([np.where(some, start, (sizes - middle) // 2), size], axis=1)


def _middle(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """(N, 2): the largest part in the middle whose shape is allowed."""
    height, width = sizes.T
    ratio = width / height
    size = np.stack(
        [
            np.where(ratio < RATIO[0], np.rint(width / RATIO[0]), height),
            np.where(ratio > RATIO[1], np.rint(height * RATIO[1]), width),
        ],
        axis=1,
    )
    return np.maximum(size, 1).astype(np.int64)


def augment(look: Preprocess, photos: Sequence[Tensor], views: Views) -> Tensor:
    """N photos, uint8 (channels, H, W) of any size -> uint8 (N, channels, size, size), channels last."""
    import torch

    pixels = np.empty((len(photos), look.size, look.size, look.channels), np.uint8)
    for i, photo in enumerate(photos):
        image = _cut(look, photo, views.boxes[i])
        if look.color_jitter > 0:
            image = _move_colours(image, views.factors[i], views.orders[i])
        _write(image.permute(1, 2, 0), pixels[i], bool(views.flips[i]))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def _cut(look: Preprocess, photo: Tensor, box: NDArray[np.int64]) -> Tensor:
    import torch
    from torchvision.transforms.v2.functional import resize_image

    if not look.random_crop:
        return look.evaluation(photo)
    top, left, height, width = box.tolist()
    part = photo.permute(1, 2, 0).numpy()[top : top + height, left : left + width]
    # NumPy copies the part: torch would do it slower, and in threads that the training step needs
    whole = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)
    return resize_image(whole, [look.size, look.size], antialias=True)


def _write(image: Tensor, into: NDArray[np.uint8], mirrored: bool) -> None:
    """(size, size, channels) as it is, or mirrored a few rows at a time."""
    if not mirrored:
        into[:] = image.numpy()
        return
    rows = max(1, ALONE // image[0].numel())
    for top in range(0, len(into), rows):
        into[top : top + rows] = image[top : top + rows].flip(1).numpy()  # in NumPy four times slower


def _move_colours(image: Tensor, factors: NDArray[np.float64], order: NDArray[np.int64]) -> Tensor:
    from torchvision.transforms.v2 import functional as F

    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    for which in order.tolist():
        image = changes[which](image, float(factors[which]))
    return image
