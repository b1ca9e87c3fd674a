"""Resume after kills at exact places, in real processes: the same weights as without interruption."""

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reslab
from reslab import Photos, Recipe, Run, Step, cifar_resnet20, resume, training_loop
from reslab.errors import ClassifierError, RunError, TrainingError
from reslab.training.runs import checkpoint
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import start_run

EVERY_STEP = {"checkpoint_minutes": 1e-9}


def start(folder: Path, run: Path, recipe: Recipe, say: Callable[[str], Any] = str) -> Run:
    return start_run(folder, "cifar_resnet20", recipe, weights=None, run=run, progress=False, say=say)


def go_on(run: Run | Path, say: Callable[[str], Any] = str, **options: Any) -> Run:
    return resume(run, progress=False, say=say, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {
            "weight_averaging": 0.9,
            "optimizer": "adam",
            "learning_rate": 1e-3,
            "cache": False,
            "mixup": 0.2,
            "cutmix": 1.0,
            "clip_grad": 1.0,
        },
        {"schedule": "steps", "milestones": (0.5,), "workers": 2, "precision": "bf16+channels_last"},
    ],  # fmt: skip
    ids=["one_cycle", "averaged-adam-uncached-mixed", "steps-workers-bf16"],
)
def test_a_run_killed_again_and_again_ends_with_the_same_weights(
    settings: dict[str, Any],
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    in_child: Callable[..., int],
    outcome: Callable[[Path], dict[str, Any]],
) -> None:
    recipe, photos = small.with_settings(**EVERY_STEP, **settings), photo_folder(train=30, test=8)
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert in_child(lambda: go_on(start(photos, calm, recipe))) == 0
    start(photos, killed, recipe)
    dice, kills = random.Random(1), 0
    while (code := in_child(lambda: go_on(killed), die_at=dice.randrange(1, 24))) != 0:
        assert code == -signal.SIGKILL
        kills += 1
    assert kills > 2
    assert outcome(killed) == outcome(calm)
    assert not list(killed.glob(".*.reslab-tmp"))


@pytest.mark.slow
def test_a_kill_at_any_write_after_an_epoch_gives_the_same_weights(
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    in_child: Callable[..., int],
    outcome: Callable[[Path], dict[str, Any]],
) -> None:
    """The model and the metrics are written before the checkpoint: what is between must hold."""
    photos = photo_folder(train=20, test=8)
    before = tmp_path / "before"
    run = start(photos, before, small.with_settings(batch_size=16, **EVERY_STEP))
    next(train_epochs(run, progress=False, say=str))  # one epoch of two
    code, act, results = -9, 0, []
    while code != 0:
        act += 1
        killed = tmp_path / f"killed{act}"
        shutil.copytree(before, killed)
        code = in_child(lambda folder=killed: go_on(folder), die_at=act)
        state = Run(killed)
        assert [row["epoch"] for row in state.rows] in ([1], [1, 2])  # readable at any time
        assert state.classifier.classes == ("blue", "red")
        assert state.state in (("finished",) if code == 0 else ("interrupted", "finished"))
        if code != 0:
            assert in_child(lambda folder=killed: go_on(folder)) == 0
        results.append(outcome(killed))
    assert act > 15
    assert all(result == results[-1] for result in results)


@pytest.mark.slow
def test_a_killed_start_leaves_no_run_or_a_complete_one(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, in_child: Callable[..., int]
) -> None:
    photos, seen = photo_folder(train=20), set()
    for act in (1, 4, 9, 14, 17, 18, 19, 20, 60):
        folder = tmp_path / f"run{act}"
        code = in_child(lambda to=folder: start(photos, to, small.with_settings(cache=False)), die_at=act)
        assert code in (0, -signal.SIGKILL)
        seen.add(folder.exists())
        assert not folder.exists() or checkpoint.NAME in [path.name for path in folder.iterdir()]
        assert Run(folder).state == "interrupted" if folder.exists() else True
    assert seen == {True, False}


