"""Photos kept as uint8 in the memory of a CUDA device, and altered there: a whole batch in a few products.

Crop, antialiased resize and mirror are linear, and one side of the picture after the other: what they make of
a photo X is D X A^T with a banded matrix for each side. Its weights are rounded as torch rounds them for
uint8, so that every sum is exact: from the same draws come the bits of `augment`, on any device. A grey level
may differ where `augment` itself depends on the machine, in colours that are moved, by the last bit of a
float32, and on a processor for which torch has no resize of uint8; and where torch may multiply in TF32.
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

SHARE = 1 / 3  # of the device's free memory that photos may take
EXACT = 4  # times smaller: up to there a weighted sum of pixels has at most the 24 bits of a float32
MOST_BITS = 22  # of a weight behind the point, in torch


def keep_on_device(pixels: Pixels, photos: PhotoList, device: torch.device) -> Pixels:
    """The cached pixels of `photos` on a CUDA device if they take at most a third of what is free there.

    Otherwise, and without a cache, `pixels` as they are.
    """
    if device.type != "cuda" or not isinstance(pixels, PixelCache):
        return pixels
    free, _ = torch.cuda.mem_get_info(device)
    needed = _starts(pixels, _cached(pixels, photos)[1])[-1]
    return DevicePixels(pixels, photos, device) if needed <= SHARE * free else pixels


class DevicePixels:
    """Photos of a cache in one block of uint8 on a device. Each is read once, now.

    One that cannot be read is an error whenever it is asked for, and never before: what that means, the
    caller decides, as with a file that turns bad.
    """

    def __init__(self, cache: PixelCache, photos: PhotoList, device: torch.device) -> None:
        self.cache, self.failed = cache, dict[int, PhotosError]()
        self.digests, self.sizes, first = _cached(cache, photos)
        self.starts = _starts(cache, self.sizes)
        self.block = torch.empty(int(self.starts[-1]), dtype=torch.uint8, device=device)
        wanted = (photos[index] for index in first.tolist())
        with closing(on_all_cores(partial(try_read, cache), wanted)) as reads:
            for row, read in enumerate(reads):
                if isinstance(read, PhotosError):
                    self.failed[row] = read
                else:
                    self._at(row).copy_(read.reshape(-1))

    def _at(self, row: int) -> Tensor:
        return self.block[int(self.starts[row]) : int(self.starts[row + 1])]

    def read(self, photo: Photo) -> Tensor:
        """uint8 (channels, H, W) on the device. Raises PhotosError if it could not be read."""
        word = np.frombuffer(bytes.fromhex(photo.digest), self.digests.dtype)
        row = int(self.digests.searchsorted(word)[0])
        if row == len(self.digests) or self.digests[row] != word[0]:
            return self.cache.read(photo).to(self.block.device)
        if row in self.failed:
            raise PhotosError(*self.failed[row].args)
        height, width = self.sizes[row].tolist()
        return self._at(row).view(-1, height, width)


def _cached(
    cache: PixelCache, photos: PhotoList
) -> tuple[NDArray[np.void], NDArray[np.int64], NDArray[np.int64]]:
    """Of contents in the cache: digests (C,), sorted; sizes (C, 2); for each the index of a photo (C,)."""
    contents, first = np.unique(as_words(photos.digests), return_index=True)
    here = np.isin(contents, cache.digests)
    records = cache.records[cache.digests.searchsorted(contents[here])]
    return (
        contents[here],
        np.stack([records["height"], records["width"]], axis=1).astype(np.int64),
        first[here],
    )


def _starts(cache: PixelCache, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where in the block each photo begins, and where the last one ends: (C + 1,)."""
    return np.concatenate([[0], cache.files.preprocess.channels * sizes.prod(axis=1).cumsum()])


def augment_on_device(look: Preprocess, photos: Sequence[Tensor], views: Views) -> Tensor:
    """What `augment` does, where the photos are: uint8 (N, channels, size, size), channels last."""
    if look.random_crop:
        count = len(photos)
        whole = np.full((count, 2), look.size)
        images = _resample(look.size, photos, views.boxes, whole, np.zeros_like(whole), views.flips)
    else:
        images = _middle(look, photos, views.flips)
    return images if look.color_jitter == 0 else _move_colours(images, views)


def evaluate_on_device(look: Preprocess, photos: Sequence[Tensor]) -> Tensor:
    """What `look.evaluation` makes of each, where the photos are: uint8 (N, channels, size, size)."""
    if all(min(photo.shape[1:]) == look.resize for photo in photos):  # then it is nothing but a crop
        return torch.stack([look.evaluation(photo) for photo in photos])
    return _middle(look, photos, np.zeros(len(photos), np.bool_))


def _middle(look: Preprocess, photos: Sequence[Tensor], flips: NDArray[np.bool_]) -> Tensor:
    """The shorter side resized to `resize`, and `size` pixels around the centre."""
    sizes = np.array([photo.shape[1:] for photo in photos], np.int64)  # (N, 2)
    resized = look.resize * sizes // sizes.min(axis=1, keepdims=True)
    first = np.rint((resized - look.size) / 2).astype(np.int64)
    boxes = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    return _resample(look.size, photos, boxes, resized, first, flips)


