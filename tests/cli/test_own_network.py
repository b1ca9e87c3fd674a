"""Networks from a user's file and from timm, on the command line."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reslab
from reslab.cli.main import run
from reslab.errors import CodeNeededError, NetworkError

BLOCK = """
from helper import KERNEL
from torch import nn


class MyBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, KERNEL, stride, KERNEL // 2)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x):
        return (self.conv(x) + self.skip(x)).relu()

    def zero_init_residual(self):
        nn.init.zeros_(self.conv.weight)


def build(num_classes, in_channels=1):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(4, num_classes))
"""
NAME = "cifar_resnet20:my block.py:MyBlock"


def write_block(folder: Path) -> None:
    (folder / "my block.py").write_text(BLOCK)
    (folder / "helper.py").write_text("KERNEL = 3\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a block from a file. Return the folder of the file, the photos and the run."""
    folder = tmp_path_factory.mktemp("own")
    write_block(folder)
    reslab.make_drawings(folder / "photos", train=20, test=8, size=32, progress=False)
    flags = "--size 16 --resize 18 --batch-size 8 --epochs 1 --precision fp32 --zero-init-residual"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = ["train", "photos", "--network", NAME, "--stem", "small", "--run", "runs/a"]
        assert run([*words, *flags.split()]) == 0
    return folder


