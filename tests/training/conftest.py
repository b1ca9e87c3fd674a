"""A finished run for tests that only read it, and processes that can be killed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rough_machine import RoughMachine, ready, run_results

import reslab
from reslab import Recipe, Run

SETTINGS = {"epochs": 2, "size": 16, "resize": 18, "batch_size": 8, "precision": "fp32", "seed": 3}


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoughMachine]:
    """Trains in processes that can be killed and whose calls can be made to fail."""
    machine = ready(tmp_path_factory.mktemp("rough-machine"))
    if isinstance(machine, str):
        pytest.skip(machine)
    with machine:
        yield machine


@pytest.fixture
def small() -> Recipe:
    """A recipe that trains in a second."""
    return Recipe(**SETTINGS)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of cifar_resnet20. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("finished")
    for i in range(32):
        noise = np.random.default_rng(i).normal((170, 90, 60) if i % 2 else (60, 90, 170), 40, (20, 24, 3))
        path = folder / "photos" / ("train" if i < 24 else "test") / ("red" if i % 2 else "blue") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)
    lines: list[str] = []
    run = reslab.train(
        folder / "photos",
        "cifar_resnet20",
        Recipe(**SETTINGS, cache=False),
        run=folder / "run",
        progress=False,
        say=lines.append,
    )
    (folder / "lines").write_text("\n".join(lines))
    return run


@pytest.fixture
def in_child(
    finished: Run,
) -> Callable[..., int]:  # `finished` has imported everything, which makes a fork fast
    """in_child(work, die_at=7): exit code of a process that does `work` and is killed at its 7th act.

    An act is an fsync or a rename. Killed means SIGKILL, before the act: the exit code is then -9.
    """

    def run(work: Callable[[], Any], die_at: int | None = None) -> int:
        process = os.fork()
        if process:
            return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        code = 1
        try:
            torch.set_num_threads(1)  # a forked process has one thread
            if die_at is not None:
                die_at_act(die_at)
            work()
            code = 0
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
        finally:
            os._exit(code)

    return run


def die_at_act(number: int) -> None:
    """Let this process kill itself before its `number`th fsync or rename."""
    done = 0

    def counted(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            if done == number:
                os.kill(os.getpid(), 9)
            return act(*args, **kwargs)

        return call

    for name in ("fsync", "replace", "rename"):
        setattr(os, name, counted(getattr(os, name)))


@pytest.fixture
def outcome() -> Callable[[Run | Path], dict[str, Any]]:
    """outcome(run): all results of a run except times and paths, see `run_results`."""
    return lambda run: run_results(run.folder if isinstance(run, Run) else run)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Use one thread: results depend on the number, and a forked process has one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
