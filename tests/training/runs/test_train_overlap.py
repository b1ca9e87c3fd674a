"""What a figure is worth: the reader is told when the network has seen the photos."""

import shutil
from collections.abc import Callable
from pathlib import Path

import reslab
from reslab import Recipe, Run
from reslab.training.runs.train_overlap import evaluation_photos


def test_the_folder_of_a_run_means_its_own_test_split(finished: Run) -> None:
    folder = finished.photos.folder
    for model in (finished.folder, finished.folder / "model.safetensors"):
        assert evaluation_photos(model, folder) == (finished.photos, ["the run's own test split: 8 photos"])


def test_without_a_test_split_the_reader_is_told_that_val_chose(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(train=10)
    recipe = small.with_settings(epochs=1)
    run = reslab.train(folder, "cifar_resnet20", recipe, run=tmp_path / "run", progress=False, say=str)
    photos, notes = evaluation_photos(run.folder, folder)
    assert photos == run.photos
    assert notes == ["the run has no test split; this is val, which chose the epoch: expect a little less"]


def test_photos_that_were_trained_on_are_counted_under_any_name(finished: Run, tmp_path: Path) -> None:
    photos = finished.photos
    assert evaluation_photos(finished.folder, photos.folder / "test") == (photos.folder / "test", [])
    other = Path(shutil.copytree(photos.folder / "test", tmp_path / "other"))
    for photo in photos.train[:2]:
        shutil.copy(photos.path(photo), other / "red" / f"renamed-{Path(photo.path).name}")
    chosen, notes = evaluation_photos(finished.folder, other)
    assert chosen == other
    assert notes == [
        "2 of these 10 photos had a part in the training: the figure below measures memory as well"
    ]


def test_what_a_run_left_out_is_no_other_folder_and_is_said(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(train=20, test=8)
    for path in ("train/red/a.jpg", "test/red/b.jpg"):
        (folder / path).write_bytes(b"no photo, " + path.encode())
    reslab.Photos(folder).save(tmp_path / "list.jsonl")
    run = reslab.train(
        tmp_path / "list.jsonl",
        "cifar_resnet20",
        small.with_settings(epochs=1),
        run=tmp_path / "run",
        progress=False,
        say=str,
    )
    for source in (folder, tmp_path / "list.jsonl"):
        photos, notes = evaluation_photos(run.folder, source)
        assert photos == run.photos
        assert notes == ["the run's own test split: 8 photos; 1 more could not be read when the run began"]
    assert evaluation_photos(run.folder, folder / "test") == (folder / "test", [])


def test_a_model_file_alone_knows_no_photos(finished: Run, tmp_path: Path) -> None:
    alone = shutil.copy(finished.folder / "model.safetensors", tmp_path / "alone.safetensors")
    assert evaluation_photos(Path(alone), finished.photos.folder) == (finished.photos.folder, [])
