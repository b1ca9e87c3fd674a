"""Call the command line in this process or in a real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from reslab.cli.main import run

SMALL = [
    "--network",
    "cifar_resnet20",
    "--size",
    "16",
    "--resize",
    "18",
    "--batch-size",
    "8",
    "--epochs",
    "2",
    "--precision",
    "fp32",
    "--seed",
    "3",
]


class Result(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def small() -> list[str]:
    """Return flags of a training that takes a second."""
    return SMALL


@pytest.fixture
def reslab_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Call a verb in this process: reslab_here("runs", folder) -> exit code, standard output and error."""

    def call(*arguments: Any) -> Result:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Result(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a real process in its own group, which ends with the test: start("train", folder, cwd=...)."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "reslab", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        begun.append(
            subprocess.Popen(command, start_new_session=True, env=environment, **{**pipes, **options})
        )
        return begun[-1]

    yield begin
    for process in begun:
        with suppress(ProcessLookupError):  # the last of the group has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
