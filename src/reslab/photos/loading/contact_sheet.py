"""show_batch: the images of a batch on one sheet, with their labels."""

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

MARGIN, CAPTION, MIN_SIDE, MAX_SIDE, MAX_COLUMNS = 6, 20, 64, 160, 8  # pixels; columns
FONT_SIZE = 13
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".pdf": "PDF"}


def show_batch(
    batch: tuple[Tensor, Tensor],
    classes: Sequence[str] = (),
    path: Path | str | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int = 32,
) -> Image.Image:
    """Draw a contact sheet of a batch: each image as the network gets it, with its label below.

    Images are scaled to sides of 64 to 160 pixels, at most eight in a row.

    Args:
        batch: images, normalized float (N, C, H, W) with C 1 or 3, and labels (N,), from `Batches.epoch`
            or a DataLoader.
        classes: class names by label; a label without a name is shown as a number.
        path: also write the sheet to this file, replacing it: .png, .jpg, .jpeg, .webp, .gif or .pdf.
        mean: mean of each channel that the images were normalized by; by default ImageNet's, in grey
            for images of one channel.
        std: standard deviation of each channel, with the same default.
        limit: largest number of images to show; at least one is shown.

    Returns:
        The sheet, which a notebook displays.

    Raises:
        UsageError: `batch`, `mean` or `std` has the wrong form, or `path` cannot be written.
    """
    from PIL import Image, ImageDraw

    images, labels = _check(batch, mean, std)
    count = max(1, min(len(images), limit))
    shown = _to_pil(images[:count], mean, std)
    side_w, side_h = (min(max(side, MIN_SIDE), MAX_SIDE) for side in shown[0].size)
    columns = min(MAX_COLUMNS, count)
    rows = -(-count // columns)
    cell_w, cell_h = side_w + MARGIN, side_h + MARGIN + CAPTION
    sheet = Image.new("RGB", (columns * cell_w + MARGIN, rows * cell_h + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for i, image in enumerate(shown):
        x, y = MARGIN + i % columns * cell_w, MARGIN + i // columns * cell_h
        resampling = Image.Resampling.NEAREST if image.width < side_w else Image.Resampling.LANCZOS
        sheet.paste(image.resize((side_w, side_h), resampling), (x, y))
        label = int(labels[i])
        text = printable(str(classes[label])) if 0 <= label < len(classes) else str(label)
        _caption(draw, text, label, (x, y + side_h + 2), side_w)
    if path is not None:
        _save(sheet, Path(path))
    return sheet


def _check(
    batch: tuple[Tensor, Tensor], mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Return images and labels of a batch.

    Raises UsageError if they are not a batch of normalized images, or mean and std do not fit them.
    """
    import torch

    expected = "expected float images (N, 1 or 3, H, W), N at least 1, and labels (N,)"
    do = "pass a batch of Batches.epoch() or of a DataLoader: reslab.show_batch(next(iter(loader)))"
    if not (isinstance(batch, (tuple, list)) and len(batch) == 2 and all(map(torch.is_tensor, batch))):
        raise UsageError(f"a {type(batch).__name__} is not a batch of images", expected, do)
    images, labels = batch
    good = images.dim() == 4 and images.shape[1] in (1, 3) and images.numel() and images.is_floating_point()
    if not good or labels.shape != images.shape[:1]:
        shapes = f"images {tuple(images.shape)} {images.dtype} and labels {tuple(labels.shape)}"
        raise UsageError(f"{shapes} are not a batch of images", expected, do)
    channels = images.shape[1]
    if any(numbers is not None and len(numbers) != channels for numbers in (mean, std)):
        raise UsageError(
            f"mean {mean} and std {std} do not fit images of {channels} channels",
            "each channel needs one mean and one standard deviation",
            "pass the mean and std of the Preprocess that normalized the images",
        )
    return images, labels


def _to_pil(images: Tensor, mean: Sequence[float] | None, std: Sequence[float] | None) -> list[Image.Image]:
    """Undo the normalization of images (N, C, H, W), and return each as a PIL image."""
    import torch
    from torchvision.transforms.v2.functional import to_pil_image

    grey = images.shape[1] == 1
    scale = torch.tensor(std or (GREY_STD if grey else IMAGENET_STD)).view(-1, 1, 1)
    shift = torch.tensor(mean or (GREY_MEAN if grey else IMAGENET_MEAN)).view(-1, 1, 1)
    pixels = ((images.detach().float().cpu() * scale + shift) * 255).round().clamp(0, 255).to(torch.uint8)
    return [to_pil_image(image) for image in pixels]


def _caption(draw: ImageDraw.ImageDraw, text: str, label: int, place: tuple[int, int], width: int) -> None:
    """Draw `text` without letters that its font lacks, shortened to `width` with an ellipsis.

    Args:
        draw: drawing of the sheet.
        text: name of the class.
        label: number of the class, drawn as "class 3" if no letter of `text` is left.
        place: left and top of the text, in pixels.
        width: largest width, in pixels.
    """
    from PIL import ImageFont

    file, letters = _font_for(text)
    shown = "".join(letter for letter in text if letter in letters).strip() or f"class {label}"
    font = ImageFont.truetype(file, FONT_SIZE)
    if draw.textlength(shown, font=font) > width:
        while shown and draw.textlength(shown + "…", font=font) > width:
            shown = shown[:-1]
        shown += "…"
    draw.text(place, shown, fill="black", font=font)


@cache
def _font_for(text: str) -> tuple[str, frozenset[str]]:
    """Return the path of the font with most letters of `text`, and these letters.

    DejaVu Sans, which comes with matplotlib, wins a tie.
    """
    from matplotlib import font_manager

    best = str(font_manager.findfont("DejaVu Sans"))
    known = _letters_in(best, text)
    if len(known) < len(set(text)):
        fonts = font_manager.fontManager.ttflist
        for file in sorted({f.fname for f in fonts if "Last Resort" not in f.name}):  # it has boxes only
            if len(letters := _letters_in(file, text)) > len(known):
                best, known = file, letters
    return best, known


def _letters_in(file: str, text: str) -> frozenset[str]:
    """Return the letters of `text` that a font file has; none if Pillow cannot use the font."""
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont

    try:
        ImageFont.truetype(file, FONT_SIZE)  # fails for bitmap fonts such as emoji
        known = FT2Font(file).get_charmap()
    except (OSError, RuntimeError):
        return frozenset()
    return frozenset(letter for letter in text if ord(letter) in known)


def _save(sheet: Image.Image, path: Path) -> None:
    """Write the sheet, replacing `path`. Raises UsageError for another suffix or if it cannot be written."""
    import io

    what, do = f"the contact sheet cannot be written to {path}", "give a path such as batch.png"
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(what, f"its suffix must be one of {', '.join(FORMATS)}", do)
    buffer = io.BytesIO()
    sheet.save(buffer, format=FORMATS[suffix], quality=92)
    try:
        write(path, buffer.getvalue())
    except OSError as error:
        raise UsageError(what, error.strerror or str(error), do) from error
