"""The command line in this process, and a real process of it."""

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


class Said(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def small() -> list[str]:
    """Flags of a training that takes a second."""
    return SMALL


@pytest.fixture
def reslab_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """reslab_here("runs", folder) -> exit code, standard output, standard error; in this process."""

    def call(*arguments: Any) -> Said:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return call


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """start("train", folder, cwd=...) -> a real process in a group of its own, which ends with the test."""
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
