"""The demo through the real command line, on a set that is small enough for a test."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import reslab
from reslab.cli.demo import BLOCK_FILE, COMPARISON


def reslab_demo(folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "reslab", "demo", "--folder", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_the_demo_trains_evaluates_predicts_and_names_the_files(tmp_path: Path) -> None:
    reslab.make_drawings(tmp_path / "photos", train=40, test=12, progress=False)
    for number in ("1", "2"):  # a second call trains a second run on the same drawings
        out, err = reslab_demo(tmp_path).communicate()
        run = tmp_path / "runs" / number
        assert "Traceback" not in err
        assert f"using the drawings in {tmp_path / 'photos'}" in out
        assert "12 test; 2 classes: cat, dog" in out
        assert out.count("Epoch ") == reslab.Run(run).recipe.epochs
        assert out.count(str(tmp_path / "photos" / "test" / "cat" / "000")) == 3
        for name in ("curves.png", "first_batch.jpg", "model.safetensors"):
            assert (run / name).is_file()
            assert name in out
        assert reslab.Run(run).state == "finished"
    last_screen = out[out.index("12 test drawings are classified correctly") :]
    assert last_screen.count("\n") < 25
    pasted = [line[3:] for line in last_screen.splitlines() if line.startswith("   ")]
    verbs = [words[words.index("reslab") + 1] for words in map(shlex.split, pasted)]
    assert verbs == ["report", "walk", "explain", "exercise", "compare", "compare", "compare", "train"]
    for command in pasted[:2]:  # tests/test_docs.py runs the others, which are on docs/next.md
        done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "walk.html").is_file()


def test_the_page_shows_the_commands_of_the_last_screen() -> None:
    page = Path(__file__).parents[2].joinpath("docs/next.md").read_text(encoding="utf-8")
    assert f"$ reslab compare reslab-demo/photos basic {BLOCK_FILE}:MyBlock {COMPARISON}\n" in page
    assert f"$ reslab compare --new {BLOCK_FILE}\n" in page


@pytest.mark.slow
def test_an_interrupted_demo_names_the_command_to_resume(tmp_path: Path) -> None:
    reslab.make_drawings(tmp_path / "photos", train=200, test=12, progress=False)
    with reslab_demo(tmp_path) as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("Epoch 1/"):
                demo.send_signal(signal.SIGINT)
    run = tmp_path / "runs" / "1"
    assert demo.returncode == 130
    assert f"to resume: reslab resume {run}" in "".join(lines)
    assert reslab.Run(run).state == "interrupted"


@pytest.mark.slow
def test_a_demo_interrupted_while_drawing_keeps_no_file(tmp_path: Path) -> None:
    with reslab_demo(tmp_path) as demo:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
            time.sleep(0.05)
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate()
    assert demo.returncode == 130
    assert "no drawings were kept" in out
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_read_only_folder_gives_a_message(small_disk: Callable[..., Path]) -> None:
    disk = small_disk("ro")
    with reslab_demo(disk / "demo") as demo:
        _, err = demo.communicate()
    assert demo.returncode == 2
    assert err.startswith(f"error: the drawings cannot be written to {disk / 'demo' / 'photos'}")
    assert "Traceback" not in err
