"""curves.png of a run while it grows: drawn anew for no more than a twentieth of the time."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from reslab import files
from reslab.errors import TrainingError
from reslab.plots import figure as canvas_figure
from reslab.plots.canvas import panel_of
from reslab.plots.history import History

from .run import Run

log = logging.getLogger("reslab")

PAUSE = 20.0  # so many times as long as a drawing took passes before the next one
STOPS = (TrainingError, KeyboardInterrupt, GeneratorExit)  # of a training; others cannot write, or are bugs
USUAL = 0.5  # seconds of a drawing, before there was one


class Curves:
    """`with Curves(run) as curves`: `grown` at every epoch, `refresh` at every step; the rest at the end.

    A drawing costs as much as an epoch of a small set, so that epochs which follow fast on each other share
    one. It is made at a step: what is done at the end of an epoch counts as part of every epoch to come.
    `behind`: whether the run has epochs that its picture may lack.
    """

    def __init__(self, run: Run, *, behind: bool = False) -> None:
        self._run, self._behind = run, behind
        self._due = time.monotonic() + PAUSE * USUAL

    def __enter__(self) -> Curves:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._behind and (error is None or isinstance(error, STOPS)):
            self._draw()

    def grown(self) -> None:
        """The run has an epoch more."""
        self._behind = True

    def refresh(self) -> None:
        """Draws what is new, if the drawing before it was long enough ago."""
        if self._behind and time.monotonic() >= self._due:
            self._draw()

    def _draw(self) -> None:
        """A picture that cannot be drawn is a warning, and no reason to lose a run."""
        began = time.monotonic()
        try:
            files.write(self._run.folder / "curves.png", _picture(self._run.history))
        except Exception as problem:  # noqa: BLE001  # it would take the place of what ended the training
            log.warning("curves.png was not drawn: %s", problem)
        ended = time.monotonic()
        self._behind, self._due = False, ended + PAUSE * (ended - began)


def _picture(history: History) -> bytes:
    panels = [panel_of((history["train_loss"], history["val_loss"])), panel_of((history["val_accuracy"],))]
    return canvas_figure.picture(canvas_figure.draw(panels, ""), "png")
