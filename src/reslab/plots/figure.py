"""Draw panels of curves, images and histograms with matplotlib; styles and labels for the terminal, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reslab.errors import UsageError

from .history import Metric, format_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

PANEL_INCHES = (5.0, 3.6)
SCREEN_DPI = 150
IMAGE_CHANNELS = (1, 3, 4)


@dataclass(frozen=True)
class Style:
    """Color, line and marker of a curve, for matplotlib and for plotext (`terminal_`).

    Styles differ in gray and without color, too.
    """

    color: str
    line: str
    marker: str
    terminal_color: str
    terminal_line: str
    terminal_point: str


TRAINING_STYLES = (
    Style("#12456e", "-", "o", "blue+", "braille", "●"),
    Style("#3f9c9b", "-.", "^", "green+", "braille", "▲"),
    Style("#8d6bb0", "-", "v", "cyan+", "braille", "▼"),
)
VALIDATION_STYLES = (
    Style("#dd7a26", "--", "s", "orange+", "·", "x"),
    Style("#a63d57", ":", "D", "magenta+", "·", "+"),
    Style("#c9a227", "--", "X", "red+", "·", "%"),
)


@dataclass(frozen=True)
class Panel:
    """Panel of a canvas.

    Attributes:
        kind: "plot", "image" or "hist".
        metrics: the curves of a plot; one metric for other kinds.
        labels: names in the legend, one for each curve; for other kinds the title.
        ylabel: name of a plot's y axis.
        limit: largest number of images, the latest ones.
    """

    kind: str
    metrics: tuple[Metric, ...]
    labels: tuple[str, ...]
    ylabel: str = ""
    limit: int = 5


def curve_panel(metrics: tuple[Metric, ...], labels: Sequence[str] | None = None, ylabel: str = "") -> Panel:
    """Return a panel of curves. Arguments and errors are those of `Canvas.draw_plot`."""
    names = tuple(metric.name for metric in metrics) if labels is None else tuple(labels)
    if len(names) != len(metrics):
        raise UsageError(f"{len(names)} labels for {len(metrics)} metrics", do="give each metric one label")
    if len({type(metric.steps[0]) for metric in metrics if metric.steps}) > 1:
        raise UsageError("plain steps and (epoch, step) pairs do not fit one panel", do="draw two panels")
    for metric in metrics:
        if any(np.ndim(value) for value in metric.data):
            raise UsageError(
                f"{metric.name} holds arrays, not numbers", do="draw it with draw_image or draw_hist"
            )
    return Panel("plot", metrics, names, ylabel or _default_ylabel(metrics))


def _default_ylabel(metrics: Sequence[Metric]) -> str:
    for word in ("loss", "accuracy"):
        if metrics and all(metric.name.endswith(word) for metric in metrics):
            return word
    return metrics[0].name if len(metrics) == 1 else "value"


def legend_texts(panel: Panel) -> list[str]:
    """Return each curve's label with its last value, "–" if it has none."""
    return [_legend_text(*pair) for pair in zip(panel.labels, panel.metrics, strict=True)]


def _legend_text(label: str, metric: Metric) -> str:
    if not len(metric.data):
        return f"{label}  –"
    last = float(metric.data[-1])
    return f"{label}  {last:.4f}" if last == 0 or 1e-3 <= abs(last) < 1e4 else f"{label}  {last:.3g}"


def styles(metrics: Sequence[Metric]) -> list[Style]:
    """Return a style for each metric, of VALIDATION_STYLES if its name is of validation or test.

    Such names start with "val" or "test", or end with "_val". After three metrics of a kind styles repeat.
    """
    training, validation = cycle(TRAINING_STYLES), cycle(VALIDATION_STYLES)
    return [
        next(
            validation if m.name.lower().startswith(("val", "test")) or m.name.endswith("_val") else training
        )
        for m in metrics
    ]


def x_positions(metrics: Sequence[Metric]) -> tuple[list[NDArray[Any]], list[str], str]:
    """Return where the steps of metrics lie on the x axis.

    Returns:
        The x positions of each metric's values; names of the positions 0, 1, ... if the steps are pairs, else
        []; and the name of the axis: "epoch:step", "epoch" for up to 1,000 consecutive ints, else "step".
    """
    steps = sorted({step for metric in metrics for step in metric.steps})
    if any(isinstance(step, tuple) for step in steps):
        # the length of an epoch is unknown, so the pairs have equal distances
        index = {step: position for position, step in enumerate(steps)}
        positions = [np.array([index[step] for step in metric.steps], float) for metric in metrics]
        return positions, [format_step(step) for step in steps], "epoch:step"
    numbers = [step for step in steps if isinstance(step, int)]
    consecutive = len(numbers) <= 1000 and (not numbers or numbers[-1] - numbers[0] == len(numbers) - 1)
    return [np.array(metric.steps, float) for metric in metrics], [], "epoch" if consecutive else "step"


def marker_indices(values: NDArray[Any], max_markers: int) -> list[int]:
    """Return the indices of the values to mark: about `max_markers`, isolated ones and the last one.

    NaN and infinity have no marker.
    """
    finite = np.concatenate([[False], np.isfinite(values), [False]])
    marked = finite[1:-1] & ~finite[:-2] & ~finite[2:]
    every = max(1, math.ceil(len(values) / max_markers))
    marked[::every] |= finite[1:-1][::every]
    marked[-1:] = finite[-2:-1]
    return [int(index) for index in np.flatnonzero(marked)]


def panels_per_row(panels: int) -> int:
    return panels if panels <= 3 else 2


