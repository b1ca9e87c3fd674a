"""Curves of a run in progress: curves.png, redrawn for at most a twentieth of the time."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from reslab import files
from reslab.errors import TrainingError
from reslab.plots.figure import SCREEN_DPI, curve_panel, draw_figure
from reslab.plots.figure_file import figure_bytes
from reslab.plots.history import History

from .run import Run

log = logging.getLogger("reslab")

PAUSE_PER_DRAWING = 20.0  # after a drawing, the pause is this many times its duration
FIRST_DRAWING_S = 0.5  # assumed before the first drawing
STOPS = (TrainingError, KeyboardInterrupt, GeneratorExit)  # after other errors nothing is drawn


class LiveCurves:
    """Context manager that keeps curves.png current: call `add_epoch` after an epoch, `refresh` after a step.

    A drawing takes as long as an epoch of a small data set, so fast epochs share one. It is made after a
    step, because time at the end of an epoch counts as the cost of every later epoch. The last drawing is
    made on exit, but not after an unexpected error. A failed drawing only logs a warning.

    Args:
        run: the run to draw. Its metrics.jsonl must contain the epochs.
        outdated: True if the run has epochs that its curves.png may lack.
    """

    def __init__(self, run: Run, *, outdated: bool = False) -> None:
        self._run, self._outdated = run, outdated
        self._due = time.monotonic() + PAUSE_PER_DRAWING * FIRST_DRAWING_S

    def __enter__(self) -> LiveCurves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self._outdated and (error is None or isinstance(error, STOPS)):
            self._draw()

    def add_epoch(self) -> None:
        """Mark curves.png as outdated; `refresh` or the exit draws it."""
        self._outdated = True

    def refresh(self) -> None:
        """Draw curves.png if it is outdated and the last drawing was long enough ago."""
        if self._outdated and time.monotonic() >= self._due:
            self._draw()

    def _draw(self) -> None:
        """Replace curves.png and set when the next drawing is due. An error is logged as a warning."""
        started = time.monotonic()
        try:
            files.write(self._run.folder / "curves.png", _figure(self._run.history))
        except Exception as error:  # noqa: BLE001  # a missing figure must not end a training
            log.warning("curves.png was not drawn: %s", error)
        ended = time.monotonic()
        self._outdated, self._due = False, ended + PAUSE_PER_DRAWING * (ended - started)


def _figure(history: History) -> bytes:
    """Return a PNG with two panels: training and validation loss, validation accuracy."""
    losses, accuracy = (history["train_loss"], history["val_loss"]), (history["val_accuracy"],)
    panels = [curve_panel(losses), curve_panel(accuracy)]
    return figure_bytes(draw_figure(panels, ""), "png", "curves", SCREEN_DPI)
