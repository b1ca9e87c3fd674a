"""Run: properties read from the files of a run folder, and errors for damaged ones."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reslab
from reslab import Classifier, Recipe, Run, find_runs
from reslab.errors import PhotosError, RecipeError, RunError
from reslab.evaluation.metrics import evaluate_rows
from reslab.evaluation.rows import PhotoRows
from reslab.files import add_checksum, write_json
from reslab.networks.registry import NetworkSpec
from reslab.photos.loading.pixel_store import PixelFiles
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import build_network, start_run

RESULT = '{{"model": "m", "epochs": {}, "best_epoch": 1, "test_accuracy": null}}'


def test_a_run_shows_what_its_files_hold(finished: Run) -> None:
    assert finished == Run(str(finished.folder))  # type: ignore[arg-type]
    assert finished.state == "finished"
    assert [row["epoch"] for row in finished.rows] == [1, 2]
    assert finished.best in finished.rows
    assert list(finished.history["val_accuracy"].data) == [row["val_accuracy"] for row in finished.rows]
    assert finished.seconds == sum(row["seconds"] for row in finished.rows)
    assert finished.about["classes"] == ["blue", "red"]
    assert isinstance(finished.classifier, Classifier)
    assert finished.classifier.classes == ("blue", "red")
    assert {
        "reslab",
        "torch",
        "torchvision",
        "device",
        "threads",
        "git_commit",
    } <= finished.environment.keys()
    assert f"{finished.folder}: finished, 2/2 epochs, best val_accuracy" in str(finished)


def test_the_photos_of_a_run_are_those_it_was_started_with(finished: Run) -> None:
    photos = finished.photos
    again = reslab.Photos(photos.folder, val_fraction=0.1, seed=3)
    assert (photos.train, photos.val, photos.test) == (again.train, again.val, again.test)
    assert len(photos.test) == 8


def test_the_test_accuracy_equals_that_of_evaluate(finished: Run) -> None:
    assert finished.result is not None
    evaluation = finished.classifier.evaluate(finished.photos)
    assert finished.result["test_accuracy"] == evaluation.accuracy
    assert finished.result["test_interval"] == [evaluation.accuracy_low, evaluation.accuracy_high]
    assert finished.classifier.figures["test_accuracy"] == evaluation.accuracy


def test_a_run_has_a_row_for_every_test_photo(finished: Run) -> None:
    evaluation = finished.classifier.evaluate(finished.photos)
    rows = PhotoRows.read(finished.folder / "test.csv", finished.photos.folder)
    assert rows.paths == evaluation.rows.paths
    assert all(rows.file(index).is_file() for index in range(8))
    assert np.array_equal(rows.probabilities, evaluation.rows.probabilities)
    assert evaluate_rows(rows) == evaluation


def test_the_printed_lines_describe_photos_network_and_result(finished: Run) -> None:
    lines = (finished.folder.parent / "lines").read_text()
    for words in (
        "22 train, 2 val, 8 test; 2 classes: blue, red",
        "cifar_resnet20: 269,202 parameters, on cpu; precision fp32",
        "estimated from a few steps",
        f"run: {finished.folder}",
        "Epoch 2/2  train_loss",
        "testing on 8 photos that were not used in training",
        "few photos: over 8 of them, the accuracy is only known to lie between",
    ):
        assert words in lines


def test_a_moved_run_has_its_new_paths(finished: Run, tmp_path: Path) -> None:
    moved = Run(shutil.copytree(finished.folder, tmp_path / "moved"))
    assert moved.result is not None
    assert (moved.result["run"], moved.result["model"]) == (
        str(moved.folder),
        str(moved.folder / "model.safetensors"),
    )
    assert moved.classifier.classes == finished.classifier.classes


@pytest.mark.parametrize(
    ("name", "content", "ask"),
    [
        ("run.json", "{", lambda run: run.about),
        ("run.json", '"text"', lambda run: run.about),
        ("run.json", '{"network": "resnet18"}', lambda run: run.about),
        ("metrics.jsonl", '{"epoch": 1, "train_l', lambda run: run.rows),
        ("metrics.jsonl", '{"epoch": 1}', lambda run: run.best),
        ("metrics.jsonl", "1\n", lambda run: run.history),
        ("photos.jsonl", '{"path": 1}', lambda run: run.photos),
        ("photos.jsonl", None, lambda run: run.photos),
        ("result.json", "{}", lambda run: run.state),
        ("result.json", RESULT.format('"all"'), lambda run: run.rows),
        ("metrics.jsonl", "", lambda run: run.rows),
        ("environment.json", "", lambda run: run.environment),
    ],
)
def test_the_error_names_a_damaged_file(
    name: str, content: str | None, ask: Callable[[Run], object], finished: Run, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    (run.folder / name).unlink() if content is None else (run.folder / name).write_text(content)
    with pytest.raises(RunError) as caught:
        ask(run)
    assert caught.value.what == f"{run.folder / name} cannot be read"
    assert caught.value.why
    assert caught.value.do


CODE = {"file": "a.py", "name": "B", "digest": "0" * 32, "sources": {"a.py": "B = dict"}}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"measured": {"precision": "fp32", "seconds_per_step": 1, "more": 1}},
            "measured.more: 1 is not known",
        ),
        ({"measured": {"precision": "fp32", "seconds_per_step": 1, "threads": 10**6}}, "is more than 1024"),
        ({"spec": {"name": "resnet18", "num_classes": 2, "in_channels": 3}}, "different names"),
        (
            {"spec": {"name": "cifar_resnet20", "num_classes": 10**9, "in_channels": 3}},
            "1,000,000,000 outputs for 2 classes",
        ),
        (
            {"spec": {"name": "cifar_resnet20", "num_classes": 2, "in_channels": 10**9}},
            "spec.in_channels: 1000000000",
        ),
        (
            {"spec": {"name": "a.py:B", "num_classes": 2, "in_channels": 3, "code": {"file": "a.py"}}},
            "spec.code.name is missing",
        ),
        (
            {"spec": {"name": "a.py:B", "num_classes": 2, "in_channels": 3, "code": CODE}},
            "the digest of a.py is not that of its sources",
        ),
        ({"classes": ["red", "red"]}, "a name appears twice"),
        ({"recipe": "epochs"}, "recipe: 'epochs' is not"),
    ],
)
def test_run_json_is_checked_before_a_network_is_built(
    change: dict[str, object], why: str, finished: Run, tmp_path: Path
) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    (run.folder / "run.json").write_text(json.dumps(run.about | change))
    (run.folder / "result.json").unlink()
    with pytest.raises(RunError) as caught:
        reslab.resume(run, progress=False, say=str)
    assert caught.value.what == f"{run.folder / 'run.json'} cannot be read"
    assert why in caught.value.why


def test_large_integers_in_the_metrics_are_numbers(finished: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    rows = [row | {"val_loss": 10**30} for row in run.rows]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(run.history["val_loss"].data) == [1e30, 1e30]


def test_a_result_with_a_wrong_number_of_epochs_is_refused(finished: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    (run.folder / "result.json").write_text(RESULT.format(10**12))
    with pytest.raises(RunError, match="it needs one row for each epoch"):
        _ = run.rows


def test_a_recipe_of_a_later_version_is_refused(finished: Run, tmp_path: Path) -> None:
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    settings = json.loads((run.folder / "recipe.json").read_text()) | {"sharpen": 0.2}
    (run.folder / "recipe.json").write_text(json.dumps(settings))
    with pytest.raises(RunError) as caught:
        _ = run.recipe
    assert caught.value.what == f"{run.folder / 'recipe.json'} is not a valid recipe"
    assert "'sharpen'" in caught.value.why
    assert "environment.json" in caught.value.do


def test_find_runs_yields_the_oldest_first_and_accepts_a_run(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, started in (("b", "2026-01-01T00:00:00+00:00"), ("a", "2026-01-01T00:30:00+01:00"), ("c", 7)):
        run = Run(shutil.copytree(finished.folder, tmp_path / name))
        about = run.about | {"started": started}
        (run.folder / "run.json").write_text(json.dumps(about))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert [run.folder.name for run in find_runs(tmp_path)] == ["c", "a", "b"]
    assert list(find_runs(finished.folder)) == [finished]
    assert list(find_runs(tmp_path / "nowhere")) == []
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(find_runs("~/a")) == [Run(tmp_path / "a")]


@pytest.mark.parametrize("name", ["nowhere", "empty", "~nobody-here/run"])
def test_a_folder_that_is_not_a_run_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError) as caught:
        Run(Path(name))
    assert caught.value.what in (f"{name} does not exist", f"{name} is not a run folder")


@pytest.mark.parametrize("kind", ["folder", "file", "link", "run"])
def test_an_existing_path_is_never_overwritten(
    kind: str, finished: Run, small: Recipe, tmp_path: Path, photo_folder: Callable[..., Path]
) -> None:
    place = tmp_path / "place"
    if kind == "folder":
        place.mkdir()
    elif kind == "file":
        place.write_text("mine")
    elif kind == "link":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place = finished.folder
    with pytest.raises(RunError, match="exists already") as caught:
        reslab.train(photo_folder(train=10), "cifar_resnet20", small, run=place, progress=False, say=str)
    assert ("reslab resume" in caught.value.do) == (kind == "run")


def test_a_failed_start_leaves_no_folder(
    small: Recipe, tmp_path: Path, photo_folder: Callable[..., Path]
) -> None:
    photos = photo_folder(train=10)
    for path in (photos / "train" / "red").iterdir():
        path.write_bytes(b"no photo")
    with pytest.raises(PhotosError, match=r"5 of the 5 photos of class red in .* cannot be read"):
        reslab.train(photos, "cifar_resnet20", small, run=tmp_path / "r" / "a", progress=False, say=str)
    assert not (tmp_path / "r" / "a").exists()


@pytest.mark.slow
def test_lines_are_printed_to_standard_error_by_default(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small.with_settings(epochs=1).model_dump()
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    photos = photo_folder(train=10)
    reslab.train(photos, "cifar_resnet20", tmp_path / "mine.json", run=tmp_path / "run", progress=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Epoch 1/1" in err


@pytest.mark.slow
def test_a_photo_removed_during_training_is_replaced_and_named_in_the_result(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, lines = photo_folder(train=40, test=4), []
    recipe = reslab.Recipe(epochs=2, size=16, resize=20, cache=False, precision="fp32")
    run = start_run(
        folder, "cifar_resnet20", recipe, weights=None, run=tmp_path / "run", progress=False, say=lines.append
    )
    gone = run.photos.train[5].path
    for epoch in train_epochs(run, progress=False, say=lines.append):
        if epoch.epoch == 1:
            (folder / gone).unlink()
    assert run.result is not None
    assert [row["path"] for row in run.result["replaced"]] == [gone]
    assert any(gone in line and "another was used in its place" in line for line in lines)


BROKEN = {"train/red/a.jpg", "val/blue/b.jpg", "test/red/c.jpg"}


@pytest.fixture
def spoiled(photo_folder: Callable[..., Path]) -> Path:
    """Photos in three splits, one of each BROKEN."""
    folder = photo_folder(train=20, val=6, test=8)
    for path in BROKEN:
        (folder / path).write_bytes(b"no photo, " + path.encode())
    return folder


@pytest.mark.slow
def test_unreadable_photos_are_skipped_and_named_at_the_start_and_the_end(
    spoiled: Path, small: Recipe, tmp_path: Path
) -> None:
    lines: list[str] = []
    place, say = tmp_path / "run", lines.append
    run = start_run(spoiled, "cifar_resnet20", small, weights=None, run=place, progress=False, say=say)
    (warning,) = [text for text in lines if text.startswith("WARNING")]
    assert "skipping 3 of 37 photos that cannot be read: 1 of train, 1 of val, 1 of test" in warning
    assert f"list every skipped photo: reslab check {spoiled}" in warning
    listed = (place / "photos.jsonl").read_text().splitlines()[1:]
    assert len(listed) == 34
    assert not {json.loads(line)["path"] for line in listed} & BROKEN
    assert run.skipped.counts == {"train": 1, "val": 1, "test": 1}
    assert run.skipped.reasons.keys() == BROKEN
    list(train_epochs(run, progress=False, say=say))
    assert "skipped 3 photos that could not be read: 1 of train, 1 of val, 1 of test" in lines
    assert run.result is not None
    assert run.result["skipped"] == run.about["skipped"] == run.skipped.as_json()
    assert run.result["test_unread"] == 0
    assert any("over 8 photos (epoch" in text for text in lines)


@pytest.mark.slow
def test_a_resumed_run_does_not_decode_skipped_photos_again(
    spoiled: Path, small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []
    place, say = tmp_path / "run", lines.append
    run = start_run(spoiled, "cifar_resnet20", small, weights=None, run=place, progress=False, say=str)
    epochs = train_epochs(run, progress=False, say=say)
    next(epochs)
    epochs.close()
    for path in BROKEN:
        os.utime(spoiled / path, (4e9, 4e9))
    monkeypatch.setattr(PixelFiles, "read", lambda *_: pytest.fail("decoded again"))
    list(train_epochs(run, progress=False, say=say))
    assert run.state == "finished"
    assert not [text for text in lines if "added" in text or "WARNING" in text]


@pytest.mark.slow
def test_a_photo_removed_before_the_test_is_counted_in_the_result(
    photo_folder: Callable[..., Path], small: Recipe, tmp_path: Path
) -> None:
    lines: list[str] = []
    folder, place = photo_folder(train=20, test=8), tmp_path / "run"
    run = start_run(folder, "cifar_resnet20", small, weights=None, run=place, progress=False, say=str)
    gone = folder / run.photos.test[3].path
    for epoch in train_epochs(run, progress=False, say=lines.append):
        if epoch.epoch == 2:
            gone.unlink()
    assert any(f"over 7 photos; 1 could not be read: {gone}: there is no photo" in text for text in lines)
    assert run.result is not None
    assert run.result["test_unread"] == 1


@pytest.mark.parametrize("value", [[], {"splits": {"all": 1}, "first": []}, {"splits": {}, "first": [1]}])
def test_an_invalid_list_of_skipped_photos_is_refused(value: object, finished: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(finished.folder, tmp_path / "run"))
    about = json.loads((folder / "run.json").read_text()) | {"skipped": value}
    del about["checksum"]
    write_json(folder / "run.json", add_checksum(about))
    with pytest.raises(RunError, match=r"run\.json cannot be read\n  why: skipped: "):
        _ = Run(folder).skipped


@pytest.mark.slow
def test_a_run_with_a_time_can_be_resumed_and_counts_its_epochs(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = reslab.Recipe(time="15s", size=16, resize=20, precision="fp32")
    lines: list[str] = []
    run = start_run(
        photo_folder(train=40, test=4), "cifar_resnet20", recipe,
        weights=None, run=tmp_path / "run", progress=False, say=lines.append,
    )  # fmt: skip
    assert (run.recipe.time, run.epochs) == ("15s", 0)
    assert any("about 15 s in total, estimated" in line for line in lines)
    epochs = train_epochs(run, progress=False, say=lines.append)
    first = next(epochs)
    epochs.close()  # as a kill would
    assert run.epochs == first.epochs > 1
    rest = list(train_epochs(run, progress=False, say=lines.append))
    assert [epoch.epoch for epoch in rest] == list(range(2, len(run.rows) + 1))
    assert run.result is not None
    assert run.result["epochs"] == run.epochs == len(run.rows) > 1
    assert f"finished, {run.epochs}/{run.epochs} epochs" in str(run)


def test_a_time_too_short_for_an_epoch_raises_an_error_and_writes_nothing(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = reslab.Recipe(time="15s", size=16, resize=20, precision="fp32")
    with pytest.raises(RecipeError, match="time: 0 s are left for training, and an epoch takes"):
        start_run(
            photo_folder(train=20), "cifar_resnet20", recipe, weights=None, run=tmp_path / "run",
            progress=False, say=str, started=time.monotonic() - 1e6,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("zero", [True, False])
def test_zero_init_residual_sets_the_last_norm_of_each_block_to_zero(zero: bool) -> None:
    network = build_network(NetworkSpec("cifar_resnet20", 2, 3), Recipe(zero_init_residual=zero))
    last_norms = [block.bn2.weight for stage in (network.layer1, network.layer3) for block in stage]
    assert [not weight.any() for weight in last_norms] == [zero] * 6


@pytest.mark.slow
def test_a_short_time_is_reported_if_it_does_not_allow_the_image_size(
    photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Picky(torch.nn.Module):
        """A network that refuses the images of 72 pixels of a short time."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] % 16:
                raise ValueError("sides have to be multiples of 16")
            return self.fc(self.conv(x).relu().mean((2, 3)))

    monkeypatch.setattr("reslab.training.epoch_plan.MIN_EPOCHS_IN_TIME", 1e9)  # no time is long enough
    monkeypatch.setattr("reslab.training.time_budget.FINISHING_S", 0.5)
    recipe, lines = reslab.Recipe(time="9s", size=128, precision="fp32"), []
    run = reslab.train(
        photo_folder(train=40, test=4), Picky(), recipe, run=tmp_path / "run", progress=False,
        say=lines.append,
    )  # fmt: skip
    assert any("(the time is too short for 128 px); about 9 s in total" in line for line in lines)
    assert {row["size"] for row in run.rows} <= {32, 48, 64}
    assert run.result is not None
    assert run.result["test_accuracy"] is not None


