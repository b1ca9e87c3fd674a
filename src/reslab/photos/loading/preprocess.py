"""Preprocess: how a photo becomes the network's input, the same in training and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reslab.photos.decoding.decode import MAX_ASPECT_RATIO, Truncated, decode

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)

# far beyond those of photos, and small enough that normalized pixels stay finite
Mean = Annotated[float, Field(ge=-100, le=100)]
Std = Annotated[float, Field(ge=1e-4, le=100)]


class Preprocess(BaseModel):
    """Preprocessing of photos: a frozen value, used by training, evaluation, prediction and export.

    A photo goes through three steps. `read` decodes and shrinks it, which is what the cache keeps.
    `evaluation` resizes it and takes the center crop; a training takes `augmentation.training_transform`
    instead. `normalize` turns a batch of images into the network's input.

    Args:
        size: side of the square image that the network gets, in pixels.
        resize: shorter side before the center crop, in pixels; at least `size`.
        channels: 3 for sRGB, 1 for grey.
        truncated: "refuse" a JPEG whose end is missing, or "keep" what is there of it.
        mean: mean of each channel, of pixels from 0 to 1; -100 to 100. ImageNet's by default.
        std: standard deviation of each channel, 0.0001 to 100.
        random_crop: train on a random crop, else on the center crop.
        min_crop_area: smallest random crop, as a fraction of the photo's area.
        horizontal_flip: mirror half of the photos in training.
        color_jitter: largest relative change of brightness, contrast and saturation in training.

    Raises:
        pydantic.ValidationError: a value is out of range, or mean and std do not have one number per channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: int = Field(ge=1, le=2048, description="side of the network's input in pixels")
    resize: int = Field(ge=1, le=4096, description="shorter side before the center crop")
    channels: Literal[1, 3] = Field(3, description="3: sRGB, 1: grey")
    truncated: Truncated = Field("refuse", description="keep: what is there of a JPEG whose end is missing")
    mean: tuple[Mean, ...] = IMAGENET_MEAN
    std: tuple[Std, ...] = IMAGENET_STD
    random_crop: bool = Field(True, description="training: a random crop, else the center crop")
    min_crop_area: float = Field(
        0.35, gt=0, le=1, description="training: smallest crop, fraction of the area"
    )
    horizontal_flip: bool = Field(True, description="training: mirror half of the photos")
    color_jitter: float = Field(0.0, ge=0, le=1, description="training: brightness, contrast, saturation")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std: one number for each of {self.channels} channels")
        if self.resize < self.size:
            raise ValueError(f"resize: {self.resize} is less than size, which is {self.size}")
        return self

    def shrink(self, image: Image.Image) -> Tensor:
        """Shrink a decoded photo to a shorter side of `resize` pixels; small photos are never enlarged.

        A long photo is first cut to three times its shorter side, around the center.

        Args:
            image: image of mode "RGB" for 3 channels, "L" for 1.

        Returns:
            uint8 (channels, H, W).
        """
        import numpy as np
        import torch
        from PIL import Image

        width, height = image.size
        limit = MAX_ASPECT_RATIO * min(width, height)
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
        """Decode and shrink one photo.

        A large JPEG is decoded at reduced scale. Its pixels differ from `shrink(decode(photo))` by a grey
        level or two, see `decode`.

        Args:
            photo: path or content of the file.
            name: name of the photo in errors if `photo` is bytes.

        Returns:
            uint8 (channels, H, W).

        Raises:
            PhotosError: the photo cannot be read.
        """
        mode: Literal["RGB", "L"] = "RGB" if self.channels == 3 else "L"
        return self.shrink(decode(photo, mode, self.truncated, self.resize, name=name))

    def evaluation(self, pixels: Tensor) -> Tensor:
        """Resize the shorter side to `resize` and take the center crop. Uses no randomness.

        Gives the pixels of torchvision's Resize and CenterCrop, mostly without importing torchvision.

        Args:
            pixels: uint8 (channels, H, W), as `read` returns them.

        Returns:
            uint8 (channels, size, size).
        """
        if min(pixels.shape[1:]) != self.resize:
            from torchvision.transforms.v2 import functional as F

            pixels = F.resize(pixels, [self.resize], antialias=True)
        top, left = (_margin(side, self.size) for side in pixels.shape[1:])
        return pixels[:, top : top + self.size, left : left + self.size]

    def at(self, size: int) -> Preprocess:
        """Return the same preprocessing at another `size`, with `resize` scaled in proportion.

        Use it for pixels that this value's `read` returned: its own `read` would shrink to other sizes.
        """
        resize = max(size, round(self.resize * size / self.size))
        return self.model_copy(update={"size": size, "resize": resize})

    def normalize(self, images: Tensor) -> Tensor:
        """Subtract the mean of each channel and divide by its standard deviation.

        Args:
            images: uint8 (N, channels, H, W).

        Returns:
            A new float32 tensor (N, channels, H, W), on the device and in the memory layout of `images`.
        """
        import torch

        mean = torch.tensor(self.mean, device=images.device) * 255  # (channels,)
        std = torch.tensor(self.std, device=images.device) * 255
        normalized = images.to(torch.float32, copy=True)  # then in place: new memory costs more than the sums
        rows = normalized.permute(0, 2, 3, 1)  # (N, H, W, channels)
        if self.channels > 1 and rows.is_contiguous():  # whole rows: four times as fast as pixel by pixel
            width = images.shape[3]
            rows.flatten(2).sub_(mean.repeat(width)).div_(std.repeat(width))
        else:
            normalized.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))
        return normalized

    def denormalize(self, images: Tensor) -> Tensor:
        """Undo `normalize`: float32 (N, channels, H, W) -> uint8 (N, channels, H, W), rounded and clipped."""
        import torch

        mean = torch.tensor(self.mean, device=images.device).view(-1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(-1, 1, 1)
        return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def shrink_key(self) -> str:
        """Return the settings that `read` depends on, as text. Values with the same key share a cache."""
        kept = ", truncated kept" if self.truncated == "keep" else ""
        return f"shrink 3, shorter side {self.resize}, {self.channels} channels{kept}"


def _margin(side: int, kept: int) -> int:
    """Count the pixels before a center crop of `kept` pixels, rounded as torchvision does; at least 0."""
    return max(0, round((side - kept) / 2))
