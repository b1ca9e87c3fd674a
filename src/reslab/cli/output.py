"""Output of the verbs: lines for people, JSON lines, and curves in the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from reslab.training.runs.run import Run


def discard(stream: TextIO) -> None:
    """Redirect `stream` to /dev/null and drop buffered output: its reader has closed it."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def write_line(text: str, stream: TextIO) -> None:
    """Write a line above the progress bars. If it cannot be written, discard it and all later ones.

    A training continues when its terminal is closed or the disk of its log is full.
    """
    from tqdm import tqdm

    try:
        tqdm.write(text, file=stream)
        stream.flush()
    except OSError:
        discard(stream)


def tell(text: str) -> None:
    """Write a message for people to standard error, with escape sequences made visible."""
    from reslab.text import printable

    write_line("\n".join(map(printable, text.split("\n"))), sys.stderr)


def show_curves(run: Run) -> None:
    """Draw the curves of a run as text if standard output is a terminal."""
    if not sys.stdout.isatty() or not run.rows:
        return
    from reslab.plots.canvas import Canvas

    history = run.history
    canvas = Canvas()
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["val_accuracy"]])