def test_frozen_parts_with_random_weights_give_a_warning(
    photo_folder: Callable[..., Path], tmp_path: Path, small: Recipe
) -> None:
    photos, recipe = photo_folder(train=20, test=4), small.with_settings(freeze=("conv1", "layer1"))
    torch.save(reslab.cifar_resnet20(num_classes=2).state_dict(), tmp_path / "whole.pth")
    state = torch.load(tmp_path / "whole.pth", weights_only=True)
    torch.save({k: v for k, v in state.items() if not k.startswith("layer1.2.")}, tmp_path / "part.pth")
    warned = {}
    for weights in (None, "part.pth", "whole.pth"):
        lines: list[str] = []
        given = None if weights is None else tmp_path / weights
        start_run(
            photos, "cifar_resnet20", recipe,
            weights=given, partial=given is not None, run=tmp_path / f"run {weights}", progress=False,
            say=lines.append,
        )  # fmt: skip
        warned[weights] = [line for line in lines if "frozen at random weights" in line]
    assert ": conv1, layer1; give --weights" in warned[None][0]
    assert ": layer1; give --weights" in warned["part.pth"][0]
    assert warned["whole.pth"] == []


@pytest.mark.slow
def test_settings_that_do_not_apply_to_a_custom_network_give_a_warning(
    photo_folder: Callable[..., Path], tmp_path: Path, small: Recipe
) -> None:
    lines: list[str] = []
    start_run(
        photo_folder(train=20), reslab.cifar_resnet20(num_classes=2), small.with_settings(stem="small"),
        weights=None, run=tmp_path / "run", progress=False, say=lines.append,
    )  # fmt: skip
    assert any("stem, width_mult and zero_init_residual are ignored" in line for line in lines)


