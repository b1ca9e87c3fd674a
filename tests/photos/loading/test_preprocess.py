"""Preprocess: the evaluation equals torchvision's, and the training transform draws from torch alone."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from odd_files import saved
from PIL import Image
from pydantic import ValidationError
from torchvision import transforms
from torchvision.transforms.v2 import functional

from reslab.errors import PhotosError
from reslab.photos.decoding.decode import decode
from reslab.photos.loading.augmentation import training_transform
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, IMAGENET_MEAN, IMAGENET_STD, Preprocess

PREPROCESS = Preprocess(size=32, resize=40)
GREY = Preprocess(size=28, resize=28, channels=1, mean=GREY_MEAN, std=GREY_STD)
SIDES = st.integers(1, 120)


def noise(width: int, height: int, seed: int = 0, channels: int = 3) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels)


def normalized(preprocess: Preprocess, image: Image.Image) -> torch.Tensor:
    return preprocess.normalize(preprocess.evaluation(preprocess.shrink(image))[None])[0]


@given(st.integers(40, 150), st.integers(40, 150), st.integers(0, 9))
def test_evaluation_equals_torchvisions_resize_crop_and_normalize(width: int, height: int, seed: int) -> None:
    theirs = transforms.Compose(
        [
            transforms.Resize(40),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    image = noise(width, height, seed)
    if max(width, height) <= 3 * min(width, height):  # longer photos are cut first
        assert torch.allclose(normalized(PREPROCESS, image), theirs(image), atol=1e-5)


def test_grey_evaluation_equals_torchvisions(photo_folder: Callable[..., Path]) -> None:
    theirs = transforms.Compose(
        [
            transforms.Resize(28),
            transforms.CenterCrop(28),
            transforms.ToTensor(),
            transforms.Normalize(GREY_MEAN, GREY_STD),
        ]
    )
    for path in photo_folder(test=4).rglob("*.jpg"):
        found = GREY.normalize(GREY.evaluation(GREY.read(path))[None])[0]
        assert found.shape == (1, 28, 28)
        with Image.open(path) as image:
            assert torch.allclose(found, theirs(image.convert("L")), atol=1e-5)


def test_a_small_photo_is_enlarged_as_torchvision_does() -> None:
    image = noise(20, 30)
    theirs = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32), transforms.PILToTensor()])
    found = PREPROCESS.evaluation(PREPROCESS.shrink(image)).int()
    assert (found - theirs(image).int()).abs().max() <= 2


@given(
    SIDES, SIDES, st.sampled_from([PREPROCESS, GREY, PREPROCESS.model_copy(update={"random_crop": False})])
)
def test_photos_of_any_size_get_the_size_of_the_network(
    width: int, height: int, preprocess: Preprocess
) -> None:
    pixels = preprocess.shrink(noise(width, height, channels=preprocess.channels))
    for transform in (preprocess.evaluation, training_transform(preprocess)):
        images = transform(pixels)
        assert (images.shape, images.dtype) == (
            (preprocess.channels, preprocess.size, preprocess.size),
            torch.uint8,
        )


@given(SIDES, SIDES)
def test_shrink_never_enlarges_and_limits_the_longer_side(width: int, height: int) -> None:
    _, h, w = PREPROCESS.shrink(noise(width, height)).shape
    assert h <= height
    assert w <= width
    assert min(h, w) == min(40, width, height)
    assert max(h, w) <= 3 * min(h, w)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (1, 1000), (1000, 1), (5, 4000)])
def test_extreme_shapes_keep_their_color(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (200, 100, 50))
    for transform in (PREPROCESS.evaluation, training_transform(PREPROCESS)):
        pixels = transform(PREPROCESS.shrink(image))
        assert pixels.flatten(1).unique(dim=1).tolist() == [[200], [100], [50]]


def test_shrink_keeps_the_middle_of_a_long_photo() -> None:
    image = Image.new("RGB", (1000, 50), "black")
    image.paste("white", (425, 0, 575, 50))
    assert PREPROCESS.shrink(image).min() > 250


def test_evaluation_uses_no_randomness() -> None:
    pixels = PREPROCESS.shrink(noise(70, 50))
    state, before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    assert torch.equal(PREPROCESS.evaluation(pixels), PREPROCESS.evaluation(pixels))
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def test_the_training_transform_depends_on_torchs_random_state_alone() -> None:
    import random

    preprocess = PREPROCESS.model_copy(update={"color_jitter": 0.4})
    pixels = preprocess.shrink(noise(70, 50))

    def draw(seed: int, other: int) -> torch.Tensor:
        random.seed(other)
        np.random.seed(other)  # noqa: NPY002
        torch.manual_seed(seed)
        return training_transform(preprocess)(pixels)

    assert torch.equal(draw(1, 2), draw(1, 3))
    assert not torch.equal(draw(1, 2), draw(2, 2))


def test_the_settings_of_the_training_transform() -> None:
    still = Preprocess(size=32, resize=40, random_crop=False, horizontal_flip=False)
    pixels = PREPROCESS.shrink(noise(70, 50))
    assert torch.equal(training_transform(still)(pixels), still.evaluation(pixels))
    flips = still.model_copy(update={"horizontal_flip": True})
    outcomes = [training_transform(flips)(pixels) for _ in range(60)]
    flipped = [torch.equal(image, still.evaluation(pixels).flip(-1)) for image in outcomes]
    assert 10 < sum(flipped) < 50
    assert all(
        torch.equal(image, still.evaluation(pixels))
        for image, m in zip(outcomes, flipped, strict=True)
        if not m
    )
    jitter = still.model_copy(update={"color_jitter": 0.5})
    gray = torch.full((3, 40, 40), 100, dtype=torch.uint8)
    assert len({int(training_transform(jitter)(gray)[0, 0, 0]) for _ in range(20)}) > 5
    whole = Preprocess(size=32, resize=40, min_crop_area=1.0, horizontal_flip=False)
    square = PREPROCESS.shrink(noise(40, 40))
    assert torch.equal(training_transform(whole)(square), functional.resize(square, [32, 32], antialias=True))


def test_denormalize_undoes_normalize() -> None:
    for preprocess, channels in ((PREPROCESS, 3), (GREY, 1)):
        images = torch.randint(0, 256, (2, channels, 8, 8), dtype=torch.uint8)
        assert preprocess.normalize(images).dtype == torch.float32
        assert torch.equal(preprocess.denormalize(preprocess.normalize(images)), images)


VALUES = st.builds(
    Preprocess,
    size=st.integers(1, 100),
    resize=st.integers(100, 4096),
    mean=st.tuples(*[st.floats(0, 1)] * 3),
    std=st.tuples(*[st.floats(0.01, 1)] * 3),
    min_crop_area=st.floats(0.01, 1),
    color_jitter=st.floats(0, 1),
    horizontal_flip=st.booleans(),
    random_crop=st.booleans(),
)


@given(VALUES)
def test_a_value_survives_json_and_pickle(preprocess: Preprocess) -> None:
    assert Preprocess.model_validate_json(preprocess.model_dump_json()) == preprocess
    assert pickle.loads(pickle.dumps(preprocess)) == preprocess
    assert hash(copy.deepcopy(preprocess)) == hash(preprocess)


def test_a_copy_uses_its_own_settings() -> None:
    assert PREPROCESS.evaluation(PREPROCESS.shrink(noise(50, 50))).shape == (3, 32, 32)
    smaller = PREPROCESS.model_copy(update={"size": 20})
    assert smaller.evaluation(PREPROCESS.shrink(noise(50, 50))).shape == (3, 20, 20)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"size": 0}, "greater than or equal to 1"),
        ({"resize": 31}, "resize: 31 is less than size, which is 32"),
        ({"channels": 1}, "one number for each of 1 channels"),
        ({"channels": 2}, "Input should be 1 or 3"),
        ({"std": (0.1, 0.0, 0.1)}, "greater than or equal to 0.0001"),
        ({"mean": (0.1, float("nan"), 0.1)}, "finite number"),
        ({"min_crop_area": 0}, "greater than 0"),
        ({"colour_jitter": 0.1}, "colour_jitter"),
    ],
)
def test_invalid_settings_are_refused_by_name(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Preprocess(**{"size": 32, "resize": 40, **settings})  # type: ignore[arg-type]


def test_the_value_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PREPROCESS.size = 64  # type: ignore[misc]


def test_the_key_of_the_cache_has_the_settings_of_read_alone() -> None:
    same = PREPROCESS.model_copy(update={"size": 20, "color_jitter": 0.5, "mean": (0.1, 0.1, 0.1)})
    assert same.shrink_key() == PREPROCESS.shrink_key()
    assert PREPROCESS.model_copy(update={"resize": 41}).shrink_key() != PREPROCESS.shrink_key()
    assert GREY.model_copy(update={"resize": 40}).shrink_key() != PREPROCESS.shrink_key()


def test_reading_other_content_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="cannot be read as a photo"):
        PREPROCESS.read(b"no photo")


def differences(photo: bytes, side: int, truncated: Literal["refuse", "keep"] = "refuse") -> np.ndarray:
    """Differences in grey levels between a photo decoded at reduced scale and one shrunk from full size."""
    preprocess = Preprocess(size=side, resize=side, truncated=truncated)
    whole = decode(photo, truncated=truncated)
    assert decode(photo, truncated=truncated, shrunk_to=side).width < whole.width
    return (preprocess.read(photo).int() - preprocess.shrink(whole).int()).abs().numpy().ravel()


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}], ids=str
)
@pytest.mark.parametrize("side", [14, 30, 60])
def test_real_photos_at_reduced_scale_differ_by_a_few_grey_levels(
    side: int, options: dict[str, object], cats_dogs_natural: Path
) -> None:
    """Photos of about 375 x 500 pixels at an eighth, a quarter and a half."""
    found = []
    for path in sorted(cats_dogs_natural.rglob("*.jpg"))[::6]:
        image = decode(path)
        image = image.crop((0, 0, image.width // 8 * 8, image.height // 8 * 8))
        if min(image.size) >= 352:
            found.append(differences(saved(image, "JPEG", quality=90, **options), side))
    assert len(found) > 30
    assert max(each.mean() for each in found) < 1
    every = np.concatenate(found)
    assert every.mean() < 0.5
    assert (every <= 3).mean() > (0.997 if options.get("subsampling") == 1 else 0.999)
    assert every.max() <= 10


@pytest.mark.slow
def test_unchanged_real_photos_differ_by_a_few_grey_levels(cats_dogs_natural: Path) -> None:
    found = []
    for path in sorted(cats_dogs_natural.rglob("*.jpg")):
        photo = path.read_bytes()
        if decode(photo, shrunk_to=40).width < decode(photo).width:
            found.append(differences(photo, 40))
    assert len(found) > 50
    every = np.concatenate(found)
    assert every.mean() < 0.5
    assert (every <= 3).mean() > 0.999
    assert every.max() <= 10


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9])
def test_a_truncated_photo_is_similar_at_reduced_scale(cut: float) -> None:
    for progressive in (False, True):
        photo = saved(noise(60, 40).resize((480, 320)), "JPEG", quality=90, progressive=progressive)
        found = differences(photo[: int(len(photo) * cut)], 40, "keep")
        assert found.mean() < 1
        assert (found <= 3).mean() > 0.98


WAVES = [np.sin(2 * np.pi * np.arange(960) / period) for period in (2, 3, 4, 5, 7, 9, 10, 12, 16)]
STRIPES = [np.where(wave >= 0, 1, -1) for wave in WAVES]


@pytest.mark.parametrize("side", [41, 82, 165])
def test_stripes_and_noise_differ_by_some_grey_levels(side: int) -> None:
    """The worst cases for a scaled transform, with all detail between the pixels that are kept."""
    generator = np.random.default_rng(0)
    worst = [np.broadcast_to(127.5 + 127.5 * wave, (960, 960)) for wave in WAVES + STRIPES]
    worst += [each.T for each in worst] + [generator.integers(0, 256, (960, 960))]
    found = [
        differences(saved(Image.fromarray(each.astype(np.uint8)), "JPEG", quality=95), side) for each in worst
    ]
    assert max(each.max() for each in found) <= 20
    assert max(each.mean() for each in found) < 10


@pytest.mark.parametrize("size", [(231, 300), (240, 231), (1000, 304)])
def test_a_photo_that_is_not_reduced_is_bit_identical(size: tuple[int, int]) -> None:
    """Below 2 x 2.9 times 40 pixels, with a side that is not divisible, and too long."""
    photo = saved(noise(*size), "JPEG")
    assert torch.equal(PREPROCESS.read(photo), PREPROCESS.shrink(decode(photo)))


@pytest.mark.slow
def test_a_reduced_photo_has_the_size_of_the_full_one() -> None:
    for width, height in ((4032, 3024), (3000, 4000), (1736, 1160), (2160, 960)):
        photo = saved(Image.new("L", (width, height)), "JPEG")
        for side in (33, 64, 73, 146):
            preprocess = Preprocess(size=side, resize=side)
            assert preprocess.read(photo).shape == preprocess.shrink(Image.new("RGB", (width, height))).shape