@pytest.fixture(autouse=True)
def as_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reslab.networks.user_code._loaded", {})


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_a_run_of_a_file_is_listed_and_keeps_the_source(
    folder: Path, reslab_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert NAME in reslab_here("runs").out
    about = json.loads((folder / "runs/a/run.json").read_text())
    assert about["spec"]["code"]["sources"] == {"my block.py": BLOCK, "helper.py": "KERNEL = 3\n"}
    assert f"--network {shlex.quote(NAME)}" in reslab_here("resume", "runs/a").out.splitlines()[-1]


def pasted(words: list[str], error: str) -> list[str]:
    """Return the words after `reslab` of the command that the error shows."""
    command = shlex.split(error.rpartition("name the file again: ")[2].strip())
    assert command == ["reslab", *words, "--network", NAME]
    return command[1:]


@pytest.mark.parametrize(
    "words",
    [
        "predict runs/a photos/test/cat/0000.jpg",
        "predict runs/a/model.safetensors photos/test --json",
        "evaluate runs/a photos",
        "walk runs/a photos/test/cat/0000.jpg -o page.html",
        "explain runs/a photos/test/cat/0000.jpg -o heat.html",
        "show runs/a",
        "resume runs/a",
    ],
)
def test_the_error_shows_the_command_that_works(
    words: str, folder: Path, reslab_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "runs/a/result.json").unlink()  # so that there is something to resume
    refused = reslab_here(*words.split())
    assert refused.code == 2
    assert "from a file of your own" in refused.err
    done = reslab_here(*pasted(words.split(), refused.err))
    assert done.code == 0, done.err
    assert done.out


@pytest.mark.slow
def test_the_pasted_command_works_in_a_new_process(
    folder: Path, reslab_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["predict", "runs/a", "photos/test/cat/0000.jpg", "--json"]
    command = [sys.executable, "-m", "reslab", *pasted(words, reslab_here(*words).err)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["label"] in ("cat", "dog")


@pytest.mark.parametrize("network", ["my block.py:MyBlock", NAME])
def test_the_file_alone_names_the_network(
    network: str, folder: Path, reslab_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = reslab_here("predict", "runs/a", "photos/test", "--network", network, "--json")
    assert done.code == 0
    assert len(done.out.splitlines()) == 8
    done = reslab_here("walk", NAME, "photos/test/cat/0000.jpg", "-o", "page.html")
    assert (done.code, "layer3.2" in done.out) == (0, True)
    done = reslab_here("show", NAME)
    assert (done.code, "MyBlock" in done.out) == (0, True)


@pytest.mark.parametrize(("file", "old", "new"), [("my block.py", "relu", "tanh"), ("helper.py", "3", "5")])
@pytest.mark.parametrize("verb", ["predict", "resume"])
def test_a_changed_file_is_refused_with_its_difference(
    verb: str, file: str, old: str, new: str, folder: Path, reslab_here: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(folder)
    (folder / "runs/a/result.json").unlink()
    text = (folder / file).read_text()
    (folder / file).write_text(text.replace(old, new))
    photo = ["photos/test/cat/0000.jpg"] if verb == "predict" else []
    done = reslab_here(verb, "runs/a", *photo, "--network", "my block.py:MyBlock")
    assert done.code == 2
    assert f"why: {file} has changed" in done.err
    changed = next(line for line in text.splitlines() if old in line)
    assert f"    -{changed}" in done.err
    assert f"    +{changed.replace(old, new)}" in done.err
    (folder / file).write_text(text)
    done = reslab_here(verb, "runs/a", *photo, "--network", "my block.py:MyBlock")
    assert done.code == 0, done.err


def test_another_network_is_refused(folder: Path, reslab_here: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(folder)
    for network in ("resnet18:my block.py:MyBlock", "cifar_resnet20", "my block.py:build"):
        done = reslab_here("predict", "runs/a", "photos/test", "--network", network)
        assert done.code == 2
        assert "not" in done.err


def test_the_process_that_trained_a_file_needs_no_name(
    tmp_path: Path, photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_block(tmp_path)
    monkeypatch.chdir(tmp_path)
    photos = photo_folder(train=20, test=8)
    recipe = reslab.Recipe(epochs=1, size=16, batch_size=8, precision="fp32")
    trained = reslab.train(photos, "my block.py:build", recipe, progress=False, say=str)
    assert trained.folder.name.endswith("-my block.py-build")
    assert trained.classifier.preprocess.channels == 1
    assert len(list(trained.classifier.predict_all([photos / "test"]))) == 1
    assert reslab.load(trained.folder, network="my block.py:build", device="cpu").spec == trained.spec

    monkeypatch.setattr("reslab.networks.user_code._loaded", {})  # as in another process
    with pytest.raises(CodeNeededError, match=r"reslab.load\('.*', network='my block.py:build'\)"):
        _ = trained.classifier
    (trained.folder / "result.json").unlink()
    with pytest.raises(CodeNeededError, match=r"reslab.resume\('.*', network='my block.py:build'\)"):
        reslab.resume(trained, progress=False, say=str)
    (tmp_path / "helper.py").write_text("KERNEL = 5\n")
    with pytest.raises(NetworkError, match="helper.py has changed"):
        reslab.resume(trained, network="my block.py:build", progress=False, say=str)
    (tmp_path / "helper.py").write_text("KERNEL = 3\n")
    resumed = reslab.resume(trained, network="my block.py:build", progress=False, say=str)
    assert resumed.state == "finished"


def test_a_module_that_was_trained_may_be_named_by_its_file(
    tmp_path: Path, photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_block(tmp_path)
    monkeypatch.chdir(tmp_path)
    module = reslab.create_network("my block.py:build", 2, in_channels=3)
    recipe = reslab.Recipe(epochs=1, size=16, batch_size=8, precision="fp32")
    run = reslab.train(photo_folder(train=20), module, recipe, progress=False, say=str)
    classifier = reslab.load(run.folder, network="my block.py:build", device="cpu")
    weights = classifier.network.state_dict()
    assert all((weights[name] == tensor).all() for name, tensor in module.state_dict().items())


@pytest.mark.slow
def test_a_network_of_timm_is_trained_and_predicts(
    photo_folder: Callable[..., Path], tmp_path: Path, reslab_here: Callable[..., Any]
) -> None:
    flags = ["--size", "32", "--batch-size", "8", "--epochs", "1", "--precision", "fp32"]
    run = tmp_path / "run"
    done = reslab_here("train", photo_folder(train=20), "--network", "timm:resnet10t", *flags, "--run", run)
    assert done.code == 0, done.err
    done = reslab_here("predict", run, photo_folder("more", train=4), "--json")
    assert done.code == 0, done.err
    assert json.loads((run / "run.json").read_text())["network"] == "timm:resnet10t"
    assert json.loads((run / "environment.json").read_text())["timm"]


def test_without_timm_the_error_names_the_extra(reslab_here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from reslab.networks.libraries import library_networks

    library_networks.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    done = reslab_here("show", "timm:resnet18")
    assert done.code == 2
    assert 'pip install "reslab[timm]"' in done.err
