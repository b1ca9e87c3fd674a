"""Grade a learner's file: run the exercise's check in a process of its own with a time limit."""

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

from .feedback import Verdict, quote

CHECK_TIMEOUT_S = 60.0  # correct answers take one to five seconds
IMPORT_TIMEOUT_S = 120.0  # importing torch takes minutes on a slow disk


def grade(number: int, path: Path, timeout_s: float = CHECK_TIMEOUT_S) -> Verdict:
    """Run the check of an exercise on a learner's file, in a process of its own, and return its verdict.

    A crash or an endless loop of the file gives "not solved". The file's own output is not captured.

    Args:
        number: of the exercise, a key of EXERCISES.
        path: the learner's Python file.
        timeout_s: seconds for the file and its check, without importing torch.

    Raises:
        UsageError: the file does not exist.
    """
    if not os.path.isfile(path):
        raise UsageError(
            f"there is no file {path}",
            "",
            f"reslab exercise {number} shows the task and creates a file for it",
        )
    with tempfile.TemporaryDirectory() as folder:
        result, stack = Path(folder, "verdict.json"), Path(folder, "stack.txt")
        # -P: a random.py in the current folder must not shadow the library
        command = [sys.executable, "-P", "-u", "-m", f"{__package__}.runner"]
        command += [str(number), str(path), str(timeout_s), str(result), str(stack)]
        code = _run(command, timeout_s + IMPORT_TIMEOUT_S)
        if result.exists():
            return Verdict(**json.loads(result.read_text()))
        if stack.exists() and (text := stack.read_text()):
            return Verdict("not solved", _timed_out(timeout_s, path, text))
    return Verdict("not solved", _crashed(code))


def _run(command: list[str], timeout_s: float) -> int:
    """Run a command without input and return its exit code; -9 for signal 9, and so on.

    After `timeout_s` seconds, kill it and return -9. Its children are killed in both cases.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return -signal.SIGKILL
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _timed_out(timeout_s: float, path: Path, stack: str) -> str:
    text = f"it was still running after {timeout_s:g} s"
    # faulthandler writes the innermost frame first
    frame = re.search(rf'File "{re.escape(str(path))}", line (\d+)', stack)
    return f"{text}: perhaps an endless loop\n{quote(str(path), int(frame[1]))}" if frame else text


def _crashed(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed: it used too much memory or time"
    if code < 0:
        return f"its process crashed ({signal.Signals(-code).name})"
    return f"it ended the process (exit code {code}) before the check was done: is there an os._exit()?"
