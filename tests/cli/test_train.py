"""The verbs train and resume, also in real processes that are stopped and killed."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reslab import Run, cifar_resnet32, resnet18
from reslab.training.runs import checkpoint

FILES = (
    "recipe.json environment.json photos.jsonl metrics.jsonl checkpoint.safetensors model.safetensors "
    "curves.png first_batch.jpg run.json result.json"
)


def test_a_run_folder_is_complete_and_standard_output_has_only_json(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    photos, folder = photo_folder(train=20, test=8), tmp_path / "run"
    code, out, err = reslab_here("train", photos, *small, "--run", folder, "--json")
    assert code == 0
    *epochs, last = map(json.loads, out.splitlines())
    assert [row["epoch"] for row in epochs] == [1, 2]
    needed = {"epoch", "train_loss", "val_loss", "val_accuracy", "seconds", "images_per_second"}
    assert all(needed <= row.keys() for row in epochs)
    assert {"run", "model", "best_epoch", "test_accuracy"} <= last.keys()
    assert (last["run"], last["model"]) == (str(folder), str(folder / "model.safetensors"))
    assert "18 train, 2 val, 8 test; 2 classes: blue, red" in err
    assert "Epoch 2/2  train_loss" in err
    assert set(FILES.split()) <= set(os.listdir(folder))
    assert not [name for name in os.listdir(folder) if name.startswith(".") and name != ".lock"]
    assert last["best_epoch"] == max(epochs, key=lambda r: (r["val_accuracy"], -r["val_loss"]))["epoch"]

    evaluated = json.loads(reslab_here("evaluate", folder, photos, "--json").out)
    assert evaluated["accuracy"] == last["test_accuracy"]
    again = reslab_here("resume", folder, "--json")
    assert json.loads(again.out) == last
    assert "is finished" in again.err
    refused = reslab_here("train", photos, *small, "--run", folder)
    assert refused.code == 2
    assert f"resume it: reslab resume {folder}" in refused.err


def test_the_default_run_folder_has_the_date_and_the_network(
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    reslab_here: Callable[..., Any],
    small: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    photos = photo_folder(train=20, test=8)
    monkeypatch.chdir(tmp_path)
    code, out, err = reslab_here("train", "photos", *small)
    (folder,) = (tmp_path / "runs").iterdir()
    assert (code, err) == (0, "")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}-cifar_resnet20", folder.name)
    assert out.splitlines()[-1] == (
        f"next:   reslab predict runs/{folder.name} PHOTO...   reslab evaluate runs/{folder.name} {photos}"
    )


def test_training_starts_with_an_estimate_of_its_duration(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    flags = [
        "--recipe",
        "tutorial",
        "--network",
        "cifar_resnet20",
        "--size",
        "32",
        "--resize",
        "32",
        "--epochs",
        "1",
    ]
    lines = reslab_here("train", photo_folder(train=40), *flags, "--run", tmp_path / "run").out.splitlines()
    plan = re.compile(r"epochs: 1 at 32 px, \d.* each; about \d.* in total, estimated from a few steps")
    estimate = next(i for i, line in enumerate(lines) if plan.match(line))
    assert estimate < next(i for i, line in enumerate(lines) if line.startswith("Epoch 1/1"))
    recipe = Run(tmp_path / "run").recipe
    assert (recipe.optimizer, recipe.learning_rate, recipe.batch_size) == ("adam", 0.003, 32)


@pytest.mark.slow
def test_flags_of_every_kind_reach_the_recipe(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    flags = (
        "--no-cache --optimizer sgd --nesterov --freeze conv1 bn1 --schedule steps --milestones 0.5 0.75 "
        "--color-jitter 0.1"
    )
    photos = photo_folder(train=10)
    code, _, err = reslab_here("train", photos, *small, *flags.split(), "--run", tmp_path / "run")
    assert (code, err) == (0, "")
    recipe = Run(tmp_path / "run").recipe
    assert (recipe.cache, recipe.nesterov, recipe.color_jitter) == (False, True, 0.1)
    assert (recipe.freeze, recipe.milestones) == (("conv1", "bn1"), (0.5, 0.75))
    recipe.with_settings(seed=9).save(tmp_path / "mine.toml")
    flags = f"--recipe {tmp_path / 'mine.toml'} --schedule cosine --empty-freeze --run {tmp_path / 'two'}"
    assert reslab_here("train", photos, "--network", "cifar_resnet20", *flags.split()).code == 0
    changed = Run(tmp_path / "two").recipe
    assert (changed.seed, changed.schedule, changed.freeze, changed.milestones) == (9, "cosine", (), ())


def only_the_upper_half_was_trained(given: Path, run: Path) -> None:
    """Compare the weights of a file with those of a run of the recipe finetune."""
    before = torch.load(given, weights_only=True)
    kept = load_file(run / "model.safetensors")
    parts = ("conv1.", "bn1.", "layer1.", "layer2.")
    frozen = [name for name in kept if name.startswith(parts) and name in before]
    assert len(frozen) > 20
    assert all(torch.equal(kept[name], before[name]) for name in frozen)
    assert not torch.equal(kept["layer3.0.conv1.weight"], before["layer3.0.conv1.weight"])


@pytest.mark.slow
def test_weights_from_a_file_are_finetuned(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    torch.save(resnet18(num_classes=5).state_dict(), weights)
    flags = f"--recipe finetune --weights {weights} --size 32 --epochs 1 --precision fp32"
    photos, run = photo_folder(train=12, test=4), tmp_path / "run"
    code, out, err = reslab_here("train", photos, *flags.split(), "--run", run)
    assert code == 0, err
    assert "120 of 122 tensors loaded" in out  # all but the head, which had five classes
    only_the_upper_half_was_trained(weights, run)


@pytest.mark.slow
def test_weights_of_another_network_are_refused_unless_partial_is_given(
    reslab_here: Callable[..., Any], photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    torch.save(cifar_resnet32(num_classes=2).state_dict(), tmp_path / "w.pth")
    flags = f"--network cifar_resnet20 --weights {tmp_path}/w.pth --run {tmp_path}/run --size 32 --epochs 1"
    command = ["train", photo_folder(train=8, val=4, test=4), *flags.split(), "--precision", "fp32"]
    refused = reslab_here(*command)
    assert refused.code == 2
    assert "it looks like cifar_resnet32: " in refused.err
    assert "train --partial" in refused.err
    assert not (tmp_path / "run").exists()
    assert "without --weights" in reslab_here("train", command[1], "--partial").err
    done = reslab_here(*command, "--partial")
    assert done.code == 0, done.err
    assert "w.pth: 116 of 116 tensors loaded, 72 of the file's 188 not used\n" in done.out


@pytest.mark.slow
def test_real_partial_weights_are_finetuned(
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    reslab_here: Callable[..., Any],
    partial_weights: Path,
) -> None:
    flags = f"--recipe finetune --weights {partial_weights} --size 32 --epochs 1 --precision fp32"
    photos = photo_folder(train=12, test=4)
    code, out, _ = reslab_here("train", photos, *flags.split(), "--run", tmp_path / "run")
    assert code == 0
    assert "90 of 122 tensors loaded" in out
    assert "layer4" in out
    only_the_upper_half_was_trained(partial_weights, tmp_path / "run")


@pytest.mark.slow
def test_a_training_keeps_to_its_time(
    photo_folder: Callable[..., Path], tmp_path: Path, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    photos, run, began = photo_folder(train=40, test=8), tmp_path / "run", time.monotonic()
    flags = "--network cifar_resnet20 --size 16 --resize 18 --precision fp32 --time 20s"
    process = start("train", photos, *flags.split(), "--run", run)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "about 20 s in total" in out
    assert Run(run).state == "finished"
    assert Run(run).epochs == len(Run(run).rows) > 1
    assert time.monotonic() - began < 60  # a busy machine may be slower


STOPS = {
    "killed": (signal.SIGKILL, "--workers 0 --weight-averaging 0.9"),
    "killed-workers": (signal.SIGKILL, "--workers 2 --no-cache --weight-averaging 0.9"),
    "ctrl-c": (signal.SIGINT, "--workers 2 --weight-averaging 0.9"),
    "terminated": (signal.SIGTERM, "--workers 2 --weight-averaging 0.9"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", STOPS)
def test_resume_gives_the_same_weights_after_a_stop_or_a_kill(
    how: str,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    small: list[str],
    start: Callable[..., "subprocess.Popen[str]"],
    reslab_here: Callable[..., Any],
) -> None:
    number, flags = STOPS[how]
    photos, folder, torch_threads = photo_folder(train=160, test=8), tmp_path / "run", torch.get_num_threads()
    settings = [*small, "--checkpoint-minutes", "1e-9", *flags.split()]
    process = start("train", photos, *settings, "--run", folder)
    steps, inode, deadline = 0, None, time.monotonic() + 120
    while steps < 5 and time.monotonic() < deadline and process.poll() is None:
        path = folder / checkpoint.NAME
        if path.exists() and (now := path.stat().st_ino) != inode:
            steps, inode = steps + 1, now
        time.sleep(0.001)
    if number == signal.SIGKILL:
        taken = reslab_here("resume", folder)
        assert taken.code == 2
        assert f"in use by another process (process {process.pid})" in taken.err
        process.kill()
    else:
        os.killpg(process.pid, number)  # as a terminal or a cluster does, the workers get the signal, too
    out, err = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), err
    assert "Traceback" not in err
    if number != signal.SIGKILL:
        assert out.splitlines()[-1] == f"stopped; to resume: reslab resume {folder}"
        assert err.splitlines()[-1] == "interrupted"
    assert checkpoint.read(folder)[0].step > 0
    assert not Run(folder).result
    torch.set_num_threads(1)  # as the process had
    try:
        assert reslab_here("resume", folder).code == 0
        calm = tmp_path / "calm"
        assert reslab_here("train", photos, *settings, "--run", calm).code == 0
    finally:
        torch.set_num_threads(torch_threads)
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, calm))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    times = ("seconds", "images_per_second")
    rows = [
        [{k: v for k, v in r.items() if k not in times} for r in Run(path).rows] for path in (folder, calm)
    ]
    assert rows[0] == rows[1]


def in_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """Return what a terminal of 100 columns receives."""
    import fcntl
    import struct
    import sys
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "reslab", *arguments]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=os.environ | environment)
    os.close(theirs)
    seen = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        seen += part
        if not part:
            break
    os.close(ours)
    assert process.wait() == 0
    return seen.decode()


@pytest.mark.slow
def test_a_terminal_shows_bars_and_curves_and_a_pipe_shows_neither(
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    small: list[str],
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    photos = str(photo_folder(train=300, test=8))  # enough for a progress bar
    plain = {"NO_COLOR": "1", "TERM": "xterm", "OMP_NUM_THREADS": "1"}
    seen = in_terminal(["train", photos, *small, "--run", str(tmp_path / "a")], plain)
    assert re.search(r"Epoch 1/2: +\d+%\|.*train_loss \d\.\d+, \d+ images/s", seen)
    assert "decoding photos, once" in seen
    assert seen.count("\x1b[H") == 1  # once, after the last epoch
    assert "train_loss" in seen.rpartition("\x1b[H")[2]  # the curves, drawn over the screen
    assert not re.search(r"\x1b\[[\d;]*m", seen)  # no color
    out, err = start("train", photos, *small, "--run", tmp_path / "b").communicate()
    assert err == ""
    assert out.isprintable() or {c for c in out if not c.isprintable()} == {"\n"}
    assert out.count("Epoch ") == 2


@pytest.mark.slow
def test_a_training_continues_when_its_output_is_closed(
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    small: list[str],
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    process = start("train", photo_folder(train=30, test=8), *small, "--run", tmp_path / "run")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait() == 0
    assert Run(tmp_path / "run").state == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["stdout", "stderr"])
def test_a_training_with_json_continues_when_either_output_is_closed(
    broken: str,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    small: list[str],
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    run, pipe = tmp_path / "run", {broken: writing}
    process = start("train", photo_folder(train=30, test=8), *small, "--run", run, "--json", **pipe)
    os.close(writing)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert Run(run).state == "finished"
    if broken == "stdout":
        assert "Epoch 2/2" in err
        assert "Traceback" not in err
    else:
        *epochs, last = map(json.loads, out.splitlines())
        assert [row["epoch"] for row in epochs] == [1, 2]
        assert last == {**(Run(run).result or {}), "report": str(run / "report.html")}


@pytest.mark.slow
@pytest.mark.parametrize("gone", ["terminal", "disk"])
def test_a_training_continues_without_its_terminal_or_with_a_full_disk(
    gone: str,
    photo_folder: Callable[..., Path],
    tmp_path: Path,
    small: list[str],
    start: Callable[..., "subprocess.Popen[str]"],
) -> None:
    ours, theirs = pty.openpty() if gone == "terminal" else (-1, os.open("/dev/full", os.O_WRONLY))
    outputs = {"stdout": theirs, "stderr": theirs}
    process = start("train", photo_folder(train=30, test=8), *small, "--run", tmp_path / "run", **outputs)
    os.close(theirs)
    if gone == "terminal":
        assert b"photos" in os.read(ours, 100)
        os.close(ours)
    assert process.wait() == 0
    assert Run(tmp_path / "run").state == "finished"


@pytest.mark.slow
def test_a_training_with_closed_streams_finishes(
    photo_folder: Callable[..., Path], tmp_path: Path, small: list[str]
) -> None:
    words = ("train", photo_folder(train=20, test=8), *small, "--run", tmp_path / "run", "--json")
    command = shlex.join([sys.executable, "-m", "reslab", *map(str, words)])
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(f"{command} >&- 2>&-", shell=True, capture_output=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert Run(tmp_path / "run").state == "finished"


def test_the_next_commands_can_be_pasted(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    photos, folder = photo_folder("my photos", train=20, test=8), tmp_path / "it's my run"
    code, out, _ = reslab_here("train", photos, *small, "--run", folder)
    assert code == 0
    *predict, last = out.splitlines()[-1].removeprefix("next:   ").split("   ")
    assert shlex.split(*predict) == ["reslab", "predict", str(folder), "PHOTO..."]
    assert shlex.split(last) == ["reslab", "evaluate", str(folder), str(photos)]
    assert reslab_here(*shlex.split(last)[1:]).code == 0


def test_train_refuses_an_unknown_tracker_before_the_photos_are_read(
    tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    code, out, err = reslab_here("train", tmp_path / "missing", "--track", "tensorbord")
    assert (code, out) == (2, "")
    assert "there is no tracker 'tensorbord'" in err
    assert "did you mean 'tensorboard'" in err


@pytest.mark.slow
def test_train_keeps_the_tracker_in_the_run(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any], small: list[str]
) -> None:
    pytest.importorskip("tensorboard", reason='needs "reslab[tensorboard]"')
    folder = tmp_path / "run"
    code, _, err = reslab_here(
        "train", photo_folder(train=20, test=8), *small, "--run", folder, "--track", "tensorboard"
    )
    assert code == 0, err
    assert "WARNING: tensorboard" not in err
    assert Run(folder).about["tracker"] == "tensorboard"
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
