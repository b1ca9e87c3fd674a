"""The contact sheet: images with their labels, and errors for other values."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import font_manager
from PIL import Image

import reslab
from reslab import Batches, Photos, show_batch
from reslab.errors import UsageError
from reslab.photos.loading.contact_sheet import CAPTION, MARGIN, _font_for, _letters_in
from reslab.photos.loading.pixel_cache import PixelFiles
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, Preprocess

RGB = Preprocess(size=64, resize=64)
GREY = Preprocess(size=28, resize=28, channels=1, mean=GREY_MEAN, std=GREY_STD)
COLORS = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10)]


def flat(count: int, preprocess: Preprocess = RGB) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` normalized images of one color each; the label is the number of the color."""
    labels = torch.arange(count) % len(COLORS)
    colors = torch.tensor(COLORS, dtype=torch.uint8)[labels, : preprocess.channels]
    images = colors[:, :, None, None].expand(-1, -1, preprocess.size, preprocess.size)
    return preprocess.normalize(images), labels


def caption(sheet: Image.Image, column: int, side: int = 64) -> Image.Image:
    """The strip below an image of the first row."""
    x, y = MARGIN + column * (side + MARGIN), MARGIN + side + 1
    return sheet.crop((x, y, x + side, y + CAPTION - 1))


def is_blank(image: Image.Image) -> bool:
    return image.getextrema() == ((255, 255),) * 3


def test_each_image_is_in_its_place() -> None:
    sheet = show_batch(flat(11))
    cell = 64 + MARGIN
    assert sheet.size == (8 * cell + MARGIN, 2 * (cell + CAPTION) + MARGIN)
    for i in range(11):
        x, y = MARGIN + i % 8 * cell, MARGIN + i // 8 * (cell + CAPTION)
        found = np.asarray(sheet.crop((x, y, x + 64, y + 64)))
        assert (found == COLORS[i % 4]).all()
    assert is_blank(sheet.crop((MARGIN + 3 * cell, cell + CAPTION + MARGIN, *sheet.size)))


@pytest.mark.parametrize(("side", "shown"), [(8, 64), (28, 64), (100, 100), (224, 160)])
def test_small_images_are_enlarged_and_large_ones_reduced(side: int, shown: int) -> None:
    preprocess = Preprocess(size=side, resize=side)
    assert show_batch(flat(1, preprocess)).size == (shown + 2 * MARGIN, shown + CAPTION + 2 * MARGIN)


def test_the_pixels_of_a_small_image_stay_sharp() -> None:
    pixels = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    sheet = show_batch((RGB.normalize(pixels), torch.tensor([0])))
    shown = np.asarray(sheet)[MARGIN : MARGIN + 64 : 2, MARGIN : MARGIN + 64 : 2]
    assert (shown.transpose(2, 0, 1) == pixels[0].numpy()).all()


