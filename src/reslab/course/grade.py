"""The check of an exercise on the reader's file, in a process of its own and with a time limit."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from reslab.errors import UsageError

from .exercises import EXERCISES
from .feedback import Verdict, quote

SECONDS = 60.0  # that a check may take; the right answers take one to five
IMPORT_SECONDS = 120.0  # for torch, which comes first; minutes on a slow disk


def judge(number: int, path: Path, seconds: float = SECONDS) -> Verdict:
    """Whether the file at `path` solves the exercise. What the reader's code prints is printed.

    Raises UsageError if there is no such exercise or no such file.
    """
    if number not in EXERCISES:
        raise UsageError(
            f"there is no exercise {number}",
            f"there are {len(EXERCISES)}, one for each chapter",
            f"give a number from 1 to {len(EXERCISES)}",
        )
    if not os.path.isfile(path):
        raise UsageError(
            f"there is no file {path}",
            "",
            f"reslab exercise {number} says what to write, and starts it for you",
        )
    with tempfile.TemporaryDirectory() as folder:
        verdict, hanging = Path(folder, "verdict"), Path(folder, "hanging")
        arguments = [str(number), str(path), str(seconds), str(verdict), str(hanging)]
        # -P: what stands in the present folder, a random.py say, must not be taken for a library
        command = [sys.executable, "-P", "-u", "-m", f"{__package__}.inside", *arguments]
        code = _run(command, seconds + IMPORT_SECONDS)
        if verdict.exists():
            return Verdict(**json.loads(verdict.read_text()))
        if hanging.exists() and (where := hanging.read_text()):
            return Verdict("not solved", _too_slow(seconds, path, where))
    return Verdict("not solved", _crashed(code))


def _run(command: list[str], seconds: float) -> int:
    """The exit code, negative for a signal. Nothing of the process survives this call."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _too_slow(seconds: float, path: Path, where: str) -> str:
    """faulthandler writes the innermost line first."""
    text = f"it was still at work after {seconds:g} s"
    lines = re.findall(rf'File "{re.escape(str(path))}", line (\d+)', where)
    if not lines:
        return text
    return f"{text}: an endless loop, perhaps\n{quote(str(path), int(lines[0]))}"


def _crashed(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed: it took more memory or time than there is"
    if code < 0:
        return f"its process crashed ({signal.Signals(-code).name})"
    return f"it ended the process (exit code {code}) before the check was done: is there an os._exit()?"
