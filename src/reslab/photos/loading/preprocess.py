"""Preprocess: how a photo becomes the network's input, the same in training and evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from reslab.photos.decoding.decode import MAX_ASPECT_RATIO, Truncated, decode

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GREY_MEAN, GREY_STD = (0.449,), (0.226,)

# far beyond those of photos, and small enough that normalized pixels stay finite
Mean = Annotated[float, Field(ge=-100, le=100)]
Std = Annotated[float, Field(ge=1e-4, le=100)]
Value = Annotated[float, Field(ge=-1e30, le=1e30)]
ValueRange = tuple[Value, Value]
MIN_RANGE = 1e-30  # high minus low
Fit = Literal["crop", "pad", "squash"]
ADDED_LATER = {"value_range": None, "fit": "crop"}  # fields that are left out of files at these values


def check_value_range(value_range: tuple[float, float] | None) -> None:
    """Raise ValueError unless the low end is below the high end."""
    if value_range is not None and value_range[1] - value_range[0] < MIN_RANGE:
        low, high = value_range
        raise ValueError(f"value_range: {low:g} to {high:g} is empty; give LOW HIGH, with LOW below HIGH")


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
        value_range: values that become black and white in photos of more than 8 bits (16-bit, 32-bit and
            float files and arrays), the same for a whole data set; values outside are clipped. None: no such
            photo was trained on. 8-bit photos are not affected.
        fit: how a photo becomes a square. "crop" takes its middle, "pad" adds borders in the mean color, and
            "squash" changes its aspect ratio.
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
    value_range: ValueRange | None = Field(None, description="black and white of photos of more than 8 bits")
    fit: Fit = Field("crop", description="crop: the middle, pad: add borders, squash: change the shape")
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
        check_value_range(self.value_range)
        return self

    @model_serializer(mode="wrap")
    def _without_later_fields(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out ADDED_LATER at their defaults, so that earlier versions read the file."""
        content: dict[str, Any] = dump(self)
        return {n: v for n, v in content.items() if n not in ADDED_LATER or v != ADDED_LATER[n]}

    def shrink(self, image: Image.Image) -> Tensor:
        """Shrink a decoded photo to a shorter side of `resize` pixels; small photos are never enlarged.

        A long photo is first cut to three times its shorter side, around the center. With `fit` "pad" or
        "squash" the result is a square of at most `resize` pixels instead, and nothing is cut.

        Args:
            image: image of mode "RGB" for 3 channels, "L" for 1.

        Returns:
            uint8 (channels, H, W).
        """
        import numpy as np
        import torch
        from PIL import Image

        if self.fit != "crop":
            image = self.square(image, self.resize)
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

    def square(self, image: Image.Image, largest: int) -> Image.Image:
        """Return a photo as a square by `fit`, "pad" or "squash"; small photos are never enlarged.

        Args:
            image: image of mode "RGB" or "L".
            largest: side of the square in pixels, for a photo with a longer side.
        """
        from PIL import Image

        side = min(largest, max(image.size))
        if self.fit == "squash":
            return image.resize((side, side), Image.Resampling.BILINEAR)
        width, height = (max(1, round(length * side / max(image.size))) for length in image.size)
        levels = [round(255 * min(1.0, max(0.0, mean))) for mean in self.mean]
        bands = len(image.getbands())
        square = Image.new(image.mode, (side, side), tuple((levels * bands)[:bands]))
        small = image.resize((width, height), Image.Resampling.BILINEAR)
        square.paste(small, (_margin(side, width), _margin(side, height)))
        return square

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
        image = decode(photo, mode, self.truncated, self.resize, value_range=self.value_range, name=name)
        return self.shrink(image)

    def evaluation(self, pixels: Tensor) -> Tensor:
        """Resize the shorter side to `resize` and take the center crop. Uses no randomness.

        Gives the pixels of torchvision's Resize and CenterCrop, mostly without importing torchvision. With
        `fit` "pad" or "squash" the photo is resized to `size`, and nothing is cut.

        Args:
            pixels: uint8 (channels, H, W), as `read` returns them.

        Returns:
            uint8 (channels, size, size).
        """
        if min(pixels.shape[1:]) != self.shorter_side:
            from torchvision.transforms.v2 import functional as F

            pixels = F.resize(pixels, [self.shorter_side], antialias=True)
        top, left = (_margin(side, self.size) for side in pixels.shape[1:])
        return pixels[:, top : top + self.size, left : left + self.size]

    @property
    def shorter_side(self) -> int:
        """Shorter side in pixels from which `evaluation` takes the center crop; `size` cuts nothing off."""
        return self.resize if self.fit == "crop" else self.size

    def visible_box(self, width: float, height: float) -> tuple[float, float, float, float]:
        """Return the part of a photo that `evaluation` keeps: left, top, width and height in its pixels.

        With `fit` "pad" it reaches beyond the photo.

        Args:
            width: of the upright photo.
            height: of the upright photo.
        """
        if self.fit == "squash":
            return 0.0, 0.0, width, height
        side = max(width, height) if self.fit == "pad" else min(width, height) * self.size / self.resize
        return (width - side) / 2, (height - side) / 2, side, side

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
        if self.value_range is not None:
            kept += f", values {self.value_range[0]!r} to {self.value_range[1]!r}"
        if self.fit != "crop":
            kept += f", {self.fit}" + (f" with {self.mean}" if self.fit == "pad" else "")
        return f"shrink 3, shorter side {self.resize}, {self.channels} channels{kept}"


def _margin(side: int, kept: int) -> int:
    """Count the pixels before a center crop of `kept` pixels, rounded as torchvision does; at least 0."""
    return max(0, round((side - kept) / 2))
