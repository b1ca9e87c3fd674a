"""Augmentation on a device: the images of the CPU within a tolerance, and photos kept in the device's memory.

The tests run the same code on the CPU. torch's meta device shows that no tensor is made elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab import Batches, Photos
from reslab.errors import PhotosError
from reslab.photos.loading.augmentation import NUMBERS_PER_PHOTO, augment, draw_views
from reslab.photos.loading.gpu_augmentation import (
    DevicePixels,
    augment_on_device,
    evaluate_on_device,
    keep_on_device,
)
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.pixel_store import PixelCache
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.replacements import Replacements

CPU = torch.device("cpu")
PREPROCESS = Preprocess(size=16, resize=20)
TOLERANCE = 1  # grey levels: the CPU rounds after each side of the resize, the device once
JITTER_TOLERANCE = 5  # three adjustments of up to 1.4 times, each rounded down, make a level more


def on_both(
    folder: Path, preprocess: Preprocess = PREPROCESS, *, augment: bool = True
) -> tuple[Batches, Batches]:
    """The same batches from the cache, and from a device that is the CPU."""
    photos = Photos(folder)
    cache = open_pixels(folder, photos.train, preprocess, progress=False)
    assert isinstance(cache, PixelCache)
    batches = Batches(photos.train, cache, preprocess, 8, augment, 3)
    return batches, replace(batches, pixels=DevicePixels(cache, photos.train, CPU))


def preprocesses() -> st.SearchStrategy[Preprocess]:
    def build(size: int, more: int, channels: int, **options: float | bool) -> Preprocess:
        mean, std = (0.5,) * channels, (0.2,) * channels
        return Preprocess(size=size, resize=size + more, channels=channels, mean=mean, std=std, **options)

    return st.builds(
        build,
        st.integers(2, 40),
        st.integers(0, 20),
        st.sampled_from([1, 3]),
        min_crop_area=st.sampled_from([0.05, 0.35, 1.0]),
        random_crop=st.booleans(),
        horizontal_flip=st.booleans(),
        color_jitter=st.sampled_from([0.0, 0.4]),
    )


@settings(max_examples=60)
@given(
    preprocesses(),
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=5),
    st.sampled_from([0.1, 1.0]),
    st.integers(0, 2**32),
)
def test_images_of_photos_of_any_size_equal_those_of_the_cpu_within_the_tolerance(
    preprocess: Preprocess, sizes: list[tuple[int, int]], contrast: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    photos = [
        torch.from_numpy((contrast * generator.integers(0, 256, (preprocess.channels, *s))).astype(np.uint8))
        for s in sizes
    ]
    views = draw_views(preprocess, np.array(sizes), generator.random((len(sizes), NUMBERS_PER_PHOTO)))
    for expected, images, tolerance in (
        (
            augment(preprocess, photos, views),
            augment_on_device(preprocess, photos, views),
            JITTER_TOLERANCE if preprocess.color_jitter else TOLERANCE,
        ),
        (
            torch.stack([preprocess.evaluation(photo) for photo in photos]),
            evaluate_on_device(preprocess, photos),
            TOLERANCE,
        ),
    ):
        assert (images.dtype, images.shape) == (torch.uint8, expected.shape)
        assert (images.int() - expected.int()).abs().max() <= tolerance


@pytest.mark.parametrize("augment", [True, False])
@pytest.mark.parametrize("size", [128, 32])
def test_batches_of_real_photos_equal_those_of_the_cpu(
    size: int, augment: bool, cats_dogs_natural: Path
) -> None:
    photos = Photos(cats_dogs_natural)
    preprocess = Preprocess(size=128, resize=144, color_jitter=0.2)
    some = photos.train[::40]
    cache = open_pixels(photos.folder, some, preprocess, progress=False)
    assert isinstance(cache, PixelCache)
    batches = Batches(some, cache, preprocess, 16, augment, 3)
    on_device = replace(batches, pixels=DevicePixels(cache, some, CPU))
    for a, b in zip(batches.epoch(1, size=size), on_device.epoch(1, size=size), strict=True):
        assert torch.equal(a.labels, b.labels)
        difference = (preprocess.denormalize(a.images).int() - preprocess.denormalize(b.images).int()).abs()
        assert difference.max() <= (JITTER_TOLERANCE if augment else TOLERANCE)
        assert difference.float().mean() < 0.6


@pytest.mark.parametrize("augment", [True, False])
def test_an_epoch_resumes_at_any_step(augment: bool, photo_folder: Callable[..., Path]) -> None:
    _, batches = on_both(photo_folder(train=40), augment=augment)
    whole = list(batches.epoch(2))
    for step in range(len(whole) + 1):
        for a, b in zip(batches.epoch(2, step), whole[step:], strict=True):
            assert torch.equal(a.images, b.images)
            assert torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("random_crop", [True, False])
def test_everything_is_computed_where_the_photos_are(random_crop: bool) -> None:
    preprocess = PREPROCESS.model_copy(update={"random_crop": random_crop, "color_jitter": 0.3})
    photos = [torch.empty(3, 20, side, dtype=torch.uint8, device="meta") for side in (20, 31)]
    numbers = np.random.default_rng(0).random((2, NUMBERS_PER_PHOTO))
    views = draw_views(preprocess, np.array([photo.shape[1:] for photo in photos]), numbers)
    images = augment_on_device(preprocess, photos, views)
    assert images.device.type == preprocess.normalize(images).device.type == "meta"
    assert evaluate_on_device(preprocess, photos).device.type == "meta"


def test_a_photo_is_read_once(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=24)
    _, batches = on_both(folder)
    before = list(batches.epoch(1))
    for photo in batches.photos:
        (folder / photo.path).unlink()
    assert isinstance(batches.pixels, DevicePixels)
    Path(batches.pixels.cache.folder, "pixels").write_bytes(b"")
    for a, b in zip(before, batches.epoch(1), strict=True):
        assert torch.equal(a.images, b.images)


def test_a_photo_that_could_not_be_read_is_replaced_and_counted_in_every_epoch(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=40)
    batches, _ = on_both(folder)
    cache, lost = batches.pixels, batches.photos[7]
    assert isinstance(cache, PixelCache)
    row = cache.row(lost.digest)
    assert row is not None
    with (cache.folder / "pixels").open("r+b") as file:  # damage the cache and remove the photo
        file.seek(int(cache.starts[row]))
        file.write(b"damaged")
    (folder / lost.path).unlink()
    on_device = replace(batches, pixels=DevicePixels(cache, batches.photos, CPU))
    counted, expected = Replacements(), Replacements()
    for epoch in range(2):
        counted.in_epoch = expected.in_epoch = 0
        pairs = zip(
            on_device.epoch(epoch, replacements=counted),
            batches.epoch(epoch, replacements=expected),
            strict=True,
        )
        assert all(torch.equal(a.labels, b.labels) for a, b in pairs)
    assert counted == expected
    assert (counted.total, list(counted.reasons)) == (2, [lost.path])
    with pytest.raises(PhotosError, match=lost.path):
        list(replace(on_device, augment=False).epoch())


def test_photos_stay_in_place_without_a_cuda_device_or_a_cache(photo_folder: Callable[..., Path]) -> None:
    batches, _ = on_both(photo_folder(train=12))
    assert isinstance(batches.pixels, PixelCache)
    assert keep_on_device(batches.pixels, batches.photos, CPU) is batches.pixels
    files = batches.pixels.files
    assert keep_on_device(files, batches.photos, torch.device("cuda")) is files


def test_a_photo_that_was_not_moved_is_copied_when_it_is_read(photo_folder: Callable[..., Path]) -> None:
    batches, _ = on_both(photo_folder(train=24))
    assert isinstance(batches.pixels, PixelCache)
    some = DevicePixels(batches.pixels, batches.photos[:9], CPU)
    assert len(some.block) < batches.pixels.starts[-1]
    for photo in batches.photos:
        assert torch.equal(some.read(photo), batches.pixels.read(photo))
