"""Photos in the memory of a device, altered a batch at a time: the bits of the path on the CPU.

There need not be a device: the same code runs on a CPU here. That no tensor is made in another place than the
photos are in is seen on torch's meta device, which refuses to compute with any other's.
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

from reslab import Batches, Epoch, Photos, Recipe, cifar_resnet20, prepare, training_loop
from reslab.errors import PhotosError
from reslab.hardware import threads
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
# elsewhere torchvision resizes in floating point, which rounds once and not twice
LEVELS = 0 if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") else 1
# the last bit of a colour depends on how torch goes through the memory; it may decide about a level, which
# the next two changes of colour, of 1.4 times at most, may make larger
COLOURS = 3


def made(
    folder: Path, preprocess: Preprocess = PREPROCESS, *, augmented: bool = True
) -> tuple[Batches, Batches]:
    """The same batches from the cache and from a device that is the CPU."""
    photos = Photos(folder)
    cache = open_pixels(folder, photos.train, preprocess, progress=False)
    assert isinstance(cache, PixelCache)
    usual = Batches(photos.train, cache, preprocess, 8, augmented, 3)
    return usual, replace(usual, pixels=DevicePixels(cache, photos.train, CPU))


def preprocesses() -> st.SearchStrategy[Preprocess]:
    def build(size: int, more: int, channels: int, **settings: float | bool) -> Preprocess:
        mean, std = (0.5,) * channels, (0.2,) * channels
        return Preprocess(size=size, resize=size + more, channels=channels, mean=mean, std=std, **settings)

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
    st.data(),
)
def test_photos_of_any_size_become_what_they_become_on_the_cpu(
    preprocess: Preprocess, sizes: list[tuple[int, int]], data: st.DataObject
) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    contrast = data.draw(st.sampled_from([0.1, 1.0]))
    photos = [
        torch.from_numpy(
            (contrast * generator.integers(0, 256, (preprocess.channels, *size))).astype(np.uint8)
        )
        for size in sizes
    ]
    views = draw_views(preprocess, np.array(sizes), generator.random((len(sizes), NUMBERS_PER_PHOTO)))
    pairs = [(augment(preprocess, photos, views), augment_on_device(preprocess, photos, views))]
    expected = torch.stack([preprocess.evaluation(photo) for photo in photos])
    pairs.append((expected, evaluate_on_device(preprocess, photos)))
    for usual, here in pairs:
        assert (here.dtype, here.shape) == (torch.uint8, usual.shape)
        most = COLOURS if preprocess.color_jitter and usual is not expected else LEVELS
        assert (usual.int() - here.int()).abs().max() <= most


def test_batches_of_real_photos_are_the_same_at_every_size(cats_dogs_natural: Path) -> None:
    photos = Photos(cats_dogs_natural)
    preprocess = Preprocess(size=128, resize=144, color_jitter=0.2)
    few = photos.train[::20]
    cache = open_pixels(photos.folder, few, preprocess, progress=False)
    for augmented in (True, False):
        usual = Batches(few, cache, preprocess, 16, augmented, 3)
        here = replace(usual, pixels=DevicePixels(cache, few, CPU))
        for size in (128, 64, 32):
            for a, b in zip(usual.epoch(1, size=size), here.epoch(1, size=size), strict=True):
                assert torch.equal(a.labels, b.labels)
                different = (
                    preprocess.denormalize(a.images).int() - preprocess.denormalize(b.images).int()
                ).abs()
                assert different.max() <= (1 if augmented else LEVELS)
                assert different.float().mean() < 1e-4 or LEVELS


@pytest.mark.parametrize("augmented", [True, False])
def test_an_epoch_is_that_of_the_cpu_and_goes_on_at_any_step(
    augmented: bool, photo_folder: Callable[..., Path]
) -> None:
    usual, here = made(photo_folder(train=40), augmented=augmented)
    whole = list(here.epoch(2))
    for a, b in zip(usual.epoch(2), whole, strict=True):
        assert torch.equal(a.labels, b.labels)
        assert (a.images - b.images).abs().max() <= 1.01 * LEVELS / 255 / min(PREPROCESS.std)
    for step in range(len(whole) + 1):
        for a, b in zip(here.epoch(2, step), whole[step:], strict=True):
            assert torch.equal(a.images, b.images)


def test_a_photo_looks_alike_in_any_company(photo_folder: Callable[..., Path]) -> None:
    preprocess = PREPROCESS.model_copy(update={"color_jitter": 0.3})
    usual, here = made(photo_folder(train=30))
    photos = [here.pixels.read(photo) for photo in here.photos]
    photos.append(torch.randint(0, 256, (3, 97, 20), dtype=torch.uint8))
    sizes = np.array([photo.shape[1:] for photo in photos])
    views = draw_views(preprocess, sizes, np.random.default_rng(0).random((len(photos), NUMBERS_PER_PHOTO)))
    together = augment_on_device(preprocess, photos, views)
    for i, photo in enumerate(photos):
        own = type(views)(*(column[i : i + 1] for column in views))
        assert torch.equal(augment_on_device(preprocess, [photo], own)[0], together[i])


@pytest.mark.parametrize("random_crop", [True, False])
def test_everything_is_computed_where_the_photos_are(random_crop: bool) -> None:
    preprocess = PREPROCESS.model_copy(update={"random_crop": random_crop, "color_jitter": 0.3})
    photos = [torch.empty(3, 20, side, dtype=torch.uint8, device="meta") for side in (20, 31)]
    numbers = np.random.default_rng(0).random((2, NUMBERS_PER_PHOTO))
    views = draw_views(preprocess, np.array([photo.shape[1:] for photo in photos]), numbers)
    images = augment_on_device(preprocess, photos, views)
    assert images.device.type == preprocess.normalize(images).device.type == "meta"
    for at in (preprocess, preprocess.at(8)):
        assert evaluate_on_device(at, photos).device.type == "meta"


def test_a_photo_is_read_once_and_its_file_is_needed_no_more(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=24)
    _, here = made(folder)
    before = list(here.epoch(1))
    for photo in here.photos:
        (folder / photo.path).unlink()
    assert isinstance(here.pixels, DevicePixels)
    Path(here.pixels.cache.folder, "pixels").write_bytes(b"")
    for a, b in zip(before, here.epoch(1), strict=True):
        assert torch.equal(a.images, b.images)


def test_what_could_not_be_read_is_replaced_and_counted_in_every_epoch(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=40)
    usual, here = made(folder)
    cache, gone = usual.pixels, usual.photos[7]
    assert isinstance(cache, PixelCache)
    row = int(cache.digests.searchsorted(np.frombuffer(bytes.fromhex(gone.digest), cache.digests.dtype))[0])
    with (cache.folder / "pixels").open("r+b") as file:  # its pixels in the cache, and the photo itself
        file.seek(int(cache.starts[row]))
        file.write(b"damaged")
    (folder / gone.path).unlink()
    here = replace(usual, pixels=DevicePixels(cache, usual.photos, CPU))
    counted, expected = Replacements(), Replacements()
    for epoch in range(2):
        counted.in_epoch = expected.in_epoch = 0
        pairs = zip(
            here.epoch(epoch, replacements=counted), usual.epoch(epoch, replacements=expected), strict=True
        )
        assert all(torch.equal(a.labels, b.labels) for a, b in pairs)
    assert counted == expected
    assert (counted.total, list(counted.reasons)) == (2, [gone.path])
    with pytest.raises(PhotosError, match=gone.path):
        list(replace(here, augment=False).epoch())


def test_without_a_cuda_device_or_a_cache_the_photos_stay_where_they_are(
    photo_folder: Callable[..., Path],
) -> None:
    usual, _ = made(photo_folder(train=12))
    assert keep_on_device(usual.pixels, usual.photos, CPU) is usual.pixels
    files = open_pixels(usual.pixels.files.folder, usual.photos, PREPROCESS, cache=False)  # type: ignore[attr-defined]
    assert keep_on_device(files, usual.photos, torch.device("cuda")) is files


def test_a_training_from_there_is_the_training(photo_folder: Callable[..., Path]) -> None:
    photos = Photos(photo_folder(train=40), val_fraction=0.2)
    recipe = Recipe(epochs=2, size=16, resize=18, batch_size=8, precision="fp32", device="cpu")
    seen = []
    for on_device in (False, True):
        torch.manual_seed(0)
        with threads(1):
            prepared = prepare(cifar_resnet20(num_classes=2), photos, recipe, progress=False)
            if on_device:
                pixels = DevicePixels(prepared.train.pixels, photos.train + photos.val, CPU)
                train, val = (replace(part, pixels=pixels) for part in (prepared.train, prepared.val))
                prepared = replace(prepared, train=train, val=val)
            found = training_loop(prepared.state, prepared.train, prepared.validate(False))
            seen.append([(e.train_loss, e.val_loss) for e in found if isinstance(e, Epoch)])
    np.testing.assert_allclose(seen[0], seen[1], rtol=0.1 if LEVELS else 1e-3)


def test_a_photo_that_was_not_put_there_is_brought_when_asked_for(photo_folder: Callable[..., Path]) -> None:
    usual, _ = made(photo_folder(train=24))
    assert isinstance(usual.pixels, PixelCache)
    some = DevicePixels(usual.pixels, usual.photos[:9], CPU)
    assert len(some.block) < usual.pixels.starts[-1]
    for photo in usual.photos:
        assert torch.equal(some.read(photo), usual.pixels.read(photo))
