"""Compiled training steps give the same training, and are chosen only if they save time."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import reslab
from reslab import Recipe, Run
from reslab.evaluation.classifier import Classifier
from reslab.networks.precision import FP32, PRECISIONS, UNCOMPILED, Precision, parse_precision
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import start_run
from reslab.training.timing.timed_steps import (
    EXPECTED_COMPILE_S,
    MAX_TIMING_FRACTION,
    compiled_step_seconds,
)

CPU = torch.device("cpu")
COMPILED = Precision(compiled=True)


class Tiny(nn.Module):
    """A network that is compiled in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.features(x)).mean((2, 3)))


@pytest.fixture
def compiler(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide a compiler with an empty cache."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler, but g++ is not installed")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
    torch.compiler.reset()


@pytest.fixture
def recipe(small: Recipe) -> Recipe:
    """A recipe with an average, a frozen part and a smaller last batch."""
    return small.with_settings(weight_averaging=0.9, freeze=("features",))


def trained(photos: Path, recipe: Recipe, run: Path, stop_after: int | None = None) -> Run:
    torch.manual_seed(0)
    network = Tiny()
    started = start_run(photos, network, recipe, weights=None, run=run, progress=False, say=str)
    for epoch in train_epochs(started, network=network, progress=False, say=str):
        if epoch.epoch == stop_after:
            return started
    return started


def test_every_precision_has_a_compiled_variant() -> None:
    assert len(PRECISIONS) == 2 * len(UNCOMPILED)
    for name in UNCOMPILED:
        assert str(parse_precision(f"{name}+compiled")) == f"{name}+compiled"
    assert parse_precision("bf16+channels_last+compiled") == Precision("bf16", True, True)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_a_compiled_training_equals_the_plain_one_and_resumes_to_the_same_weights(
    recipe: Recipe, photo_folder: Callable[..., Path], tmp_path: Path, outcome: Callable[[Run], Any]
) -> None:
    photos = photo_folder(train=44, test=8)
    plain = trained(photos, recipe, tmp_path / "plain")
    compiled = recipe.with_settings(precision="fp32+compiled")
    run = trained(photos, compiled, tmp_path / "compiled")
    for one, other in zip(plain.rows, run.rows, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)
    weights = [Classifier.load(each.folder, network=Tiny()).network.state_dict() for each in (plain, run)]
    assert list(weights[0]) == list(weights[1]) == list(Tiny().state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], rtol=1e-2, atol=2e-3)

    stopped = trained(photos, compiled, tmp_path / "stopped", stop_after=1)
    torch.compiler.reset()  # as in a new process
    finished = reslab.resume(stopped, network=Tiny(), progress=False, say=str)
    assert outcome(finished) == outcome(run)


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_only_full_batches_are_compiled(recipe: Recipe) -> None:
    seen: list[int] = []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not torch.compiler.is_compiling():
                seen.append(len(x))
            return self.fc(x.mean((2, 3)))

    network = Counting()
    forward = COMPILED.forward(network, 8)
    for count in (8, 5, 8, 9):
        images = torch.randn(count, 3, 4, 4)
        torch.testing.assert_close(forward(images), network.fc(images.mean((2, 3))))
    assert seen == [5, 9]
    copied = copy.deepcopy(network)
    assert list(copied.state_dict()) == ["fc.weight", "fc.bias"]
    assert FP32.forward(network, 8) is network


WITHOUT_COMPILER = """
import sys, torch, reslab
from reslab.errors import RecipeError
from reslab.networks.precision import FP32
from reslab.training.timing.timed_steps import compiled_step_seconds

network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2))
recipe = reslab.Recipe(size=16, batch_size=8, progressive_resizing=False, device="cpu")
for precision in ("fp32+compiled", "bf16+compiled"):
    try:
        next(reslab.fit(network, sys.argv[1], recipe.with_settings(precision=precision), progress=False))
    except RecipeError as error:
        print(error)
images, cpu = torch.randn(8, 3, 16, 16), torch.device("cpu")
print(compiled_step_seconds(network, recipe, FP32, cpu, images, seconds=1, steps=1e9))
"""


@pytest.mark.slow
def test_without_a_compiler_a_compiled_precision_is_refused_and_auto_compiles_nothing(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """In fp32 the error comes from the backward pass: the forward pass of this network needs no compiler."""
    environment = os.environ | {
        "CXX": "no-such-compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"),
    }
    command = [
        sys.executable,
        "-c",
        WITHOUT_COMPILER,
        str(photo_folder(train=20)),
    ]  # torch remembers its compiler
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    *lines, auto = done.stdout.splitlines()
    assert auto == "None", done.stderr[-2000:]
    for precision, (what, why, do) in (("fp32", lines[:3]), ("bf16", lines[3:])):
        assert what.endswith(f"cannot be compiled here, as precision {precision}+compiled requires")
        assert "no-such-compiler" in why
        assert do.startswith(f"  do:  use precision {precision}, or install what torch.compile needs: a C++")


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_steps_are_compiled_if_that_shortens_a_long_run(small: Recipe) -> None:
    images = torch.randn(8, 3, 16, 16)

    def compiled(seconds: float, steps: float) -> float | None:
        return compiled_step_seconds(Tiny(), small, FP32, CPU, images, seconds=seconds, steps=steps)

    assert compiled(seconds=1e3, steps=1e6) is not None  # any compiled step is faster
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    assert compiled(seconds=1e-9, steps=1e15) is None  # no compiled step is faster
    torch._dynamo.utils.counters.clear()
    assert compiled(seconds=1.0, steps=EXPECTED_COMPILE_S / MAX_TIMING_FRACTION - 1) is None
    assert not torch._dynamo.utils.counters["stats"]  # the run is too short to try it
