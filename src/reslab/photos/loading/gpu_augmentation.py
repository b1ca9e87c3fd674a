"""Photos kept in GPU memory, and their augmentation there, a whole batch at a time.

Crop, antialiased resize and flip are linear along each side of an image, so a batch takes two matrix
products. The images equal those of the CPU within a grey level, and within a few where colors are jittered.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reslab.errors import PhotosError
from reslab.parallel import on_all_cores
from reslab.photos.folder.photo_list import Photo, PhotoList, as_words

from .augmentation import Views
from .pixel_store import PixelCache, Pixels, try_read
from .preprocess import Preprocess

MAX_MEMORY_FRACTION = 1 / 3  # of the device's free memory that photos may take


def keep_on_device(pixels: Pixels, photos: PhotoList, device: torch.device) -> Pixels:
    """Copy the cached pixels of `photos` to a CUDA device if a third of its free memory holds them.

    Returns DevicePixels; `pixels` unchanged if they do not fit, for other devices, and without a cache.
    """
    if device.type != "cuda" or not isinstance(pixels, PixelCache):
        return pixels
    free, _ = torch.cuda.mem_get_info(device)
    fits = _offsets(pixels, photos)[-1] <= MAX_MEMORY_FRACTION * free
    return DevicePixels(pixels, photos, device) if fits else pixels


class DevicePixels:
    """Pixels of the distinct `photos` of a cache, read into one block of uint8 on a device.

    An error of reading one is kept, and raised whenever this photo is read. Photos that are not among
    `photos` are read from the cache.
    """

    def __init__(self, cache: PixelCache, photos: PhotoList, device: torch.device) -> None:
        self.cache, self.errors = cache, dict[int, PhotosError]()
        self.offsets = _offsets(cache, photos)
        self.block = torch.empty(int(self.offsets[-1]), dtype=torch.uint8, device=device)
        first = np.unique(as_words(photos.digests), return_index=True)[1]
        kept = [(row, photos[i]) for i in first.tolist() if (row := cache.row(photos[i].digest)) is not None]
        with closing(on_all_cores(partial(try_read, cache), (photo for _, photo in kept))) as reads:
            for (row, _), pixels in zip(kept, reads, strict=True):
                if isinstance(pixels, PhotosError):
                    self.errors[row] = pixels
                else:
                    self._at(row).copy_(pixels.reshape(-1))

    def _at(self, row: int) -> Tensor:
        """Return the flat part of the block that holds a row of the cache, as a view."""
        return self.block[int(self.offsets[row]) : int(self.offsets[row + 1])]

    def read(self, photo: Photo) -> Tensor:
        """Return uint8 (channels, H, W) on the device, a view of the block for the photos in it.

        Raises:
            PhotosError: the photo could not be read.
        """
        row = self.cache.row(photo.digest)
        if row is None or self.offsets[row] == self.offsets[row + 1]:  # not among the photos moved here
            return self.cache.read(photo).to(self.block.device)
        if row in self.errors:
            raise PhotosError(*self.errors[row].args)
        return self._at(row).view(-1, *self.cache.size(row))


def _offsets(cache: PixelCache, photos: PhotoList) -> NDArray[np.int64]:
    """Return where each row of the cache starts, in bytes, in a block that holds only `photos`.

    The last value is the end of the block. Rows of other photos have length 0. The result has the shape
    (rows + 1,).
    """
    wanted = np.isin(cache.digests, as_words(photos.digests))  # (rows,)
    return np.concatenate([[0], (np.diff(cache.starts) * wanted).cumsum()])


def augment_on_device(preprocess: Preprocess, photos: Sequence[Tensor], views: Views) -> Tensor:
    """Crop, flip and jitter N photos on their device, as `augmentation.augment` does on the CPU.

    Args:
        preprocess: size, and which of these are on.
        photos: uint8 (channels, H, W) each, of any size, on one device.
        views: random choices from draw_views.

    Returns:
        uint8 (N, channels, size, size), channels last in memory.
    """
    if preprocess.random_crop:
        boxes = zip(photos, views.boxes.tolist(), strict=True)
        crops = [photo[:, top : top + h, left : left + w] for photo, (top, left, h, w) in boxes]
        resized = np.full((len(photos), 2), preprocess.size)
        images = _resample(preprocess.size, crops, resized, np.zeros_like(resized))
    else:
        images = _center_crops(preprocess, photos)
    images = torch.where(_send(views.flips, images.device).view(-1, 1, 1, 1), images.flip(-1), images)
    if preprocess.color_jitter > 0:
        images = _jitter(images, views)
    return images.to(torch.uint8).contiguous(memory_format=torch.channels_last)


def evaluate_on_device(preprocess: Preprocess, photos: Sequence[Tensor]) -> Tensor:
    """Apply `preprocess.evaluation` to N photos on their device: uint8 (N, channels, size, size)."""
    return _center_crops(preprocess, photos).to(torch.uint8)


def _center_crops(preprocess: Preprocess, photos: Sequence[Tensor]) -> Tensor:
    """Resize as `preprocess.evaluation` does, and take the center crops; returns as _resample."""
    sizes = np.array([photo.shape[1:] for photo in photos], np.int64)  # (N, 2)
    resized = preprocess.shorter_side * sizes // sizes.min(axis=1, keepdims=True)
    first = np.rint((resized - preprocess.size) / 2).astype(np.int64)
    return _resample(preprocess.size, photos, resized, first)


def _resample(
    size: int, photos: Sequence[Tensor], resized: NDArray[np.int64], first: NDArray[np.int64]
) -> Tensor:
    """Resize each photo to `resized` pixels, and keep `size` pixels from `first` on, along both sides.

    Args:
        size: side of the images, in pixels.
        photos: uint8 (channels, H, W) each, of any size.
        resized: (N, 2), height and width after the resize.
        first: (N, 2), top and left of the part that is kept.

    Returns:
        float32 (N, channels, size, size) with whole grey levels.
    """
    device = photos[0].device
    lengths = np.array([photo.shape[1:] for photo in photos], np.int64)  # (N, 2)
    height, width = lengths.max(axis=0).tolist()
    padded = torch.zeros((len(photos), photos[0].shape[0], height, width), device=device)
    for i, photo in enumerate(photos):
        padded[i, :, : photo.shape[1], : photo.shape[2]] = photo
    sides = _send(np.stack([lengths, resized, first]), device)  # (3, N, 2)
    down = _weights(size, height, *sides[:, :, 0])  # (N, size, height)
    across = _weights(size, width, *sides[:, :, 1])  # (N, size, width)
    images = down[:, None] @ (padded @ across.mT[:, None])  # (N, channels, size, size)
    return images.round_().clamp_(0, 255)


def _weights(size: int, longest: int, length: Tensor, resized: Tensor, first: Tensor) -> Tensor:
    """Weight of each pixel before an antialiased bilinear resize in each pixel after, along one side.

    Args:
        size: number of pixels that are kept after the resize.
        longest: number of pixels before, with padding, whose weight is 0.
        length: (N,), number of pixels before, without padding.
        resized: (N,), number of pixels after.
        first: (N,), the first pixel after the resize that is kept.

    Returns:
        (N, size, longest) float; the weights of each pixel after sum to 1.
    """
    scale = (length / resized).view(-1, 1, 1)
    pixel = torch.arange(longest, device=length.device)
    center = scale * (first.view(-1, 1, 1) + torch.arange(size, device=length.device).view(-1, 1) + 0.5)
    weights = (1 - (pixel + 0.5 - center).abs() / scale.clamp(min=1)).clamp_(min=0)
    weights *= pixel < length.view(-1, 1, 1)  # none for the padding
    return weights / weights.sum(2, keepdim=True)


def _jitter(images: Tensor, views: Views) -> Tensor:
    """Adjust brightness, contrast and saturation in the order of each photo, as torchvision does.

    Each step blends the image with another one: black, its mean grey level, or itself in grey. Takes and
    returns float32 (N, channels, size, size) with whole grey levels.
    """
    from torchvision.transforms.v2.functional import rgb_to_grayscale

    factors = _send(views.factors.astype(np.float32), images.device)
    orders = _send(views.orders, images.device)
    if images.shape[1] == 1:
        factors[:, 2] = 1  # a grey image has no saturation
    for step in range(3):
        kind = orders[:, step].view(-1, 1, 1, 1)
        factor = factors.gather(1, orders[:, step : step + 1]).view(-1, 1, 1, 1)
        grey = rgb_to_grayscale(images).floor_()  # (N, 1, size, size)
        other = torch.where(kind == 1, grey.mean((1, 2, 3), keepdim=True), grey * (kind == 2))
        images = (factor * images + (1 - factor) * other).clamp_(0, 255).floor_()
    return images


def _send(array: NDArray[Any], device: torch.device) -> Tensor:
    """Return a copy on the device, without waiting for the work that is queued there."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
