"""Output of the verbs: lines for people, JSON lines, and curves in the terminal."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from reslab.training.runs.run import Run


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
