"""Photos to evaluate a run on, with a note if they were used in its training."""

import shutil
from collections.abc import Callable
from pathlib import Path

import reslab
from reslab import Recipe, Run
from reslab.training.runs.train_overlap import evaluation_photos


def test_the_folder_of_a_run_stands_for_its_own_test_split(finished: Run) -> None:
    folder = finished.photos.folder
    for model in (finished.folder, finished.folder / "model.safetensors"):
        assert evaluation_photos(model, folder) == (finished.photos, ["the run's own test split: 8 photos"])


def test_without_a_test_split_a_note_says_that_val_chose_the_epoch(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(train=10)
    recipe = small.with_settings(epochs=1)
    run = reslab.train(folder, "cifar_resnet20", recipe, run=tmp_path / "run", progress=False, say=str)
    photos, notes = evaluation_photos(run.folder, folder)
    assert photos == run.photos
    assert notes == ["the run has no test split; val chose the epoch, so expect slightly less"]


def test_training_photos_are_counted_under_any_name(finished: Run, tmp_path: Path) -> None:
    photos = finished.photos
    assert evaluation_photos(finished.folder, photos.folder / "test") == (photos.folder / "test", [])
    other = Path(shutil.copytree(photos.folder / "test", tmp_path / "other"))
    for photo in photos.train[:2]:
        shutil.copy(photos.path(photo), other / "red" / f"renamed-{Path(photo.path).name}")
    chosen, notes = evaluation_photos(finished.folder, other)
    assert chosen == other
    assert notes == ["2 of these 10 photos were used in the training of this run: the accuracy is too high"]


def test_skipped_photos_do_not_make_it_another_folder(
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
        assert notes == [
            "the run's own test split: 8 photos; 1 more could not be read at the start of the run"
        ]
    assert evaluation_photos(run.folder, folder / "test") == (folder / "test", [])


def test_a_model_file_without_a_run_has_no_photos(finished: Run, tmp_path: Path) -> None:
    alone = shutil.copy(finished.folder / "model.safetensors", tmp_path / "alone.safetensors")
    assert evaluation_photos(Path(alone), finished.photos.folder) == (finished.photos.folder, [])