def test_grey_images_and_other_statistics() -> None:
    sheet = show_batch(flat(2, GREY))
    assert sheet.getpixel((20, 20)) == (250, 250, 250)
    own = Preprocess(size=64, resize=64, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert show_batch(flat(2, own), mean=own.mean, std=own.std).getpixel((20, 20)) == COLORS[0]


def test_limit_is_32_by_default() -> None:
    rows = [
        (show_batch(flat(100), limit=n).height - MARGIN) // (64 + MARGIN + CAPTION) for n in (32, 100, 500, 0)
    ]
    assert rows == [4, 13, 13, 1]
    assert show_batch(flat(100)).size == show_batch(flat(100), limit=32).size


def test_the_caption_is_the_class_name_or_the_number() -> None:
    named = show_batch(flat(4), ("cat", "dog", "cat", "bird"))
    assert caption(named, 0).tobytes() == caption(named, 2).tobytes() != caption(named, 1).tobytes()
    by_number = show_batch(flat(4))
    assert by_number.tobytes() == show_batch(flat(4), ("0", "1", "2", "3")).tobytes()
    few = show_batch(flat(4), ("0",))  # labels beyond the names, and negative ones, are numbers too
    assert few.tobytes() == by_number.tobytes()
    images, labels = flat(2)
    assert not is_blank(caption(show_batch((images, labels - 5), ("cat", "dog")), 0))


def test_a_long_caption_is_shortened_to_the_image() -> None:
    sheet = show_batch(flat(2), ("W" * 255, "i"))
    whole = show_batch(flat(2), ("WWWW…", "i"))
    assert sheet.tobytes() == whole.tobytes()
    gap = sheet.crop((MARGIN + 65, MARGIN + 64, MARGIN + 64 + MARGIN, MARGIN + 64 + CAPTION))
    assert is_blank(gap)


@pytest.fixture
def only_dejavu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine with matplotlib's own font alone."""
    fonts = font_manager.fontManager
    monkeypatch.setattr(fonts, "ttflist", [font for font in fonts.ttflist if font.name == "DejaVu Sans"])
    _font_for.cache_clear()
    yield
    _font_for.cache_clear()


@pytest.mark.usefixtures("only_dejavu")
def test_a_caption_without_letters_in_any_font_is_the_number() -> None:
    cypro_minoan = "\U00012f90\U00012f91"
    sheet = show_batch(flat(4), (cypro_minoan, f"cat {cypro_minoan}", "a", "b"))
    assert sheet.tobytes() == show_batch(flat(4), ("class 0", "cat", "a", "b")).tobytes()


def test_a_chinese_caption_has_letters_if_a_font_has_them() -> None:
    sheet = show_batch(flat(2), ("猫", "狗"))
    by_number = show_batch(flat(2), ("class 0", "class 1"))
    files = {font.fname for font in font_manager.fontManager.ttflist if "Last Resort" not in font.name}
    has_letters = any(_letters_in(file, "猫狗") for file in files)
    assert (sheet.tobytes() != by_number.tobytes()) == has_letters
    assert caption(sheet, 0).tobytes() != caption(sheet, 1).tobytes()


@pytest.mark.parametrize("name", ["line\nbreak", os.fsdecode(b"\xff"), "\x1b[31m", "", " ", "🐱", "é" * 99])
def test_class_names_may_be_any_text(name: str) -> None:
    assert not is_blank(caption(show_batch(flat(2), (name, "dog")), 0))


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "gif", "pdf"])
def test_the_suffix_decides_about_the_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"sheet.{suffix}"
    sheet = show_batch(flat(4), path=path)
    if suffix == "pdf":
        assert path.read_bytes().startswith(b"%PDF")
        return
    with Image.open(path) as written:
        assert written.format == {"jpg": "JPEG"}.get(suffix, suffix.upper())
        assert written.size == sheet.size
    show_batch(flat(8), path=str(path))  # replaces the first
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_path_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    do = "\n  do:  give a path such as batch.png"
    for name, why in (
        ("batch", "its suffix must be one of .png, .jpg, .jpeg, .webp, .gif, .pdf"),
        ("batch.txt", "its suffix must be one of .png, .jpg, .jpeg, .webp, .gif, .pdf"),
        ("no/such/batch.png", "No such file or directory"),
        ("x" * 300 + ".png", "File name too long"),
    ):
        with pytest.raises(UsageError) as caught:
            show_batch(flat(1), path=tmp_path / name)
        assert (
            str(caught.value) == f"the contact sheet cannot be written to {tmp_path / name}\n  why: {why}{do}"
        )


IMAGES, LABELS = flat(4)
NO_BATCH = {
    "NoneType": None,
    "Tensor": IMAGES,
    "list": [IMAGES],
    "tuple": (IMAGES, ["cat"] * 4),
    r"images \(3, 64, 64\) torch.float32 and labels \(3,\)": (IMAGES[0], LABELS[:3]),
    r"images \(4, 2, 64, 64\) torch.float32": (IMAGES[:, :2], LABELS),
    r"images \(4, 3, 64, 64\) torch.uint8": (IMAGES.to(torch.uint8), LABELS),
    r"images \(4, 3, 64, 64\) torch.float32 and labels \(3,\)": (IMAGES, LABELS[:3]),
    r"labels \(4, 4\)": (IMAGES, torch.eye(4)),
    r"images \(0, 3, 64, 64\)": (IMAGES[:0], LABELS[:0]),
}


@pytest.mark.parametrize("says", sorted(NO_BATCH))
def test_other_values_are_an_error_with_their_types_and_shapes(says: str) -> None:
    with pytest.raises(UsageError, match=f"{says}.* not a batch of images") as caught:
        show_batch(NO_BATCH[says])  # type: ignore[arg-type]
    assert caught.value.why == "expected float images (N, 1 or 3, H, W), N at least 1, and labels (N,)"
    assert "reslab.show_batch(next(iter(loader)))" in caught.value.do


def test_statistics_of_other_channels_are_an_error() -> None:
    with pytest.raises(UsageError, match=r"mean \(0.5,\) and std None do not fit images of 3 channels"):
        show_batch(flat(2), mean=(0.5,))


def test_a_batch_is_not_modified_and_may_require_gradients() -> None:
    images, labels = flat(4)
    images.requires_grad_()
    before = images.detach().clone()
    show_batch((images, labels))
    assert torch.equal(images.detach(), before)
    assert images.requires_grad


def test_batches_of_reslab_and_of_a_data_loader(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=40)
    photos = Photos(folder)
    batch = next(Batches(photos.train, PixelFiles(folder, RGB), RGB, 16, augment=True).epoch())
    assert show_batch(batch, photos.classes).size[0] > 400
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*flat(9)), batch_size=9)
    assert show_batch(next(iter(loader))).tobytes() == show_batch(flat(9)).tobytes()
    assert reslab.show_batch is show_batch


def test_importing_the_module_imports_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, reslab.photos.loading.contact_sheet; print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