def test_two_runs_started_in_the_same_second_get_two_folders(
    photo_folder: Callable[..., Path], tmp_path: Path, small: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other run takes the name after it was chosen."""
    from reslab.training.runs import start as module

    photos, write, taken = photo_folder(train=20), module.write_run, []
    monkeypatch.chdir(tmp_path)

    def after_another(folder: Path, *rest: Any) -> None:
        if not taken:
            taken.append(folder)
            (folder / "of another").mkdir(parents=True)
        write(folder, *rest)

    monkeypatch.setattr(module, "write_run", after_another)
    run = start_run(photos, "cifar_resnet20", small, weights=None, run=None, progress=False, say=str)
    assert run.folder != taken[0]
    assert run.state == "interrupted"
    assert [path.name for path in taken[0].iterdir()] == ["of another"]
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.slow
def test_an_epoch_without_checkpoint_counts_if_no_time_is_left_to_repeat_it(
    photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = reslab.Recipe(time="60s", size=16, resize=20, precision="fp32")
    run = start_run(
        photo_folder(train=40, test=4), "cifar_resnet20", recipe,
        weights=None, run=tmp_path / "run", progress=False, say=str,
    )  # fmt: skip
    epochs = train_epochs(run, progress=False, say=str)
    next(epochs)
    before = (run.folder / "checkpoint.safetensors").read_bytes()
    next(epochs)
    epochs.close()
    (run.folder / "checkpoint.safetensors").write_bytes(
        before
    )  # killed after the second row and before its checkpoint
    monkeypatch.setattr("reslab.training.epoch_plan.MIN_EPOCH_FRACTION", 1e9)
    assert list(train_epochs(run, progress=False, say=str)) == []
    assert run.state == "finished"
    assert run.result is not None
    assert run.result["epochs"] == len(run.rows) == 2
