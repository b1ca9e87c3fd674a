"""Photos of a run that have moved: matched by content, recorded in the run, and the training goes on."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

import reslab
from reslab import PhotoRows, Photos, Recipe, Run
from reslab.errors import RunError
from reslab.training.runs.moved_photos import move_photos
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import start_run
from reslab.training.runs.train_overlap import evaluation_photos


def renamed(photos: Photos, place: Path) -> Path:
    """Copy the photos of a run into one folder, under other names."""
    place.mkdir()
    every = photos.train + photos.val + photos.test
    for number, photo in enumerate(sorted(every, key=lambda photo: photo.digest)):
        shutil.copy(photos.path(photo), place / f"{number:03}{Path(photo.path).suffix}")
    return place


@pytest.fixture
def own(finished: Run, tmp_path: Path) -> Run:
    """Copy the finished run, and its photos to where it does not know them."""
    return Run(Path(shutil.copytree(finished.folder, tmp_path / "run")))


@pytest.mark.slow
def test_a_moved_run_goes_on_to_the_same_weights(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, own_cache: Path
) -> None:
    folder = photo_folder(train=16, test=4)
    recipe = small.with_settings(epochs=2)
    options = {"weights": None, "progress": False, "say": str}
    calm = start_run(folder, "cifar_resnet20", recipe, run=tmp_path / "calm", **options)
    next(epochs := train_epochs(calm, progress=False, say=str))
    epochs.close()
    moved = Run(Path(shutil.copytree(calm.folder, tmp_path / "moved")))
    place = renamed(moved.photos, tmp_path / "place")
    reslab.resume(calm, progress=False, say=str)
    shutil.rmtree(folder)
    shutil.rmtree(own_cache / "reslab")
    lines: list[str] = []
    reslab.resume(moved, photos=place, progress=False, say=lines.append)
    assert (
        lines[0]
        == f"found all 20 photos of the run by their content in {place}, 20 of them under another name"
    )
    first, second = (reslab.load(run.folder).network.state_dict() for run in (calm, moved))
    assert all(first[name].equal(second[name]) for name in first)
    assert moved.result["test_accuracy"] == calm.result["test_accuracy"]
    reslab.resume(moved, progress=False, say=str)  # the run knows the place


def test_a_finished_run_is_evaluated_at_the_new_place(own: Run, tmp_path: Path) -> None:
    before, rows = own.photos, PhotoRows.read(own.folder / "test.csv")
    place = renamed(before, tmp_path / "place")
    move_photos(own, place, str)
    after = own.photos
    assert after.folder == place
    for split, photos in before.splits.items():
        assert after.splits[split].digests.tolist() == photos.digests.tolist()
        assert after.splits[split].labels.tolist() == photos.labels.tolist()
    assert evaluation_photos(own.folder, place) == (after, ["the run's own test split: 8 photos"])
    again = PhotoRows.read(own.folder / "test.csv")
    assert list(again.paths) == after.test.paths
    assert again.probabilities.tolist() == rows.probabilities.tolist()


def test_photos_may_have_moved_into_an_archive(own: Run, tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as out:
        for photo in own.photos.train + own.photos.val + own.photos.test:
            out.write(own.photos.path(photo), f"photos/{photo.path}")
    move_photos(own, path, str)
    assert own.about["source"] == str(path)
    shutil.rmtree(own_cache / "reslab" / "unpacked")  # a cache may be emptied at any time
    photos, notes = evaluation_photos(own.folder, path)
    assert (photos, notes) == (own.photos, ["the run's own test split: 8 photos"])
    assert all(own.photos.path(photo).is_file() for photo in own.photos.test)


@pytest.mark.slow
def test_evaluate_finds_moved_photos_and_says_how_to_record_them(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(train=10, test=4)
    run = reslab.train(
        folder, "cifar_resnet20", small.with_settings(epochs=1), run=tmp_path / "run", progress=False, say=str
    )
    place = Path(shutil.move(folder, tmp_path / "elsewhere"))
    photos, notes = evaluation_photos(run.folder, place)
    assert isinstance(photos, Photos)
    assert (photos.folder, photos.test.paths) == (place, run.photos.test.paths)
    assert notes == [
        f"the run's photos have moved; found by their content in {place}. "
        f"To record it: reslab resume {run.folder} --photos {place}"
    ]


def test_missing_photos_are_counted_and_the_run_stays_as_it_was(
    own: Run, tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    before = {path.name: path.read_bytes() for path in own.folder.iterdir() if path.is_file()}
    place = renamed(own.photos, tmp_path / "place")
    for path in sorted(place.iterdir())[:3]:
        path.write_bytes(b"another photo")
    with refuses(RunError, "3 of the 32 photos of the run are not in", "contents of the 32 photos there"):
        move_photos(own, place, str)
    assert before == {name: (own.folder / name).read_bytes() for name in before}
