"""Augmentation compared with torchvision: the same distributions, and the same pixels for the same draws."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, ks_2samp, kstest
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from reslab.photos.loading.augmentation import NUMBERS_PER_PHOTO, Views, augment, draw_views
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, Preprocess
from reslab.randomness import uniforms_of_each

DRAWS = 5000
MIN_P_VALUE = 1e-3  # of samples of the same distribution; the draws are the same in every run
# on other processors torchvision resizes in floating point, which may round differently
TOLERANCE = 0 if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else 1


def drawn(preprocess: Preprocess, height: int, width: int) -> Views:
    """Views of DRAWS photos of one size, drawn as Batches draws them."""
    things = np.random.default_rng(0).integers(0, 2**64, (DRAWS, 2), np.uint64)
    numbers = uniforms_of_each(0, "augmentation", 0, things=things, count=NUMBERS_PER_PHOTO)
    return draw_views(preprocess, np.tile([height, width], (DRAWS, 1)), numbers)


@pytest.mark.parametrize("size", [(146, 195), (195, 146), (146, 146), (40, 120)])
@pytest.mark.parametrize("least", [0.08, 0.35, 1.0])
def test_crops_are_distributed_as_those_of_random_resized_crop(size: tuple[int, int], least: float) -> None:
    torch.manual_seed(0)
    crop, photo = v2.RandomResizedCrop(32, scale=(least, 1.0)), [torch.zeros(3, *size, dtype=torch.uint8)]
    params = [crop.make_params(photo) for _ in range(DRAWS)]
    theirs = np.array([[p[name] for name in ("top", "left", "height", "width")] for p in params])
    ours = drawn(Preprocess(size=32, resize=40, min_crop_area=least), *size).boxes
    for box in (ours, theirs):
        assert ((box[:, :2] >= 0) & (box[:, 2:] >= 1) & (box[:, :2] + box[:, 2:] <= size)).all()
    for measure in (
        lambda box: box[:, 2],
        lambda box: box[:, 3],
        lambda box: box[:, 2] * box[:, 3],
        lambda box: box[:, 3] / box[:, 2],
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: (box[:, 0] + 0.5) / (size[0] - box[:, 2] + 1),  # relative position
        lambda box: (box[:, 1] + 0.5) / (size[1] - box[:, 3] + 1),
    ):
        assert ks_2samp(measure(ours), measure(theirs), method="asymp").pvalue > MIN_P_VALUE


def test_half_of_the_photos_are_flipped_or_none() -> None:
    preprocess = Preprocess(size=32, resize=40)
    flipped = int(drawn(preprocess, 40, 50).flips.sum())
    assert chisquare([flipped, DRAWS - flipped]).pvalue > MIN_P_VALUE
    assert not drawn(preprocess.model_copy(update={"horizontal_flip": False}), 40, 50).flips.any()


@pytest.mark.parametrize("jitter", [0.2, 1.0])
def test_factors_are_distributed_as_those_of_color_jitter(jitter: float) -> None:
    torch.manual_seed(0)
    transform = v2.ColorJitter(jitter, jitter, jitter)
    params = [transform.make_params([]) for _ in range(DRAWS)]
    views = drawn(Preprocess(size=32, resize=40, color_jitter=jitter), 40, 50)
    for column, name in enumerate(("brightness_factor", "contrast_factor", "saturation_factor")):
        theirs = [float(p[name]) for p in params]
        assert ks_2samp(views.factors[:, column], theirs).pvalue > MIN_P_VALUE
        assert kstest(views.factors[:, column], "uniform", (1 - jitter, 2 * jitter)).pvalue > MIN_P_VALUE
    orders = Counter(map(tuple, views.orders.tolist()))
    orders_of_theirs = Counter(tuple(i for i in p["fn_idx"].tolist() if i != 3) for p in params)  # 3: hue
    assert orders.keys() == orders_of_theirs.keys()
    assert chisquare(list(orders.values())).pvalue > MIN_P_VALUE


def test_crop_flip_and_jitter_are_independent() -> None:
    views = drawn(Preprocess(size=32, resize=40, color_jitter=0.4), 146, 195)
    columns = np.column_stack([views.boxes, views.flips, views.factors, views.orders[:, 0]]).astype(float)
    correlations = np.corrcoef(columns.T)
    for i in range(4, len(correlations)):  # the four columns of a crop are dependent
        for j in range(i):
            assert abs(correlations[i, j]) < 4 / DRAWS**0.5


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=4),
    st.sampled_from([1, 8, 33, 64, 150]),
    st.sampled_from([1, 3]),
    st.sampled_from([0.0, 0.4]),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_the_same_draws_give_the_pixels_of_torchvision(
    sizes: list[tuple[int, int]], size: int, channels: int, jitter: float, channels_last: bool, seed: int
) -> None:
    grey = {"mean": GREY_MEAN, "std": GREY_STD} if channels == 1 else {}
    preprocess = Preprocess(size=size, resize=size, channels=channels, color_jitter=jitter, **grey)
    generator = np.random.default_rng(seed)
    photos = [torch.from_numpy(generator.integers(0, 256, (channels, *s), np.uint8)) for s in sizes]
    views = draw_views(preprocess, np.array(sizes), generator.random((len(sizes), NUMBERS_PER_PHOTO)))
    if channels_last:  # channels last, as in the cache
        inputs = [photo.permute(1, 2, 0).contiguous().permute(2, 0, 1) for photo in photos]
    else:
        inputs = photos
    for i, (image, photo) in enumerate(zip(augment(preprocess, inputs, views), photos, strict=True)):
        top, left, height, width = views.boxes[i].tolist()
        theirs = functional.resized_crop(photo, top, left, height, width, [size, size], antialias=True)
        for which in views.orders[i].tolist() if jitter else ():
            name = ("brightness", "contrast", "saturation")[which]
            theirs = getattr(functional, f"adjust_{name}")(theirs, views.factors[i, which])
        if views.flips[i]:
            theirs = functional.horizontal_flip(theirs)
        assert (image.int() - theirs.int()).abs().max() <= max(TOLERANCE, jitter > 0)
