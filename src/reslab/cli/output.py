"""Output of the verbs: lines for people, JSON lines, curves, and a question before something long."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from reslab.errors import UsageError

if TYPE_CHECKING:
    from reslab.training.runs.run import Run

ASK_FROM_S = 600.0  # something longer is started only after a yes


def discard(stream: TextIO) -> None:
    """Redirect the file of `stream` to the null device, so that buffered and later output is lost silently.

    Args:
        stream: an output whose reader has closed it, or whose disk is full.
    """
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def write_line(text: str, stream: TextIO) -> None:
    """Write `text` and a line break to `stream`, above tqdm's progress bars, and flush it.

    If that fails, discard the text and all later output of `stream`, without an error: a training continues
    when its terminal is closed or the disk of its log is full.
    """
    from tqdm import tqdm

    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except OSError:
        discard(stream)


def tell(text: str) -> None:
    """Write a message for people to standard error, with control characters escaped except line breaks.

    A failure is ignored, as in `write_line`.
    """
    from reslab.text import printable

    write_line("\n".join(map(printable, text.split("\n"))), sys.stderr)


def check_writable(flag: str, path: Path) -> None:
    """Raise UsageError if the file that a flag names cannot be written."""
    from reslab.files import is_writable_folder

    if os.path.isdir(path) or not is_writable_folder(path.parent):
        raise UsageError(
            f"{flag} {path} cannot be written",
            "it is a folder"
            if os.path.isdir(path)
            else f"{path.parent} is not a folder that you can write to",
            "give a file in a folder that exists",
        )


def announce(estimate: tuple[float, str], command: str, *, yes: bool, say: Callable[[str], Any]) -> None:
    """Print how long something takes, and ask on a terminal whether to start it if that is long.

    Args:
        estimate: seconds, and text for people; with 0 seconds nothing is printed.
        command: shell command that starts it later.
        yes: start without asking.
        say: called with each line of text for people.

    Raises:
        UsageError: the answer is no, or there is no terminal.
    """
    seconds, text = estimate
    if seconds:
        say(text)
    if yes or seconds <= ASK_FROM_S:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"this comparison takes {seconds / 60:.0f} minutes",
            f"over {ASK_FROM_S / 60:.0f} minutes it starts only after a yes",
            "add --yes",
        )
    print("start? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not started", "", f"start it later: {command}")


def show_curves(run: Run) -> None:
    """Print the loss curves of a run, and its val accuracy, as text graphics.

    Do nothing if standard output is not a terminal, or if no epoch is finished.
    """
    if not sys.stdout.isatty() or not run.rows:
        return
    from reslab.plots.canvas import Canvas

    history = run.history
    canvas = Canvas()
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["val_accuracy"]])
