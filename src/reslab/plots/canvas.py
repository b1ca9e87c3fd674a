"""Canvas: training curves that are redrawn in a notebook, a terminal or a file.

    canvas = Canvas()                       # or Canvas("curves.png")
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["accuracy"]], labels=["Accuracy"])

The calls are hiddenlayer's, so its tutorials run unchanged. It needs no display and does not use pyplot.
"""

from __future__ import annotations

import base64
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reslab import files
from reslab.errors import UsageError

from .figure import SCREEN_DPI, Panel, curve_panel, draw_figure, is_image, legend_texts
from .figure_file import check_suffix, figure_bytes
from .history import History, Metric, format_step
from .terminal import draw_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Canvas:
    """Panels of curves, images and histograms, redrawn at the end of every `with canvas:` block.

    A notebook shows one figure per cell, updated in place. A terminal shows the curves in its upper part;
    printed lines appear below them. NO_COLOR is respected. A pipe and a dumb terminal show nothing. Nor does
    a block without panels, or one that ends with an error.

    Args:
        path: .png, .svg or .pdf file that is also written at the end of every block, atomically. A panel has
            5 x 3.6 inches at 150 dpi; up to three panels are side by side, more in rows of two.

    Raises:
        UsageError: the path has another suffix.
        OSError: at the end of a block, if the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else check_suffix(path)
        self._open = False
        self._panels: list[Panel] = []
        self._summary = ""
        self._display: Any = None  # handle of the figure in the notebook
        self._cell: int | None = None  # number of the cell that shows it
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
        """Add a panel of curves over steps. The legend shows each metric's last value.

        Args:
            metrics: one or more metrics of numbers, as in history["train_loss"].
            labels: names in the legend, one for each metric; by default the metrics' names.
            ylabel: name of the y axis; by default "loss" or "accuracy" if all names end so, else the name of
                a single metric, else "value".

        Raises:
            UsageError: outside a `with canvas:` block, for labels that do not match, for metrics that hold
                arrays, or for plain steps and (epoch, step) pairs in one panel.
        """
        chosen = (metrics,) if isinstance(metrics, Metric) else tuple(metrics)
        self._add(curve_panel(chosen, labels, ylabel))

    def draw_image(self, metric: Metric, limit: int = 5) -> None:
        """Add a row of images, with the step above each. A terminal does not show it.

        Args:
            metric: holds images (H, W), (H, W, C) or (C, H, W), C is 1, 3 or 4. uint8 values are 0 to 255;
                other values are scaled to the image's own range, with NaN and infinity as 0.
            limit: number of images, the latest ones.

        Raises:
            UsageError: outside a `with canvas:` block, or for a metric whose values are not all images.
        """
        if not all(map(is_image, metric.data)):
            raise UsageError(f"{metric.name} holds no images", do="draw numbers with draw_plot")
        self._add(Panel("image", (metric,), (metric.name,), limit=limit))

    def draw_hist(self, metric: Metric, title: str = "") -> None:
        """Add a histogram. A terminal does not show it.

        Args:
            metric: numbers give one histogram over all steps; arrays give one for each of the last 10 steps.
                NaN and infinity are left out.
            title: of the panel; by default the metric's name.

        Raises:
            UsageError: outside a `with canvas:` block.
        """
        self._add(Panel("hist", (metric,), (title or metric.name,)))

    def draw_summary(self, history: History, title: str = "") -> None:
        """Set the text above all panels: the last step and the total time of `history`, below `title`.

        An earlier text is replaced. A block with no panel shows none.

        Raises:
            UsageError: outside a `with canvas:` block.
        """
        step = "none" if history.step is None else format_step(history.step)
        text = f"Step: {step}      Time: {str(history.get_total_time()).split('.')[0]}"
        self._check_open()
        self._summary = f"{title}\n{text}" if title else text

    def save(self, file_name: str | os.PathLike[str]) -> None:
        """Write the last drawing to a .png, .svg or .pdf file, atomically. Make its folder if needed.

        An existing file is replaced.

        Raises:
            UsageError: the path has another suffix, or there is no panel yet.
            OSError: the file cannot be written.
        """
        path = check_suffix(file_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, figure_bytes(self.figure, path.suffix.lower()[1:], "curves", SCREEN_DPI))

    @property
    def figure(self) -> Figure:
        """New matplotlib figure of the panels of the last block, or of the open one so far.

        Raises:
            UsageError: there is no panel yet.
        """
        if not self._panels:
            raise UsageError("nothing has been drawn yet", do="draw inside `with canvas:` first")
        return draw_figure(self._panels, self._summary)

    def _add(self, panel: Panel) -> None:
        self._check_open()
        self._panels.append(panel)

    def _check_open(self) -> None:
        if not self._open:
            raise UsageError(
                "the canvas is not open",
                "the panels of one `with` block make one figure",
                "with canvas:\n           canvas.draw_plot([history['train_loss'], history['val_loss']])",
            )

    def _show(self) -> None:
        if not self._panels:
            return
        if self.path is not None:
            self.save(self.path)
        # a notebook has imported IPython already; elsewhere the import would cost time
        shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
        if hasattr(shell, "kernel"):
            self._show_in_notebook(shell.execution_count)
        elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            self._show_in_terminal()

    def _show_in_notebook(self, cell: int) -> None:
        from IPython.display import display

        figure = self.figure
        curves = [panel for panel in self._panels if panel.kind == "plot"]
        texts = [text for panel in curves for text in legend_texts(panel)]
        bundle = {
            "image/png": base64.b64encode(figure_bytes(figure, "png", "curves", SCREEN_DPI)).decode(),
            "text/plain": ", ".join(texts) or "no values yet",
        }
        # browsers count 96 pixels an inch; the PNG has more, so that it is sharp on high-density screens
        width, height = (round(inches * 96) for inches in figure.get_size_inches())
        size = {"image/png": {"width": width, "height": height}}
        if self._display is None or self._cell != cell:
            show: Any = display  # IPython has no types
            self._display, self._cell = show(bundle, raw=True, metadata=size, display_id=True), cell
        else:
            self._display.update(bundle, raw=True, metadata=size)

    def _show_in_terminal(self) -> None:
        size = shutil.get_terminal_size()
        color = not os.environ.get("NO_COLOR")
        max_lines = size.lines - size.lines // 6  # the rest is for lines printed between two drawings
        lines = draw_lines(self._panels, self._summary, size.columns, max_lines, color)
        # the first drawing scrolls earlier output up instead of overwriting it
        text = "" if self._on_screen else "\n" * size.lines
        text += "\x1b[H" + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J"
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
        self._on_screen = True
