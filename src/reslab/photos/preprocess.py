"""One Preprocess value, from which the training and the evaluation transform follow (torchvision v2).

A photo goes through two steps. `shrink` needs no randomness and is what the cache keeps; `evaluation` or
`training` makes of it what the network sees. The same photo gives the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .decode import decode

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
        from torchvision.transforms.v2 import functional as F

        width, height = image.size
        limit = 3 * min(width, height)
        if max(width, height) > limit:
            image = F.center_crop(image, [min(height, limit), min(width, limit)])
        if min(image.size) > self.resize:
            image = F.resize(image, [self.resize], antialias=True)
        return F.pil_to_tensor(image)

    def read(self, photo: Path | bytes) -> Tensor:
        """Decodes and shrinks one photo: uint8 (channels, H, W). Raises PhotosError."""
        return self.shrink(decode(photo, "RGB" if self.channels == 3 else "L"))

    @property
    def evaluation(self) -> Callable[[Tensor], Tensor]:
        """uint8 (channels, H, W) -> uint8 (channels, size, size): resized, centre crop. Always the same."""
        return _evaluation(self)

    @property
    def training(self) -> Callable[[Tensor], Tensor]:
        """uint8 (channels, H, W) -> uint8 (channels, size, size), drawing from torch's random state."""
        return _training(self)

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 (N, channels, H, W) -> float32, each channel minus its mean, over its deviation."""
        import torch

        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1) * 255
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1) * 255
        return (images.float() - mean) / std

    def denormalize(self, images: Tensor) -> Tensor:
        """float32 (N, channels, H, W) as the network sees them -> uint8, for people."""
        import torch

        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def shrink_key(self) -> str:
        """Everything that `read` depends on: two values with the same key share a cache."""
        return f"shrink 1, shorter side {self.resize}, {self.channels} channels"


@cache  # here, not in the value: a changed copy of a value would keep the transform of the first
def _evaluation(look: Preprocess) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    return v2.Compose([v2.Resize(look.resize, antialias=True), v2.CenterCrop(look.size)])


@cache
def _training(look: Preprocess) -> Callable[[Tensor], Tensor]:
    from torchvision.transforms import v2

    size, jitter = look.size, look.color_jitter
    steps = [v2.RandomResizedCrop(size, scale=(look.min_crop_area, 1.0), antialias=True)]
    if not look.random_crop:
        steps = [look.evaluation]
    if look.horizontal_flip:
        steps.append(v2.RandomHorizontalFlip())
    if jitter > 0:
        steps.append(v2.ColorJitter(jitter, jitter, jitter))
    return v2.Compose(steps)