def draw_figure(panels: Sequence[Panel], summary: str) -> Figure:
    """Return a new matplotlib figure of one or more panels, with `summary` above them unless it is "".

    Up to three panels are side by side, more in rows of two.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = panels_per_row(len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = PANEL_INCHES
    figure = Figure((width * columns, height * rows + 0.3 * len(summary.splitlines())), layout="constrained")
    FigureCanvasAgg(figure)
    if summary:
        figure.suptitle(summary)
    areas = figure.subfigures(rows, columns, squeeze=False).flat
    for panel, area in zip(panels, areas, strict=False):
        {"plot": _draw_curves, "image": _draw_images, "hist": _draw_histograms}[panel.kind](area, panel)
    return figure


def _draw_curves(area: SubFigure, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = area.subplots()
    positions, names, xlabel = x_positions(panel.metrics)
    legends = legend_texts(panel)
    curves = zip(positions, panel.metrics, styles(panel.metrics), legends, strict=True)
    for x, metric, style, legend in curves:
        y = np.where(np.isfinite(metric.data), metric.data, np.nan)
        line: dict[str, Any] = {"color": style.color, "linestyle": style.line, "marker": style.marker}
        axes.plot(x, y, label=legend, linewidth=1.8, markersize=5.5, markevery=marker_indices(y, 25), **line)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(panel.ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if names:
        axes.xaxis.set_major_formatter(lambda x, _: names[int(x)] if 0 <= x < len(names) else "")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if legends:  # above the axes, where it covers no curve
        points = sum(5 * len(legend) + 30 for legend in legends)  # approximate width on one line
        columns = len(legends) if points <= 300 else 1
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": columns}
        axes.legend(frameon=False, fontsize=9, handlelength=2.8, handletextpad=0.5, columnspacing=1, **place)
    if not any(np.isfinite(metric.data).any() for metric in panel.metrics):
        message = "no finite values" if any(metric.steps for metric in panel.metrics) else "no values yet"
        axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", color="0.35")
        axes.set(xticks=[], yticks=[])
    elif (only := min(map(min, filter(len, positions)))) == max(map(max, filter(len, positions))):
        axes.set_xlim(only - 1, only + 1)


def _draw_images(area: SubFigure, panel: Panel) -> None:
    (metric,) = panel.metrics
    area.suptitle(panel.labels[0])
    axes = area.subplots(1, max(1, min(panel.limit, len(metric.data))), squeeze=False).ravel()
    for image_axes in axes:
        image_axes.axis("off")
    if not len(metric.data):
        axes[0].text(0.5, 0.5, "no values yet", ha="center", va="center", color="0.35")
        return
    latest = zip(metric.data[-len(axes) :], metric.formatted_steps[-len(axes) :], strict=True)
    for image_axes, (image, step) in zip(axes, latest, strict=True):
        image_axes.imshow(_displayable(image), cmap="gray", vmin=0, vmax=1)
        image_axes.set_title(step, fontsize="medium")


def is_image(value: NDArray[Any] | float) -> bool:
    """Return True for an array (H, W), (H, W, C) or (C, H, W) with C of 1, 3 or 4, else False."""
    shape = np.shape(value)
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in IMAGE_CHANNELS or shape[0] in IMAGE_CHANNELS))


def _displayable(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image as (H, W) or (H, W, C) with values from 0 to 1.

    uint8 values are divided by 255. Others are scaled from their own range; NaN and infinity become 0 before.
    """
    if image.ndim == 3 and image.shape[2] not in IMAGE_CHANNELS:
        image = np.moveaxis(image, 0, 2)  # (C, H, W) -> (H, W, C)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.dtype == np.uint8:
        return image / 255
    image = np.nan_to_num(image.astype(float), posinf=0, neginf=0)
    low, high = image.min(), image.max()
    return (image - low) / (high - low if high > low else 1)


def _draw_histograms(area: SubFigure, panel: Panel) -> None:
    """Draw one histogram of numbers, or one for each of the last 10 steps of arrays, the latest darkest.

    Without a finite value the text "no values yet" is drawn.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.ticker import MaxNLocator

    (metric,) = panel.metrics
    axes = area.subplots()
    axes.set_title(panel.labels[0], fontsize="medium", loc="left")
    axes.set_xlabel("value")
    axes.spines[["top", "right"]].set_visible(False)
    per_step = any(np.ndim(values) for values in metric.data)
    series = [np.ravel(values) for values in metric.data[-10:]] if per_step else [np.ravel(metric.data)]
    series = [values[np.isfinite(values)] for values in series]
    if not sum(map(len, series)):
        axes.text(0.5, 0.5, "no values yet", transform=axes.transAxes, ha="center", va="center", color="0.35")
        axes.set(xticks=[], yticks=[])
        return
    edges = np.histogram_bin_edges(np.concatenate(series), 30)
    counts = [np.histogram(values, edges)[0] for values in series]
    if not per_step:
        axes.stairs(counts[0], edges, fill=True, color=TRAINING_STYLES[0].color)
        axes.set_ylabel("steps")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return
    dark = np.array(to_rgb(TRAINING_STYLES[0].color))
    for row, heights in enumerate(counts):
        depth = 0.3 + 0.7 * (row + 1) / len(counts)
        top = 1.8 * heights / max(1, heights.max()) + row
        axes.stairs(top, edges, baseline=row, zorder=-row, fill=True, color=tuple(1 - depth * (1 - dark)))
        axes.stairs(top, edges, baseline=None, zorder=-row, color="white")
    axes.set_yticks(range(len(counts)), metric.formatted_steps[-10:])
    axes.set_ylabel(x_positions([metric])[2])
