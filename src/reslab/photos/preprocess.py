"""One Preprocess value, from which the training and the evaluation transform follow (torchvision v2).

A photo goes through two steps. `shrink` needs no randomness and is what the cache keeps; `evaluation` or
`training` makes of it what the network sees. The same photo gives the same bits everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from .decode import decode

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)


class Preprocess(BaseModel):
    """What is done to a photo before the network sees it; sizes in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=1, le=4096, description="side of the square that the network sees")
    resize: int = Field(ge=1, le=8192, description="shorter side before the centre crop")
    channels: Literal[1, 3] = Field(3, description="3: sRGB, 1: grey")
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    random_crop: bool = Field(True, description="training: a random part of the photo, else the centre")
    min_crop_area: float = Field(0.35, gt=0, le=1, description="training: smallest part, share of the area")
    horizontal_flip: bool = Field(True, description="training: mirrored in half of the cases")
    color_jitter: float = Field(0.0, ge=0, le=1, description="training: brightness, contrast, saturation")

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

    @cached_property
    def evaluation(self) -> Callable[[Tensor], Tensor]:
        """uint8 (channels, H, W) -> uint8 (channels, size, size): resized, centre crop. Always the same."""
        from torchvision.transforms import v2

        return v2.Compose([v2.Resize(max(self.resize, self.size), antialias=True), v2.CenterCrop(self.size)])

    @cached_property
    def training(self) -> Callable[[Tensor], Tensor]:
        """uint8 (channels, H, W) -> uint8 (channels, size, size), drawing from torch's random state."""
        from torchvision.transforms import v2

        size, jitter = self.size, self.color_jitter
        steps = [v2.RandomResizedCrop(size, scale=(self.min_crop_area, 1.0), antialias=True)]
        if not self.random_crop:
            steps = [self.evaluation]
        if self.horizontal_flip:
            steps.append(v2.RandomHorizontalFlip())
        if jitter > 0:
            steps.append(v2.ColorJitter(jitter, jitter, jitter))
        return v2.Compose(steps)

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
