"""Corruptions of images at severities 1 to 5: noise, blur, weather, JPEG and others, in a table.

After Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", section 3 and appendix A. Their lengths are for 224 pixels; here they scale with the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from io import BytesIO

import torch
from PIL import Image
from torch import Generator, Tensor
from torch.fft import irfft2, rfft2
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from reslab.errors import UsageError, nearest
from reslab.hardware import threads
from reslab.randomness import key

SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE_SIZE = 224  # pixels; the lengths in the table are for images of this size


@dataclass(frozen=True)
class Corruption:
    """A way to spoil an image, with its amount at each severity.

    Attributes:
        apply: image float32 (C, H, W) from 0 to 1, amount, `unit`, generator of random numbers -> image.
            `unit` is the length in pixels of 1/224 of the image's side.
        amounts: at severities 1 to 5.
        meaning: meaning of an amount, with its unit.
    """

    apply: Callable[[Tensor, float, float, Generator], Tensor]
    amounts: tuple[float, float, float, float, float]
    meaning: str


def gaussian_noise(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    return image + amount * torch.randn(image.shape, generator=random)


def shot_noise(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    deviation = (image / amount).sqrt()  # Poisson's; a normal number is drawn ten times as fast
    return image + deviation * torch.randn(image.shape, generator=random)


def impulse_noise(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    place, salt = torch.rand((2, *image.shape), generator=random)
    return torch.where(place < amount, (salt < 0.5).float(), image)


def defocus_blur(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    return _smear(image, amount * unit, 0.0, 0.0)


def motion_blur(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    return _smear(image, 0.0, amount * unit, math.pi * torch.rand((), generator=random).item())


def zoom_blur(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    zooms = torch.linspace(1, amount, 8).tolist()
    flat = [0, 0], [0.0, 0.0]  # no shift, no shear
    layers = [F.affine(image, 0.0, flat[0], zoom, flat[1], InterpolationMode.BILINEAR) for zoom in zooms]
    return torch.stack(layers).mean(0)


def fog(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    octaves = [torch.rand((1, 1, 2**k, 2**k), generator=random) / 2**k for k in range(1, 7)]
    layers = [interpolate(o, image.shape[1:], mode="bicubic", align_corners=False)[0] for o in octaves]
    return (image + amount * (0.4 + torch.stack(layers).sum(0))) / (1 + amount)


def snow(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    grid = torch.rand((1, REFERENCE_SIZE // 2, REFERENCE_SIZE // 2), generator=random)  # cells of two units
    flakes = F.resize((grid < amount).float(), list(image.shape[1:]), antialias=True)
    direction = math.pi * (0.25 + 0.5 * torch.rand((), generator=random).item())  # they fall
    return image + amount * (1 - image) + 3 * _smear(flakes, 0.0, 8 * unit, direction)


def brightness(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    return image + amount


def contrast(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    mean = image.mean((1, 2), keepdim=True)
    return mean + amount * (image - mean)


def pixelate(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    small = adaptive_avg_pool2d(image, _sides(image, amount))
    return interpolate(small[None], image.shape[1:], mode="nearest")[0]


def low_resolution(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    small = F.resize(image, list(_sides(image, amount)), antialias=True)
    return F.resize(small, list(image.shape[1:]), antialias=True)


def jpeg(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    file = BytesIO()
    F.to_pil_image(_to_bytes(image)).save(file, "JPEG", quality=int(amount))
    return F.pil_to_tensor(Image.open(file)).float() / 255


def posterize(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    return F.posterize(_to_bytes(image), int(amount)).float() / 255


def rotation(image: Tensor, amount: float, unit: float, random: Generator) -> Tensor:
    height, width = image.shape[1:]
    angle = amount if torch.rand((), generator=random) < 0.5 else -amount
    framed = F.pad(image, [width // 4, height // 4], padding_mode="symmetric")  # no corner stays empty
    return F.center_crop(F.rotate(framed, angle, InterpolationMode.BILINEAR), [height, width])


CORRUPTIONS = {
    "gaussian_noise": Corruption(gaussian_noise, (0.08, 0.12, 0.18, 0.26, 0.38), "standard deviation"),
    "shot_noise": Corruption(shot_noise, (60, 25, 12, 5, 3), "photons of a white pixel"),
    "impulse_noise": Corruption(impulse_noise, (0.03, 0.06, 0.09, 0.17, 0.27), "fraction black or white"),
    "defocus_blur": Corruption(defocus_blur, (3, 4, 6, 8, 10), "radius, in 1/224 of the side"),
    "motion_blur": Corruption(motion_blur, (8, 12, 18, 26, 36), "length, in 1/224 of the side"),
    "zoom_blur": Corruption(zoom_blur, (1.11, 1.16, 1.21, 1.26, 1.33), "largest zoom"),
    "fog": Corruption(fog, (0.8, 1.2, 1.7, 2.3, 3.0), "fog over photo"),
    "snow": Corruption(snow, (0.01, 0.02, 0.04, 0.06, 0.09), "fraction of flakes"),
    "brightness": Corruption(brightness, (0.1, 0.2, 0.3, 0.4, 0.5), "added to each value"),
    "contrast": Corruption(contrast, (0.4, 0.3, 0.2, 0.1, 0.05), "fraction that is left"),
    "pixelate": Corruption(pixelate, (0.5, 0.35, 0.25, 0.18, 0.12), "fraction of the side, in blocks"),
    "low_resolution": Corruption(low_resolution, (0.5, 0.35, 0.25, 0.18, 0.12), "fraction of the side"),
    "jpeg": Corruption(jpeg, (25, 18, 15, 10, 7), "quality"),
    "posterize": Corruption(posterize, (5, 4, 3, 2, 1), "bits of each value"),
    "rotation": Corruption(rotation, (4, 8, 14, 21, 30), "degrees, left or right"),
}


def corrupt(images: Tensor, name: str, severity: int, keys: Sequence[int] | None = None) -> Tensor:
    """Return corrupted copies of images.

    An image with the same key gets the same random numbers: in any batch, at any severity, and with any
    number of threads.

    Args:
        images: uint8 (N, C, H, W), C 1 or 3, not normalized.
        name: a key of CORRUPTIONS, such as "fog".
        severity: 1 to 5.
        keys: a number for each image; by default `image_key` of it.

    Returns:
        uint8 (N, C, H, W).

    Raises:
        UsageError: the corruption or the severity is unknown.
    """
    if name not in CORRUPTIONS:
        raise UsageError(f"there is no corruption '{name}'", "", nearest(name, CORRUPTIONS))
    if severity not in SEVERITIES:
        raise UsageError(f"severity {severity} is out of range", "severities go from 1 to 5", "give 1 to 5")
    corruption, unit = CORRUPTIONS[name], min(images.shape[2:]) / REFERENCE_SIZE
    amount = corruption.amounts[severity - 1]
    corrupted = []
    with threads(1):  # a sum by several threads may round differently
        for image, number in zip(images, keys or map(image_key, images), strict=True):
            random = Generator().manual_seed(key(0, name, number))
            corrupted.append(_to_bytes(corruption.apply(image.cpu().float() / 255, amount, unit, random)))
    return torch.stack(corrupted).to(images.device)


def image_key(image: Tensor) -> int:
    """Hash the pixels of an image, uint8 (C, H, W), to a number from 0 to 2 ** 64 - 1."""
    pixels = image.cpu().contiguous().numpy().tobytes()
    return int.from_bytes(blake2b(pixels, digest_size=8).digest(), "little")


def _to_bytes(image: Tensor) -> Tensor:
    """Return float32 values from 0 to 1, clipped, as uint8 from 0 to 255."""
    return (image * 255).round().clamp(0, 255).to(torch.uint8)


def _sides(image: Tensor, fraction: float) -> tuple[int, int]:
    """Return a fraction of the height and of the width of (C, H, W), rounded, at least 1."""
    height, width = (max(1, round(side * fraction)) for side in image.shape[1:])
    return height, width


def _smear(image: Tensor, radius: float, length: float, angle: float) -> Tensor:
    """Average (C, H, W) over the pixels within `radius` of a line, whose edge is one pixel wide.

    Args:
        length: of the line, in pixels; 0 is a point.
        angle: between the line and the horizontal, in radians.
    """
    reach = math.ceil(radius + length / 2)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1.0)] * 2, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    distance = torch.hypot((along.abs() - length / 2).clamp(min=0), across)
    weights = (1 + radius - distance).clamp(0, 1)
    framed = pad(image[None], [reach] * 4, mode="replicate")[0]  # (C, H + 2 reach, W + 2 reach)
    size = framed.shape[1:]
    spectrum = rfft2(framed) * rfft2(weights / weights.sum(), size)  # faster than conv2d from 7 pixels on
    return irfft2(spectrum, size)[:, 2 * reach :, 2 * reach :]  # (C, H, W)