def test_ctrl_c_during_decoding_leaves_no_folder(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reslab.photos.loading.pixel_cache import PixelFiles

    read = PixelFiles.read

    def interrupted(self: PixelFiles, photo: Any) -> Any:
        if photo.path.endswith("004.jpg"):
            signal.raise_signal(
                signal.SIGINT
            ) if threading.current_thread() is threading.main_thread() else None
            raise KeyboardInterrupt
        return read(self, photo)

    monkeypatch.setattr(PixelFiles, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(photo_folder(train=20), tmp_path / "runs" / "a", small)
    assert not list((tmp_path / "runs").glob("*")) if (tmp_path / "runs").exists() else True
    monkeypatch.undo()
    start(tmp_path / "photos", tmp_path / "runs" / "a", small.with_settings(cache=False))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_and_resume_gives_the_same_weights(
    number: signal.Signals,
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    outcome: Callable[[Run], dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    photos, lines = photo_folder(train=30, test=8), []
    calm = go_on(start(photos, tmp_path / "calm", small))
    run = start(photos, tmp_path / "stop ped", small)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    for at in (2, 3):  # in the middle of an epoch, then at its last step, where only validation is left
        steps = 0

        def after(module: nn.Module, args: Any, out: Any, at: int = at) -> None:
            nonlocal steps
            steps += module.training and torch.is_grad_enabled()
            if steps == at and module.training and torch.is_grad_enabled():
                signal.raise_signal(number)

        hook = nn.modules.module.register_module_forward_hook(
            lambda m, args, out: after(m, args, out) if isinstance(m, reslab.ResNet) else None
        )
        with pytest.raises(KeyboardInterrupt):
            go_on(run, lines.append)
        hook.remove()
        assert lines[-1] == f"stopped; to resume: reslab resume '{run.folder}'"
        assert run.state == "interrupted"
    assert "repeat to stop at once" in capsys.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert checkpoint.read(run.folder)[0].epoch == 1
    go_on(run, lines.append)
    assert outcome(run) == outcome(calm)


def test_an_ignored_signal_stays_ignored(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """A shell starts what is to go on by itself with Ctrl-C ignored."""
    run = start(photo_folder(train=20), tmp_path / "run", small)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in train_epochs(run, progress=False, say=str):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert run.state == "finished"


@pytest.mark.slow
def test_resume_reports_its_position_and_changes_that_affect_results(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run, lines = start(photo_folder(train=30), tmp_path / "run", small), []
    next(train_epochs(run, progress=False, say=lines.append))
    assert not lines  # a new run goes on from nowhere
    elsewhere = {"threads": 64, "torch": "1.0", "device": "cuda", "code": "0badc0de"}
    began = run.environment
    (run.folder / "environment.json").write_text(json.dumps(began | elsewhere))
    run.recipe.with_settings(learning_rate=0.5, workers=1).save(run.folder / "recipe.json")
    go_on(run, lines.append)
    assert lines[0] == "resuming after 1 epochs and 0 of 4 steps"
    assert lines[1] == (
        "note: results may differ from an uninterrupted run: "
        f"code 0badc0de -> {began['code']}; torch 1.0 -> {torch.__version__}; "
        f"device cuda -> cpu; threads 64 -> {torch.get_num_threads()}"
    )
    assert lines[2] == (
        "note: results may differ from an uninterrupted run, the recipe was edited: "
        f"learning_rate {small.learning_rate} -> 0.5"
    )
    lines.clear()
    go_on(run, lines.append)
    assert lines == [f"{run.folder} is finished: nothing to resume"]


@pytest.mark.slow
def test_changed_photos_are_refused_and_added_photos_are_reported(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos = photo_folder(train=20, test=4)
    run, lines = start(photos, tmp_path / "run", small), []
    other, good = photos / "train" / "red" / "001.jpg", (photos / "train" / "red" / "001.jpg").read_bytes()
    other.write_bytes((photos / "train" / "red" / "003.jpg").read_bytes())
    with pytest.raises(RunError) as caught:
        go_on(run)
    assert caught.value.what == (
        f"1 of 24 photos of {run.folder} are changed in {photos}, the first is train/red/001.jpg"
    )
    other.write_bytes(good)
    time.sleep(1)  # a run knows the second in which it began
    (photos / "train" / "green").mkdir()
    for name in ("train/green/new.jpg", "train/red/new.jpg"):
        (photos / name).write_bytes(good)
    go_on(run, lines.append)
    assert lines[0] == (
        f"note: 2 photos were added to {photos} since the start of the run, "
        "the first is train/green/new.jpg; the run ignores them"
    )
    assert run.result is not None


@pytest.mark.slow
def test_a_damaged_model_is_replaced_by_the_best_of_the_remaining_epochs(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run, lines = start(photo_folder(train=20, test=4), tmp_path / "run", small.with_settings(epochs=3)), []
    next(train_epochs(run, progress=False, say=str))
    model = run.folder / "model.safetensors"
    content = model.read_bytes()
    model.write_bytes(content[:-5] + b"\0\0\0\0\0")
    go_on(run, lines.append)
    assert any(f"note: {model} was changed after it was written" in line for line in lines)
    assert run.result is not None
    assert run.result["best_epoch"] in (2, 3)
    assert run.classifier.figures["epoch"] == run.result["best_epoch"]
    (run.folder / "result.json").unlink()
    model.write_bytes(content[:-5])
    with pytest.raises(ClassifierError, match="is not a model file"):  # and no epoch to come
        go_on(run)


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_lock_file_that_is_a_pipe_or_a_link_is_replaced(
    kind: str, small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run, outside = start(photo_folder(train=20), tmp_path / "run", small), tmp_path / "outside"
    outside.write_text("precious")
    owner = run.folder / ".lock-owner"
    os.mkfifo(owner) if kind == "pipe" else owner.symlink_to(outside)
    assert run.state == "interrupted"
    assert go_on(run).state == "finished"
    assert outside.read_text() == "precious"


@pytest.mark.slow
def test_a_run_resumes_without_its_environment_file(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run, lines = start(photo_folder(train=20), tmp_path / "run", small), []
    next(train_epochs(run, progress=False, say=str))
    (run.folder / "environment.json").write_text("{")
    assert go_on(run, lines.append).state == "finished"
    assert any(line.startswith("note: results may differ from an uninterrupted run: ") for line in lines)


def test_a_run_with_other_classes_is_refused(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos = photo_folder(train=20)
    run = start(photos, tmp_path / "run", small)
    (photos / "train" / "red").rename(photos / "train" / "green")
    with pytest.raises(RunError, match="are missing from"):
        go_on(run)
    (photos / "train" / "green").rename(photos / "train" / "red")
    about = run.about | {"classes": ["blue", "green", "red"]}
    (run.folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="the network has 2 outputs for 3 classes"):
        go_on(run)
    about["spec"]["num_classes"] = 3
    (run.folder / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match=r"photos\.jsonl cannot be read"):
        go_on(run)


@pytest.mark.slow
def test_damaged_metrics_are_restored_from_the_checkpoint(
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    outcome: Callable[[Run], dict[str, Any]],
) -> None:
    photos, path, lines = photo_folder(train=20), tmp_path / "run" / "metrics.jsonl", []
    calm = go_on(start(photos, tmp_path / "calm", small))
    run = start(photos, tmp_path / "run", small)
    next(train_epochs(run, progress=False, say=str))
    path.write_bytes(path.read_bytes()[:40])
    go_on(run, lines.append)
    assert lines[1].startswith(f"note: {path} cannot be read: ")
    assert lines[1].endswith("; it is restored from the checkpoint")
    assert outcome(run) == outcome(calm)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "progress"),
    [({"workers": 1}, False), ({"workers": 4, "cache": False}, False), ({"cache": False}, True)],
    ids=["one worker", "four workers, no cache", "no cache, a bar"],
)
def test_workers_cache_and_progress_bar_do_not_change_the_weights(
    settings: dict[str, Any],
    progress: bool,
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    in_child: Callable[..., int],
    outcome: Callable[[Path], dict[str, Any]],
) -> None:
    photos, runs = photo_folder(train=30, test=8), (tmp_path / "plain", tmp_path / "other")
    assert in_child(lambda: go_on(start(photos, runs[0], small))) == 0
    assert in_child(lambda: start(photos, runs[1], small.with_settings(**settings))) == 0
    assert in_child(lambda: resume(runs[1], progress=progress, say=str)) == 0
    plain, other = (outcome(run) | {"recipe": None} for run in runs)
    assert plain == other


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = start(
        photo_folder(train=30),
        tmp_path / "run",
        small.with_settings(
            optimizer="sgd", schedule="steps", milestones=(0.5,), learning_rate=1e35, **EVERY_STEP
        ),
    )
    with pytest.raises(TrainingError) as caught:
        go_on(run)
    assert "epoch 1, step 2" in caught.value.what or "epoch 1, step 3" in caught.value.what
    assert caught.value.do.endswith(f"{run.folder} keeps its last good checkpoint")
    weights = checkpoint.read(run.folder)[1]
    assert all(tensor.isfinite().all() for tensor in weights.values() if tensor.is_floating_point())
    assert run.state == "interrupted"


@pytest.mark.slow
def test_a_custom_network_is_trained_in_place_and_resumed_with_a_new_one(
    small: Recipe,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    in_child: Callable[..., int],
    outcome: Callable[[Run], dict[str, Any]],
) -> None:
    def own() -> nn.Module:
        torch.manual_seed(5)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
        )

    def ready() -> nn.Module:
        network = own()
        network(torch.zeros(2, 3, 16, 16))
        return network

    photos, network = photo_folder(train=30, test=8), ready()
    first = network[0].weight.clone()
    calm = reslab.train(photos, network, small, run=tmp_path / "calm", progress=False, say=str)
    assert not torch.equal(network[0].weight, first)
    assert calm.about["network"] == "Sequential"
    with pytest.raises(RunError, match="started with a network of your own: Sequential") as caught:
        go_on(start_run(photos, ready(), small, weights=None, run=tmp_path / "b", progress=False, say=str))
    assert "network=Sequential(...)" in caught.value.do
    half = tmp_path / "half"
    assert (
        in_child(lambda: reslab.train(photos, ready(), small, run=half, progress=False, say=str), die_at=34)
        == -9
    )
    assert not Run(half).result
    go_on(half, network=ready())
    assert outcome(Run(half)) == outcome(calm)


def test_missing_photos_are_named_before_training(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    photos = photo_folder(train=20, test=4)
    run = start(photos, tmp_path / "run", small)
    (photos / "test" / "red" / "001.jpg").rename(tmp_path / "away.jpg")
    with pytest.raises(RunError) as caught:
        go_on(run)
    assert str(caught.value) == (
        f"1 of 24 photos of {run.folder} are missing from {photos}, the first is test/red/001.jpg\n"
        "  why: the run would continue with different data\n"
        "  do:  restore the photos, or name the place that they are in now: "
        f"reslab resume {run.folder} --photos FOLDER"
    )


def test_frozen_parts_keep_their_weights_and_statistics(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = start(
        photo_folder(train=30), tmp_path / "run", small.with_settings(freeze=("conv1", "bn1", "layer1"))
    )
    before = checkpoint.read(run.folder)[1]
    go_on(run)
    after = checkpoint.read(run.folder)[1]
    frozen = ("network.conv1.", "network.bn1.", "network.layer1.")
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == name.startswith(frozen) or not before[name].dim(), name


def test_the_model_file_has_the_averaged_weights(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    recipe = small.with_settings(epochs=1, weight_averaging=0.9)
    run = go_on(start(photo_folder(train=30), tmp_path / "run", recipe))
    tensors = checkpoint.read(run.folder)[1]
    kept = run.classifier.network.state_dict()
    for name, tensor in kept.items():
        assert torch.equal(tensor, tensors[f"average.module.{name}"])
    assert not torch.equal(kept["fc.weight"], tensors["network.fc.weight"])


@pytest.mark.slow
def test_a_run_without_test_split_has_no_test_accuracy(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    lines: list[str] = []
    run = go_on(start(photo_folder(train=20), tmp_path / "run", small, lines.append), lines.append)
    assert run.result is not None
    assert run.result["test_accuracy"] is None
    assert "no test split: the final figures come from val" in "\n".join(lines)
    assert run.classifier.figures["val_accuracy"] == run.result["val_accuracy"]


def test_a_start_on_a_full_disk_raises_an_error_and_leaves_nothing(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, small_disk: Callable[..., Path]
) -> None:
    disk = small_disk()
    with pytest.raises(RunError, match="cannot be written") as caught:
        start(photo_folder(train=20), disk / "run", small.with_settings(cache=False))
    assert "No space left" in caught.value.why
    assert "choose another --run" in caught.value.do
    assert list(disk.iterdir()) == []


def test_saved_steps_are_not_repeated_by_a_custom_loop(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """The loop by hand, with a checkpoint: what a consumer of one's own writes."""
    photos = Photos(photo_folder(train=30))
    tmp_path = tmp_path / "own"
    tmp_path.mkdir()
    steps: list[int] = []
    for _ in range(2):
        torch.manual_seed(0)
        setup = reslab.prepare(cifar_resnet20(num_classes=2), photos, small, progress=False)
        if (tmp_path / checkpoint.NAME).exists():
            assert checkpoint.load(setup.state, tmp_path, 0.0) == []
        for event in training_loop(setup.state, setup.train, setup.validate(False)):
            assert isinstance(event, Step)
            steps.append(event.step)
            if event.step in (2, 4):
                checkpoint.save(setup.state, [], tmp_path)
                break
    assert steps == [1, 2, 3, 4]


def test_the_metrics_are_complete_after_every_epoch(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    run = start(photo_folder(train=20), tmp_path / "run", small)
    for count, epoch in enumerate(train_epochs(run, progress=False, say=str), 1):
        lines = (run.folder / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == count
        assert run.rows[-1] == epoch.as_json()
        assert json.loads(lines[-1]).items() >= epoch.as_json().items()
        assert run.state == "running"
    assert run.state == "finished"
