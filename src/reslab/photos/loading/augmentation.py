"""Random crop, flip and color jitter of a batch of photos on the CPU.

All random numbers come from the caller, so that an image can depend on (seed, epoch, photo) alone. The
distribution is that of torchvision's RandomResizedCrop, RandomHorizontalFlip and ColorJitter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

CROP_ASPECT_RATIO = (3 / 4, 4 / 3)  # width over height: Szegedy et al. 2014, section 6
CROP_TRIES = 10  # random crops to try before the center crop
MAX_SERIAL_PIXELS = 2**15 - 1  # torch starts threads for more, and the training step needs the cores
NUMBERS_PER_PHOTO = 2 * CROP_TRIES + 2 + 1 + 3 + 3  # crop sizes, crop position, flip, factors, order


class Views(NamedTuple):
    """Random choices for N photos."""

    boxes: NDArray[np.int64]  # (N, 4): top, left, height, width of the crop
    flips: NDArray[np.bool_]  # (N,)
    factors: NDArray[np.float64]  # (N, 3): brightness, contrast, saturation
    orders: NDArray[np.int64]  # (N, 3): order in which the factors apply


def draw_views(preprocess: Preprocess, sizes: NDArray[np.int64], numbers: NDArray[np.float64]) -> Views:
    """Choose crop, flip and jitter of N photos.

    Args:
        preprocess: which of these are on, and their ranges.
        sizes: (N, 2), height and width of each photo.
        numbers: (N, NUMBERS_PER_PHOTO), uniform in [0, 1).
    """
    tries, place, flip, factors, orders = np.split(numbers, np.cumsum([2 * CROP_TRIES, 2, 1, 3]), axis=1)
    return Views(
        _crop_boxes(preprocess.min_crop_area, sizes, tries.reshape(-1, CROP_TRIES, 2), place),
        (flip[:, 0] < 0.5) & preprocess.horizontal_flip,
        1 + preprocess.color_jitter * (2 * factors - 1),
        orders.argsort(axis=1),
    )


def _crop_boxes(
    min_area: float, sizes: NDArray[np.int64], tries: NDArray[np.float64], place: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return the first try that fits into each photo, at a random position, else the center crop.

    Args:
        min_area: smallest area of a crop, as a fraction of the photo's.
        sizes: (N, 2), height and width of each photo.
        tries: (N, CROP_TRIES, 2), area and aspect ratio of each try, uniform in [0, 1).
        place: (N, 2), position of the crop from top and left, uniform in [0, 1).

    Returns:
        (N, 4): top, left, height, width.
    """
    area = sizes.prod(axis=1)[:, None] * (min_area + (1 - min_area) * tries[:, :, 0])  # (N, CROP_TRIES)
    low, high = log(CROP_ASPECT_RATIO[0]), log(CROP_ASPECT_RATIO[1])
    ratio = np.exp(low + (high - low) * tries[:, :, 1])
    tried = np.rint(np.sqrt([area / ratio, area * ratio])).transpose(1, 2, 0).astype(np.int64)
    fits = ((tried > 0) & (tried <= sizes[:, None])).all(axis=2)  # (N, CROP_TRIES)
    found = tried[np.arange(len(sizes)), fits.argmax(axis=1)]  # (N, 2): height, width
    start = (place * (sizes - found + 1)).astype(np.int64)
    center = _center_crop_sizes(sizes)
    any_fits = np.any(fits, axis=1, keepdims=True)
    size = np.where(any_fits, found, center)
    return np.concatenate([np.where(any_fits, start, (sizes - center) // 2), size], axis=1)


def _center_crop_sizes(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return height and width of each photo's largest crop with an allowed aspect ratio: (N, 2) -> (N, 2)."""
    height, width = sizes.T
    ratio = width / height
    low, high = CROP_ASPECT_RATIO
    size = np.stack(
        [
            np.where(ratio < low, np.rint(width / low), height),
            np.where(ratio > high, np.rint(height * high), width),
        ],
        axis=1,
    )
    return np.maximum(size, 1).astype(np.int64)


def augment(preprocess: Preprocess, photos: Sequence[Tensor], views: Views) -> Tensor:
    """Crop, flip and jitter N photos on the CPU; without `preprocess.random_crop`, take the center crop.

    Args:
        preprocess: size, and which of these are on.
        photos: uint8 (channels, H, W) each, of any size.
        views: random choices from draw_views.

    Returns:
        uint8 (N, channels, size, size), channels last in memory.
    """
    import torch

    size = preprocess.size
    pixels = np.empty((len(photos), size, size, preprocess.channels), np.uint8)
    for i, photo in enumerate(photos):
        image = _crop(preprocess, photo, views.boxes[i])
        if preprocess.color_jitter > 0:
            image = _jitter(image, views.factors[i], views.orders[i])
        _write(image.permute(1, 2, 0), pixels[i], bool(views.flips[i]))
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def training_transform(preprocess: Preprocess) -> Callable[[Tensor], Tensor]:
    """Return a function that augments one photo with numbers from torch's global random state.

    Args:
        preprocess: size, crops, flips and color jitter.

    Returns:
        A function of uint8 (channels, H, W), as `Preprocess.read` returns it. It returns uint8 (channels,
        size, size).
    """
    import torch

    def transform(photo: Tensor) -> Tensor:
        numbers = torch.rand(1, NUMBERS_PER_PHOTO, dtype=torch.float64).numpy()
        return augment(preprocess, [photo], draw_views(preprocess, np.array([photo.shape[1:]]), numbers))[0]

    return transform


def _crop(preprocess: Preprocess, photo: Tensor, box: NDArray[np.int64]) -> Tensor:
    """Cut out `box` (top, left, height, width) and resize it.

    Without `preprocess.random_crop`, take the center crop instead.

    Returns:
        uint8 (channels, size, size).
    """
    import torch
    from torchvision.transforms.v2.functional import resize_image

    if not preprocess.random_crop:
        return preprocess.evaluation(photo)
    top, left, height, width = box.tolist()
    part = photo.permute(1, 2, 0).numpy()[top : top + height, left : left + width]
    # NumPy copies the part: torch is slower, and uses threads that the training step needs
    whole = torch.from_numpy(np.ascontiguousarray(part)).permute(2, 0, 1)
    return resize_image(whole, [preprocess.size, preprocess.size], antialias=True)


def _write(image: Tensor, out: NDArray[np.uint8], flip: bool) -> None:
    """Copy an image (size, size, channels) into `out`, or with `flip` its left-right mirror image."""
    if not flip:
        out[:] = image.numpy()
        return
    rows = max(1, MAX_SERIAL_PIXELS // image[0].numel())
    for top in range(0, len(out), rows):
        out[top : top + rows] = image[top : top + rows].flip(1).numpy()  # NumPy's flip is four times slower


def _jitter(image: Tensor, factors: NDArray[np.float64], order: NDArray[np.int64]) -> Tensor:
    """Multiply brightness (0), contrast (1) and saturation (2) by `factors` (3,), in `order` (3,)."""
    from torchvision.transforms.v2 import functional as F

    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    for which in order.tolist():
        image = changes[which](image, float(factors[which]))
    return image
