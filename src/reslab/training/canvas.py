"""Canvas: the tutorial's curves, live where people look: in a notebook, in a terminal, in a file.

    canvas = Canvas()                       # or Canvas("curves.png")
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["accuracy"]], labels=["Accuracy"])

The calls are hiddenlayer's, so its tutorials run unchanged. No display is needed, pyplot is not touched.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import files
from ..errors import UsageError
from .history import History, Metric, Step, format_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

PANEL_INCHES = (5.0, 3.6)
DOTS_PER_INCH = 150
SUFFIXES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Style:
    """How a curve looks on paper and in a terminal. No two look alike in grey or without colour."""

    color: str
    line: str
    marker: str
    terminal_color: str
    terminal_line: str
    terminal_point: str


TRAINING = (
    Style("#12456e", "-", "o", "blue+", "braille", "●"),
    Style("#3f9c9b", "-.", "^", "green+", "braille", "▲"),
    Style("#8d6bb0", "-", "v", "cyan+", "braille", "▼"),
)
VALIDATION = (
    Style("#dd7a26", "--", "s", "orange+", "·", "x"),
    Style("#a63d57", ":", "D", "magenta+", "·", "+"),
    Style("#c9a227", "--", "X", "red+", "·", "%"),
)


@dataclass(frozen=True)
class Panel:
    """One drawing call of the kind "plot", "image" or "hist"."""

    kind: str
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...]
    ylabel: str = ""
    limit: int = 5


class Canvas:
    """Draws what was called inside `with canvas:` when that block ends, over what it drew before.

    In a notebook this is one picture per cell, updated in place; in a terminal the curves take the upper part of
    the screen; elsewhere (a pipe, a script without a terminal) nothing is shown. With `path` (.png, .svg or .pdf)
    the picture is also written there each time, atomically: 5 x 3.6 inches a panel, 150 dots per inch, up to three
    panels side by side, more of them in rows of two.

    Raises UsageError for another suffix; leaving the block raises OSError if the file cannot be written. If the
    block itself raises, nothing is drawn.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else _checked_path(path)
        self._open = False
        self._panels: list[Panel] = []
        self._summary = ""
        self._display: Any = None  # the notebook's handle of the picture, and the cell that shows it
        self._cell: int | None = None
        self._on_screen = False

    def __enter__(self) -> Canvas:
        self._open, self._panels, self._summary = True, [], ""
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._open = False
        if kind is None:
            self._show()

    def draw_plot(self, metrics: Metric | Sequence[Metric], labels: Any = None, ylabel: str = "") -> None:
        """One panel of curves: values over steps, each with its last value in the legend.

        `labels` replaces the metrics' names, one each; the y axis is called `ylabel`, or after the metrics.
        Raises UsageError outside `with canvas:`, for labels that do not match, or for metrics that are no numbers.
        """
        chosen = (metrics,) if isinstance(metrics, Metric) else tuple(metrics)
        names = tuple(metric.name for metric in chosen) if labels is None else tuple(labels)
        if len(names) != len(chosen):
            raise UsageError(f"{len(names)} labels for {len(chosen)} metrics", do="give each metric one label")
        if len({type(metric.steps[0]) for metric in chosen if metric.steps}) > 1:
            raise UsageError("plain steps and (epoch, step) pairs do not fit one panel", do="draw two panels")
        for metric in chosen:
            _check_numbers(metric)
        self._add(Panel("plot", chosen, names, ylabel or _ylabel(chosen)))

    def draw_image(self, metric: Metric, limit: int = 5) -> None:
        """The last `limit` images of a metric in a row, each under its step. Notebook and file only.

        An image is (height, width) or (height, width, 3), torch's (3, height, width) too. Whole numbers are taken as
        0 to 255, others are stretched to their own range. Raises UsageError outside `with canvas:`, or for a metric
        that holds no images.
        """
        if any(np.ndim(image) not in (2, 3) for image in metric.data):
            raise UsageError(f"{metric.name} holds no images", do="numbers are drawn by draw_plot")
        self._add(Panel("image", (metric,), (metric.name,), limit=limit))

    def draw_hist(self, metric: Metric, title: str = "") -> None:
        """How the values of a metric are spread: arrays by step (the last 10), numbers over all steps.

        Notebook and file only. Raises UsageError outside `with canvas:`.
        """
        self._add(Panel("hist", (metric,), (title or metric.name,)))

    def draw_summary(self, history: History, title: str = "") -> None:
        """A line above all panels: the last step and the total time. UsageError outside `with canvas:`."""
        step = "none" if history.step is None else format_step(history.step)
        text = f"Step: {step}      Time: {str(history.get_total_time()).split('.')[0]}"
        self._check_open()
        self._summary = f"{title}\n{text}" if title else text

    def save(self, file_name: str | os.PathLike[str]) -> None:
        """Writes the last drawing to a .png, .svg or .pdf. UsageError for another suffix, OSError as it comes."""
        path = _checked_path(file_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, _picture(self.figure, path.suffix.lower()[1:]))

    @property
    def figure(self) -> Figure:
        """The last drawing as a new matplotlib figure of your own."""
        return _figure(self._panels, self._summary)

    def _add(self, panel: Panel) -> None:
        self._check_open()
        self._panels.append(panel)

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(
                "nothing can be drawn on a canvas that is not open",
                "the drawings of one `with` block make one picture",
                "with canvas:\n           canvas.draw_plot([history['train_loss'], history['val_loss']])",
            )

    def _show(self) -> None:
        if self.path is not None:
            self.save(self.path)
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if hasattr(shell, "kernel"):
            self._show_in_notebook(shell.execution_count)
        elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self._show_in_terminal()

    def _show_in_notebook(self, cell: int) -> None:
        from IPython.display import display

        figure = self.figure
        picture = base64.b64encode(_picture(figure, "png")).decode()
        values = [_legend(label, metric) for p in self._panels for label, metric in _pairs(p)]
        bundle = {"image/png": picture, "text/plain": ", ".join(values) or "no values yet"}
        # Drawn at twice the screen's resolution or so, shown at its proper size: sharp on every screen.
        width, height = (int(inches * 96) for inches in figure.get_size_inches())
        size = {"image/png": {"width": width, "height": height}}
        if self._display is None or self._cell != cell:  # another cell shows its own picture
            self._display, self._cell = display(bundle, raw=True, metadata=size, display_id=True), cell
        else:
            self._display.update(bundle, raw=True, metadata=size)

    def _show_in_terminal(self) -> None:
        from .terminal import drawing
        ...
