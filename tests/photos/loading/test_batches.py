"""Batches: each photo once an epoch, augmented by (seed, epoch, photo) alone."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reslab import Batch, Batches, Photo, Photos
from reslab.errors import PhotosError
from reslab.photos.folder.photo_list import PhotoList
from reslab.photos.loading.pixel_cache import PixelFiles, open_pixels
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.replacements import Replacements

PREPROCESS = Preprocess(size=16, resize=20, color_jitter=0.3)


def batches(folder: Path, count: int | None = None, **options: object) -> Batches:
    photos = Photos(folder)
    settings = {"batch_size": 8, "augment": True, "seed": 3, **options}
    return Batches(photos.train[:count], PixelFiles(folder, PREPROCESS), PREPROCESS, **settings)  # type: ignore[arg-type]


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(one, other, strict=True)
    )


def test_a_batch_has_normalized_images_and_their_labels(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=30)
    photos = Photos(folder)
    (first, *_) = Batches(photos.val, PixelFiles(folder, PREPROCESS), PREPROCESS, 8).epoch()
    assert (first.images.shape, first.images.dtype) == ((len(photos.val), 3, 16, 16), torch.float32)
    assert first.labels.dtype == torch.int64
    for image, label, photo in zip(first.images, first.labels, photos.val, strict=True):
        seen = PREPROCESS.normalize(PREPROCESS.evaluation(PREPROCESS.read(photos.path(photo)))[None])[0]
        assert torch.equal(image, seen)
        assert label == photo.label


@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_batches(
    workers: int, photo_folder: Callable[..., Path]
) -> None:
    folder = photo_folder(train=40)
    alone = list(batches(folder).epoch(2))
    assert same(alone, list(batches(folder, workers=workers).epoch(2)))


def test_the_cache_gives_the_same_batches(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=40)
    photos = Photos(folder)
    pixels = open_pixels(folder, photos.train, PREPROCESS, progress=False)
    for workers in (0, 2):
        cached = Batches(photos.train, pixels, PREPROCESS, 8, augment=True, seed=3, workers=workers)
        assert same(list(cached.epoch(1)), list(batches(folder).epoch(1)))


def test_an_epoch_resumes_at_any_step(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=40)
    whole = list(batches(folder).epoch(4))
    for step in range(len(whole) + 1):
        assert same(list(batches(folder).epoch(4, step)), whole[step:])
    assert same(list(batches(folder, workers=2).epoch(4, 2)), whole[2:])


def test_order_and_augmentation_depend_on_epoch_and_seed(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=40)
    assert same(list(batches(folder).epoch(0)), list(batches(folder).epoch(0)))
    for other in (batches(folder).epoch(1), batches(folder, seed=4).epoch(0)):
        assert not same(list(batches(folder).epoch(0)), list(other))
    one = Photos(folder).train[:1]
    views = [
        next(Batches(one, PixelFiles(folder, PREPROCESS), PREPROCESS, 1, True).epoch(e)).images
        for e in range(4)
    ]
    assert all(not torch.equal(views[0], view) for view in views[1:])


def augmented(folder: Path, photos: list[Photo], epoch: int) -> dict[str, torch.Tensor]:
    """The augmented image of each photo in one batch, by digest."""
    renumbered = PhotoList.of(Photo(p.path, i, p.digest) for i, p in enumerate(photos))
    made = Batches(renumbered, PixelFiles(folder, PREPROCESS), PREPROCESS, 64, augment=True, seed=3)
    (batch,) = made.epoch(epoch)
    return {photos[int(i)].digest: image for i, image in zip(batch.labels, batch.images, strict=True)}


def test_the_augmentation_of_a_photo_does_not_depend_on_its_batch_or_name(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=30)
    photos = list(Photos(folder).train)
    alone = augmented(folder, photos, 1)
    random.Random(0).shuffle(photos)
    (folder / "other.jpg").write_bytes((folder / photos[0].path).read_bytes())
    photos[0] = Photo("other.jpg", 0, photos[0].digest)
    for digest, image in augmented(folder, photos[:20], 1).items():
        assert torch.equal(image, alone[digest])


class BlackPixels:
    """Pixels without files."""

    def read(self, photo: Photo) -> torch.Tensor:
        return torch.zeros(3, 4, 4, dtype=torch.uint8)


TINY = Preprocess(size=4, resize=4)


@given(st.integers(1, 40), st.integers(1, 12), st.booleans(), st.integers(0, 3), st.integers(0, 5))
def test_each_photo_comes_once_and_no_training_batch_has_one_image(
    count: int, batch_size: int, augment: bool, seed: int, epoch: int
) -> None:
    photos = PhotoList.of(Photo(f"{i}.jpg", i, f"{i:032x}") for i in range(count))
    made = Batches(photos, BlackPixels(), TINY, batch_size, augment, seed)
    found = [batch.labels.tolist() for batch in made.epoch(epoch)]
    assert len(found) == len(made)
    assert Counter(sum(found, [])) == Counter(range(count))
    assert {len(labels) for labels in found[:-1]} <= {batch_size}
    if not augment:
        assert sum(found, []) == list(range(count))
    elif batch_size > 1 and count > 1:
        assert min(map(len, found)) > 1
    assert max(map(len, found)) <= batch_size + 1


def test_an_empty_split_has_no_batches() -> None:
    made = Batches(PhotoList.of([]), BlackPixels(), TINY, 8, True)
    assert len(made) == 0
    assert list(made.epoch()) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_states_are_not_used(workers: int, photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=24)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    first = list(batches(folder, workers=workers).epoch(0))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert random.getstate() == states[2]
    torch.manual_seed(99)
    assert same(first, list(batches(folder, workers=workers).epoch(0)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", [False, True])
def test_an_unreadable_photo_is_an_error_with_its_path_also_from_a_worker(
    augment: bool, workers: int, photo_folder: Callable[..., Path]
) -> None:
    folder = photo_folder(train=24)
    made = batches(folder, augment=augment, workers=workers)
    bad = folder / made.photos[-1].path
    bad.write_bytes(b"no photo")
    with pytest.raises(
        PhotosError, match=f"^{bad} cannot be read as a photo\n  why: its format is not one of JPEG"
    ):
        list(made.epoch())


def test_workers_end_with_an_epoch_that_is_closed_early(photo_folder: Callable[..., Path]) -> None:
    before = set(multiprocessing.active_children())
    epoch = batches(photo_folder(train=60), workers=2).epoch()
    next(epoch)
    assert len(set(multiprocessing.active_children()) - before) == 2
    epoch.close()  # type: ignore[attr-defined]
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_a_lost_photo_is_counted_and_always_replaced_by_the_same_one(
    workers: int, photo_folder: Callable[..., Path]
) -> None:
    folder = photo_folder(train=150)
    made = batches(folder)
    whole = list(made.epoch(1))
    gone = made.photos[17]
    (folder / gone.path).unlink()
    runs = []
    for first_step in (0, 0, 3):
        counted = Replacements()
        again = replace(made, workers=workers).epoch(1, first_step, replacements=counted)
        runs.append((list(again), counted))
    (one, counted), (other, _), (rest, _) = runs
    assert same(one, other)
    assert same(one[3:], rest)
    assert (counted.in_epoch, counted.total, list(counted.reasons)) == (1, 1, [gone.path])
    assert gone.path in str(counted)
    pairs = zip(torch.cat([b.images for b in one]), torch.cat([b.images for b in whole]), strict=True)
    different = sum(not torch.equal(a, b) for a, b in pairs)
    assert different == 1  # all other images are unchanged


def test_more_than_one_percent_of_lost_photos_stop_the_epoch(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=150)
    made = batches(folder)
    for photo in list(made.photos)[:2]:
        (folder / photo.path).unlink()
    with pytest.raises(PhotosError, match=r"2 of 1\d\d photos had to be replaced in this epoch") as caught:
        list(made.epoch(0, replacements=Replacements()))
    assert "restore the missing ones" in caught.value.do


def test_nothing_is_replaced_in_validation(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=30)
    made = batches(folder, augment=False)
    (folder / made.photos[3].path).unlink()
    with pytest.raises(PhotosError, match="jpg"):
        list(made.epoch())
