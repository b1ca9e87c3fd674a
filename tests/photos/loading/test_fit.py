"""Fit: crop, pad or squash a long photo to a square, the same in training, evaluation, pages and check."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import reslab
from reslab.pages.report.pictures import views
from reslab.pages.walk.input_picture import read_photo
from reslab.photos.loading.augmentation import training_transform
from reslab.photos.loading.gpu_augmentation import evaluate_on_device
from reslab.photos.loading.preprocess import Preprocess

PLAIN = {"size": 32, "resize": 64, "mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)}
RED, GREEN, BLUE, GREY = (200, 20, 20), (20, 200, 20), (20, 20, 200), (128, 128, 128)


@pytest.fixture
def long_photo(tmp_path: Path) -> Path:
    """400 x 100 pixels: a red, a wide green and a blue part."""
    image = Image.new("RGB", (400, 100), GREEN)
    image.paste(RED, (0, 0, 100, 100))
    image.paste(BLUE, (300, 0, 400, 100))
    image.save(tmp_path / "long.png")
    return tmp_path / "long.png"


def colors(pixels: torch.Tensor, *places: tuple[int, int]) -> list[tuple[int, ...]]:
    return [tuple(pixels[:, y, x].tolist()) for y, x in places]


def test_crop_keeps_the_middle_pad_and_squash_keep_everything(long_photo: Path) -> None:
    cropped = Preprocess(**PLAIN)
    assert colors(cropped.evaluation(cropped.read(long_photo)), (16, 1), (16, 30)) == [GREEN, GREEN]
    padded = Preprocess(**PLAIN, fit="pad")
    image = padded.evaluation(padded.read(long_photo))
    assert colors(image, (16, 2), (16, 16), (16, 29)) == [RED, GREEN, BLUE]
    assert colors(image, (2, 16), (29, 16)) == [GREY, GREY]
    assert (padded.normalize(image[None])[0, :, 2, 16].abs() < 0.02).all(), "the border is about 0"
    squashed = Preprocess(**PLAIN, fit="squash")
    image = squashed.evaluation(squashed.read(long_photo))
    assert colors(image, (1, 2), (30, 16), (16, 29)) == [RED, GREEN, BLUE]


@pytest.mark.parametrize("fit", ["pad", "squash"])
@pytest.mark.parametrize("size", [(400, 100), (100, 400), (20, 7), (64, 64), (3000, 2), (1, 1), (2, 500)])
def test_every_shape_becomes_a_square_without_loss(fit: str, size: tuple[int, int]) -> None:
    preprocess = Preprocess(**PLAIN, fit=fit)
    pixels = preprocess.shrink(Image.new("RGB", size, GREEN))
    side = min(64, max(size))
    assert pixels.shape == (3, side, side)
    image = preprocess.evaluation(pixels)
    assert image.shape == (3, 32, 32)
    if fit == "squash":
        assert (image == torch.tensor(GREEN)[:, None, None]).all()
    small = preprocess.at(16)
    assert small.evaluation(pixels).shape == (3, 16, 16)
    for one in (preprocess, small):
        assert training_transform(one)(pixels).shape == (3, one.size, one.size)


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_the_gpu_path_gives_the_pixels_of_the_cpu(fit: str, long_photo: Path) -> None:
    preprocess = Preprocess(**PLAIN, fit=fit)
    pixels = preprocess.read(long_photo)
    one, other = preprocess.evaluation(pixels).int(), evaluate_on_device(preprocess, [pixels])[0].int()
    assert (one - other).abs().max() <= 1


@pytest.mark.parametrize("fit", ["crop", "pad", "squash"])
def test_pages_show_what_the_network_gets(fit: str, long_photo: Path) -> None:
    preprocess = Preprocess(**PLAIN, fit=fit)
    image = preprocess.evaluation(preprocess.read(long_photo))
    (view,) = views([long_photo], preprocess)
    assert view is not None
    shown = torch.from_numpy(np.asarray(view.resize((32, 32))).copy()).permute(2, 0, 1)
    places = ((16, 2), (16, 16), (16, 29), (2, 16))
    assert colors(shown, *places) == colors(image, *places)
    photo, _ = read_photo(long_photo, preprocess)
    assert photo.cropped == (fit == "crop")
    left, top, width, height = photo.crop
    expected = {"crop": (437.5, 250, 125, 500), "pad": (0, -1500, 1000, 4000), "squash": (0, 0, 1000, 1000)}
    assert (left, top, width, height) == pytest.approx(expected[fit])


def test_each_fit_has_its_own_cache_and_the_file_keeps_it(long_photo: Path) -> None:
    fits = [Preprocess(**PLAIN, fit=fit) for fit in ("crop", "pad", "squash")]
    assert len({preprocess.shrink_key() for preprocess in fits}) == 3
    for preprocess in fits:
        assert Preprocess.model_validate_json(preprocess.model_dump_json()) == preprocess
    assert "fit" not in fits[0].model_dump()
    assert reslab.Recipe(fit="pad").preprocess(1).fit == "pad"
    with pytest.raises(reslab.RecipeError):
        reslab.Recipe(fit="stretch")


def test_check_tells_how_much_the_crop_leaves_out(tmp_path: Path) -> None:
    for long, found in ((160, ["leaves out 60% of the median photo"]), (90, [])):
        folder = tmp_path / str(long)
        for name in ("a", "b"):
            (folder / "train" / name).mkdir(parents=True)
            for i in range(3):
                pixels = np.random.default_rng([i, len(name), long]).integers(0, 256, (64, long, 3), np.uint8)
                Image.fromarray(pixels).save(folder / "train" / name / f"{i}.png")
        why = [f.why for f in reslab.check(folder, progress=False).findings if f.kind == "long photos"]
        assert len(why) == len(found)
        assert all(text in line for text, line in zip(found, why, strict=True))
