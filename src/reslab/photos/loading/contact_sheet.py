"""A batch as people like to look at it: a sheet of pictures with labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from reslab.errors import UsageError
from reslab.files import write
from reslab.text import printable

from .preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from PIL import Image, ImageDraw
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

    images, labels = _check(batch, mean, std)
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
        text = printable(str(classes[label])) if 0 <= label < len(classes) else str(label)
        _caption(draw, text, label, (x, y + side_h + 2), side_w)
    if path is not None:
        _save(sheet, Path(path))
    return sheet


def _check(
    batch: tuple[Tensor, Tensor], mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
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
    channels = images.shape[1]
    if any(numbers is not None and len(numbers) != channels for numbers in (mean, std)):
        raise UsageError(
            f"mean {mean} and std {std} do not fit pictures of {channels} channels",
            "each channel has one mean and one deviation",
            "give those that the pictures were normalised by, as Preprocess has them",
        )
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


def _caption(draw: ImageDraw.ImageDraw, text: str, label: int, place: tuple[int, int], width: int) -> None:
    """`text`, shortened to `width`; the number of the class where no font has its letters."""
    from PIL import ImageFont

    file, letters = _font_for(text)
    shown = "".join(letter for letter in text if letter in letters).strip() or f"class {label}"
    font = ImageFont.truetype(file, 13)
    if draw.textlength(shown, font=font) > width:
        while shown and draw.textlength(shown + "…", font=font) > width:
            shown = shown[:-1]
        shown += "…"
    draw.text(place, shown, fill="black", font=font)


@cache
def _font_for(text: str) -> tuple[str, frozenset[str]]:
    """The font that has most of the letters of `text`, and those; DejaVu, matplotlib's own, if it has all."""
    from matplotlib import font_manager

    best = str(font_manager.findfont("DejaVu Sans"))
    known = _letters_in(best, text)
    if len(known) < len(set(text)):
        fonts = font_manager.fontManager.ttflist
        for file in sorted({f.fname for f in fonts if "Last Resort" not in f.name}):  # nothing but boxes
            if len(letters := _letters_in(file, text)) > len(known):
                best, known = file, letters
    return best, known


def _letters_in(file: str, text: str) -> frozenset[str]:
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont

    try:
        ImageFont.truetype(file, 13)  # not every font comes in every size: emoji are pictures
        known = FT2Font(file).get_charmap()
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(letter for letter in text if ord(letter) in known)


def _save(sheet: Image.Image, path: Path) -> None:
    import io

    what, do = f"a contact sheet cannot be written to {path}", "give a path such as batch.png"
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(what, f"its suffix is none of {', '.join(SUFFIXES)}", do)
    buffer = io.BytesIO()
    sheet.save(buffer, format=SUFFIXES[suffix], quality=92)
    try:
        write(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(what, error.strerror or str(error), do) from error