def _resample(
    size: int,
    photos: Sequence[Tensor],
    boxes: NDArray[np.int64],
    resized: NDArray[np.int64],
    first: NDArray[np.int64],
    flips: NDArray[np.bool_],
) -> Tensor:
    """Of each photo the part in its box, made `resized` pixels large; of that, `size` pixels from `first` on.

    `boxes` (N, 4): top, left, height, width; `resized` and `first` (N, 2): height and width, top and left.
    """
    device, channels = photos[0].device, photos[0].shape[0]
    sides = boxes[:, 2:]  # (N, 2)
    height, width = sides.max(axis=0).tolist()
    # a sum of weighted pixels has 24 bits up to that scale, and a float32 holds them all
    kind = torch.float32 if (sides <= EXACT * resized).all() else torch.float64
    parts = torch.zeros((len(photos), height, channels, width), dtype=kind, device=device)
    for part, photo, (top, left, h, w) in zip(parts, photos, boxes.tolist(), strict=True):
        part[:h, :, :w] = photo[:, top : top + h, left : left + w].transpose(0, 1)
    kept = first[:, :, None] + np.arange(size)  # (N, 2, size)
    kept[flips, 1] = kept[flips, 1, ::-1]
    down = _weights(sides[:, 0], resized[:, 0], kept[:, 0], device).to(kind)  # (N, size, height)
    across = _weights(sides[:, 1], resized[:, 1], kept[:, 1], device).to(kind)  # (N, size, width)
    rows = _rounded(parts.flatten(1, 2) @ across.mT)  # (N, height * channels, size)
    images = _rounded(down @ rows.view(len(photos), height, -1))  # (N, size, channels * size)
    images = images.to(torch.uint8).view(len(photos), size, channels, size)
    return images.transpose(2, 3).contiguous().permute(0, 3, 1, 2)  # (N, channels, size, size), channels last


def _weights(
    length: NDArray[np.int64], resized: NDArray[np.int64], kept: NDArray[np.int64], device: torch.device
) -> Tensor:
    """What each pixel of a side counts in each one that is kept: float64 (N, size, longest side).

    `length` and `resized` (N,): of the side, before and after; `kept` (N, size): which of the pixels after.
    A triangle as wide as the scale, of sum 1, each weight rounded to as many bits as torch would keep.
    """
    reach = 2 * int(np.ceil(max(1, (length / resized).max()))) + 1  # pixels under a triangle at most
    rows = torch.arange(int(resized.max()), device=device).view(-1, 1)
    before, after = (_send(side, device).view(-1, 1, 1) for side in (length, resized))
    scale = before.double() / after
    centre, half = scale * (rows + 0.5), scale.clamp(min=1)  # (N, rows, 1), (N, 1, 1)
    start = (centre - half + 0.5).long().clamp_(min=0)
    end = torch.minimum((centre + half + 0.5).long(), before)
    pixel = start + torch.arange(reach, device=device)  # (N, rows, reach)
    weight = (1 - ((pixel - centre + 0.5) * (1 / half)).abs_()).clamp_(min=0) * (pixel < end) * (rows < after)
    weight /= weight.sum(2, keepdim=True).clamp_(min=1e-9)  # rows that a smaller photo lacks stay 0
    weight = _rounded_weights(weight)
    chosen = _send(kept, device)[:, :, None].expand(-1, -1, reach)
    weight, pixel = weight.gather(1, chosen), pixel.gather(1, chosen).clamp_(max=int(length.max()) - 1)
    dense = weight.new_zeros((*kept.shape, int(length.max())))
    return dense.scatter_add_(2, pixel, weight)


def _rounded_weights(weight: Tensor) -> Tensor:
    """(N, rows, reach), each photo's with as many bits behind the point as bring its largest below 2^15."""
    largest = weight.amax((1, 2)).view(-1, 1)
    bits = torch.arange(1, 1 + MOST_BITS, device=weight.device)
    precision = ((0.5 + largest * 2.0**bits).floor() < 2**15).sum(1).view(-1, 1, 1)
    unit = torch.exp2(precision.double())
    return (0.5 + weight * unit).floor() / unit


def _rounded(sums: Tensor) -> Tensor:
    """Grey levels, in place; a half goes up, as in integer arithmetic."""
    return sums.add_(0.5).floor_().clamp_(max=255)


def _send(array: NDArray[Any], device: torch.device) -> Tensor:
    """To the device, and without waiting until it has done what it is asked to do already."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _move_colours(images: Tensor, views: Views) -> Tensor:
    """torchvision's adjust_brightness, adjust_contrast and adjust_saturation, in the order of each photo.

    Each mixes the picture with another: black, its mean grey, itself in grey. A grey one has no saturation.
    """
    device, channels = images.device, images.shape[1]
    shares = np.take_along_axis(views.factors, views.orders, axis=1)  # (N, 3): in the order of the changes
    if channels == 1:
        shares = np.where(views.orders == 2, 1.0, shares)
    kinds = np.stack([views.orders == 1, views.orders == 2])  # (2, N, 3)
    share, rest, (contrast, saturation) = (
        _send(values.astype(np.float32), device)[..., None, None, None]
        for values in (shares, 1 - shares, kinds)
    )
    moved = images.float()
    for step in range(3):
        grey = _grey(moved)  # (N, 1, size, size)
        mean = grey.sum((1, 2, 3), keepdim=True) / grey[0].numel()
        other = contrast[:, step] * mean + saturation[:, step] * grey
        # on most processors torch rounds this sum once: in float64 it is exact until it is made a float32
        sums = (share[:, step] * moved).double().addcmul_(rest[:, step].double(), other.double())
        moved = sums.float().clamp_(0, 255).floor_()
    return moved.to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    """ITU-R 601's brightness in whole levels, as torchvision computes it."""
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).floor_()[:, None]
