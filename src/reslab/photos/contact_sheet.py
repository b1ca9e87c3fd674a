"""A batch as people like to look at it: a sheet of pictures with labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..files import write
from ..tables import printable
from .preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont
    from torch import Tensor

MARGIN, CAPTION, LARGEST = 6, 20, 160
SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".pdf": "PDF"}


def show_batch(
    batch: tuple[Tensor, Tensor],
    classes: Sequence[str] = (),
    path: Path | str | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int = 32,
) -> Image.Image:
    """A contact sheet of a batch as the network sees it, with labels; a notebook shows it as it is.

    `batch`: images (N, 1 or 3, H, W), normalised by `mean` and `std` (ImageNet's unless given), labels (N,).
    `path`: written there too, as its suffix says. Raises UsageError for what is no batch.
    """
    from PIL import Image, ImageDraw

    images, labels = _check(batch)
    count = max(1, min(len(images), limit))
    pictures = _to_pictures(images[:count], mean, std)
    side_w, side_h = (min(max(side, 64), LARGEST) for side in pictures[0].size)
    columns = min(8, count)
    rows = -(-count // columns)
    cell_w, cell_h = side_w + MARGIN, side_h + MARGIN + CAPTION
    sheet = Image.new("RGB", (columns * cell_w + MARGIN, rows * cell_h + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        x, y = MARGIN + i % columns * cell_w, MARGIN + i // columns * cell_h
        smooth = Image.Resampling.NEAREST if picture.width < side_w else Image.Resampling.LANCZOS
        sheet.paste(picture.resize((side_w, side_h), smooth), (x, y))
        label = int(labels[i])
        text = str(classes[label]) if 0 <= label < len(classes) else str(label)
        _caption(draw, text, x, y + side_h + 2, side_w)
    if path is not None:
        _save(sheet, Path(path))
    return sheet


def _check(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """`batch` itself. Raises UsageError, saying what came instead, unless it is normalised images, labels."""
    import torch

    expected = "expected float images (N, 1 or 3, H, W), N at least 1, and labels (N,)"
    do = "give it what Batches.epoch() yields, or a DataLoader: reslab.show_batch(next(iter(loader)))"
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2 and all(map(torch.is_tensor, batch))):
        raise UsageError(f"this is no batch of pictures: {type(batch).__name__}", expected, do)
    images, labels = batch
    good = images.dim() == 4 and images.shape[1] in (1, 3) and images.numel() and images.is_floating_point()
    if not good or labels.shape != images.shape[:1]:
        shapes = f"images {tuple(images.shape)} {images.dtype}, labels {tuple(labels.shape)}"
        raise UsageError(f"this is no batch of pictures: {shapes}", expected, do)
    return images, labels


def _to_pictures(
    images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None
) -> list[Image.Image]:
    import torch
    from torchvision.transforms.v2.functional import to_pil_image

    grey = images.shape[1] == 1
    scale = torch.tensor(std or (GREY_STD if grey else IMAGENET_STD)).view(-1, 1, 1)
    shift = torch.tensor(mean or (GREY_MEAN if grey else IMAGENET_MEAN)).view(-1, 1, 1)
    pixels = ((images.detach().float().cpu() * scale + shift) * 255).round().clamp(0, 255).to(torch.uint8)
    return [to_pil_image(image) for image in pixels]


def _caption(draw: ImageDraw.ImageDraw, text: str, x: int, y: int, width: int) -> None:
    font = _font(text)
    shown = printable(text)
    while len(shown) > 1 and draw.textlength(shown, font=font) > width:
        shown = shown[:-2] + "…" if shown.endswith("…") else shown[:-1] + "…"
    draw.text((x, y), shown, fill="black", font=font)


def _font(text: str) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """A font that has the label's letters: DejaVu comes with matplotlib, others from the system."""
    from matplotlib import font_manager
    from PIL import ImageFont

    families = ["DejaVu Sans"]
    if any(ord(letter) > 0x2E80 for letter in text):
        families = ["Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "PingFang SC", *families]
    for family in families:
        with suppress(ValueError):  # not installed
            return ImageFont.truetype(font_manager.findfont(family, fallback_to_default=False), 13)
    return ImageFont.load_default(13)


def _save(sheet: Image.Image, path: Path) -> None:
    import io

    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.parent.is_dir():
        why = (
            f"its suffix is none of {', '.join(SUFFIXES)}"
            if suffix not in SUFFIXES
            else "there is no such folder"
        )
        raise UsageError(f"a contact sheet cannot be written to {path}", why, "give a path such as batch.png")
    buffer = io.BytesIO()
    sheet.save(buffer, format=SUFFIXES[suffix], quality=92)
    write(path, buffer.getvalue())
