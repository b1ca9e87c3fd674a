"""One Preprocess value, from which the training and the evaluation transform follow (torchvision v2).

A photo goes through two steps. `shrink` needs no randomness and is what the cache keeps; `evaluation` or
`training` makes of it what the network sees. The same photo gives the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reslab.photos.decoding.decode import LONGEST, Truncated, decode

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)


class Preprocess(BaseModel):
    """What is done to a photo before the network sees it; sizes in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int = Field(ge=1, le=4096, description="side of the square that the network sees")
    resize: int = Field(ge=1, le=8192, description="shorter side before the centre crop")
    channels: Literal[1, 3] = Field(3, description="3: sRGB, 1: grey")
    truncated: Truncated = Field("refuse", description="keep: what is there of a JPEG that lacks its end")
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    random_crop: bool = Field(True, description="training: a random part of the photo, else the centre")
    min_crop_area: float = Field(0.35, gt=0, le=1, description="training: smallest part, share of the area")
    horizontal_flip: bool = Field(True, description="training: mirrored in half of the cases")
    color_jitter: float = Field(0.0, ge=0, le=1, description="training: brightness, contrast, saturation")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels or min(self.std) <= 0:
            raise ValueError(f"mean and std: one number for each of {self.channels} channels, std positive")
        if self.resize < self.size:
            raise ValueError(f"resize: {self.resize} is less than size, which is {self.size}")
        return self

    def shrink(self, image: Image.Image) -> Tensor:
        """uint8 (channels, H, W) with the shorter side `resize`; never enlarged.

        Very long photos keep three times their shorter side, around the centre.
        """
        import numpy as np
        import torch
        from PIL import Image

        width, height = image.size
        limit = LONGEST * min(width, height)
        if max(width, height) > limit:
            left, top = _margin(width, limit), _margin(height, limit)
            image = image.crop((left, top, left + min(width, limit), top + min(height, limit)))
        shorter = min(image.size)
        if shorter > self.resize:
            width, height = (int(self.resize * side / shorter) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))  # (H, W) or (H, W, 3)
        return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)

    def read(self, photo: Path | bytes, name: Path | str = "the photo") -> Tensor:
        """Decodes and shrinks one photo: uint8 (channels, H, W). Raises PhotosError, which names it.

        What `shrink` makes of a large JPEG, but for a level or two: see `decode` about `shrunk_to`.
        """
        mode: Literal["RGB", "L"] = "RGB" if self.channels == 3 else "L"
        return self.shrink(decode(photo, mode, self.truncated, self.resize, name=name))

    @property
    def evaluation(self) -> Callable[[Tensor], Tensor]:
        """uint8 (channels, H, W) -> uint8 (channels, size, size): resized, centre crop. Always the same."""
        return partial(_evaluation, self)

    @property
    def training(self) -> Callable[[Tensor], Tensor]:
        """uint8 (channels, H, W) -> uint8 (channels, size, size), drawing from torch's random state."""
        return partial(_training, self)

    def at(self, size: int) -> Preprocess:
        """The same look at another size, from the same cached pixels; `resize` keeps its proportion."""
        resize = max(size, round(self.resize * size / self.size))
        return self.model_copy(update={"size": size, "resize": resize})

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (N, channels, H, W) -> float32 in the same layout, each channel minus its mean, over its
        deviation."""
        import torch

        mean = torch.tensor(self.mean, device=images.device) * 255  # (channels,)
        std = torch.tensor(self.std, device=images.device) * 255
        # in place: a block of a new size costs more to obtain than to fill
        made = images.to(torch.float32, copy=True)
        rows = made.permute(0, 2, 3, 1)  # (N, H, W, channels)
        if self.channels > 1 and rows.is_contiguous():  # whole rows: four times as fast as pixel by pixel
            width = images.shape[3]
            rows.flatten(2).sub_(mean.repeat(width)).div_(std.repeat(width))
        else:
            made.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))
        return made

    def denormalize(self, images: Tensor) -> Tensor:
        """float32 (N, channels, H, W) as the network sees them -> uint8, for people."""
        import torch

        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def shrink_key(self) -> str:
        """Everything that `read` depends on: two values with the same key share a cache."""
        kept = ", truncated kept" if self.truncated == "keep" else ""
        return f"shrink 3, shorter side {self.resize}, {self.channels} channels{kept}"


def _evaluation(look: Preprocess, pixels: Tensor) -> Tensor:
    """What torchvision's Resize and CenterCrop make of it, bit by bit, and mostly without importing them."""
    if min(pixels.shape[1:]) != look.resize:
        from torchvision.transforms.v2 import functional as F

        pixels = F.resize(pixels, [look.resize], antialias=True)
    top, left = (_margin(side, look.size) for side in pixels.shape[1:])
    return pixels[:, top : top + look.size, left : left + look.size]


def _margin(side: int, kept: int) -> int:
    """Pixels before the middle part of a side, rounded as torchvision rounds; 0 where all is kept."""
    return max(0, round((side - kept) / 2))


def _training(look: Preprocess, pixels: Tensor) -> Tensor:
    import numpy as np
    import torch

    from .augmentation import NUMBERS, augment, draw

    numbers = torch.rand(1, NUMBERS, dtype=torch.float64).numpy()
    return augment(look, [pixels], draw(look, np.array([pixels.shape[1:]]), numbers))[0]
