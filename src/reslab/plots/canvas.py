"""Canvas: the tutorial's curves, live where people look: in a notebook, in a terminal, in a file.

    canvas = Canvas()                       # or Canvas("curves.png")
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["accuracy"]], labels=["Accuracy"])

The calls are hiddenlayer's, so its tutorials run unchanged. No display is needed, pyplot is not touched.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab import files
from reslab.errors import UsageError

from . import figure as canvas_figure
from . import terminal as canvas_terminal
from .figure import Panel
from .history import History, Metric, format_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")


class Canvas:
    """Draws what was called inside `with canvas:` when that block ends, over what it drew before.

    In a notebook this is one picture a cell, updated in place. In a terminal the curves take the upper part
    of the screen; what is printed goes below them and stays until the next drawing; NO_COLOR is honoured.
    Elsewhere (a pipe, a script without a terminal) nothing is shown. With `path` (.png, .svg or .pdf) the
    picture is also written there each time, atomically: 5 x 3.6 inches a panel, 150 dots an inch, up to
    three panels side by side, more of them in rows of two.

    Raises UsageError for another suffix. Leaving the block raises OSError if the file cannot be written; if
    the block itself raises, nothing is drawn.
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

    def draw_plot(
        self, metrics: Metric | Sequence[Metric], labels: Sequence[str] | None = None, ylabel: str = ""
    ) -> None:
        """One panel of curves: values over steps, each with its last value in the legend.

        `labels` replaces the metrics' names, one each; the y axis is called `ylabel`, or after the metrics.
        Raises UsageError outside `with canvas:`, for labels that do not match, or for metrics of arrays.
        """
        chosen = (metrics,) if isinstance(metrics, Metric) else tuple(metrics)
        self._add(panel_of(chosen, labels, ylabel))

    def draw_image(self, metric: Metric, limit: int = 5) -> None:
        """The last `limit` images of a metric in a row, each under its step. Notebook and file only.

        An image is (height, width), (height, width, 3) or torch's (3, height, width). Bytes count as 0 to
        255, other numbers are stretched to their own range.

        Raises UsageError outside `with canvas:`, or for a metric that holds no images.
        """
        if not all(map(canvas_figure.is_image, metric.data)):
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
        """Writes the last drawing to a .png, .svg or .pdf file, atomically, and makes its folder if need be.

        Raises UsageError for another suffix or before the first drawing, OSError if it cannot be written.
        """
        path = _checked_path(file_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, canvas_figure.picture(self.figure, path.suffix.lower()[1:]))

    @property
    def figure(self) -> Figure:
        """The last drawing as a new matplotlib figure of your own. UsageError before the first drawing."""
        if not self._panels:
            raise UsageError("nothing has been drawn yet", do="draw inside `with canvas:` first")
        return canvas_figure.draw(self._panels, self._summary)

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
        if not self._panels:
            return
        if self.path is not None:
            self.save(self.path)
        # Who has not imported IPython is not in a notebook, and need not pay for finding out.
        shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if hasattr(shell, "kernel"):
            self._show_in_notebook(shell.execution_count)
        elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self._show_in_terminal()

    def _show_in_notebook(self, cell: int) -> None:
        from IPython.display import display

        figure = self.figure
        curves = [panel for panel in self._panels if panel.kind == "plot"]
        texts = [text for panel in curves for text in canvas_figure.legend_texts(panel)]
        bundle = {
            "image/png": base64.b64encode(canvas_figure.picture(figure, "png")).decode(),
            "text/plain": ", ".join(texts) or "no values yet",
        }
        # 150 dots an inch shown as 96: the picture has its proper size and is sharp on a fine screen too.
        width, height = (round(inches * 96) for inches in figure.get_size_inches())
        size = {"image/png": {"width": width, "height": height}}
        if self._display is None or self._cell != cell:  # another cell shows a picture of its own
            show: Any = display  # IPython is without types
            self._display, self._cell = show(bundle, raw=True, metadata=size, display_id=True), cell
        else:
            self._display.update(bundle, raw=True, metadata=size)

    def _show_in_terminal(self) -> None:
        size = shutil.get_terminal_size()
        color = not os.environ.get("NO_COLOR")
        room = size.lines - size.lines // 6  # the rest is for what is printed between the drawings
        lines = canvas_terminal.draw(self._panels, self._summary, size.columns, room, color)
        # The first picture pushes what stood on the screen into the scrollback, rather than over-write it.
        text = "" if self._on_screen else "\n" * size.lines
        text += "\x1b[H" + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J"
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
        self._on_screen = True


def panel_of(metrics: tuple[Metric, ...], labels: Sequence[str] | None = None, ylabel: str = "") -> Panel:
    """A panel of curves, see `Canvas.draw_plot`."""
    names = tuple(metric.name for metric in metrics) if labels is None else tuple(labels)
    if len(names) != len(metrics):
        raise UsageError(f"{len(names)} labels for {len(metrics)} metrics", do="give each metric one label")
    if len({type(metric.steps[0]) for metric in metrics if metric.steps}) > 1:
        raise UsageError("plain steps and (epoch, step) pairs do not fit one panel", do="draw two panels")
    for metric in metrics:
        if any(np.ndim(value) for value in metric.data):
            raise UsageError(
                f"{metric.name} holds arrays, not numbers", do="draw it by draw_image or draw_hist"
            )
    return Panel("plot", metrics, names, ylabel or canvas_figure.axis_name(metrics))


def _checked_path(path: str | os.PathLike[str]) -> Path:
    if Path(path).suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} cannot be drawn",
            "the file name tells the format",
            f"let it end in {', '.join(SUFFIXES)}",
        )
    return Path(path)
