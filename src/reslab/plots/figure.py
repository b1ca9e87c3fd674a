"""A canvas as a picture: panels of curves, images and histograms, drawn by matplotlib without pyplot.

Also what the terminal shares with it: what a panel is, its words, its places on the x axis and its styles.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .history import Metric, format_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

PANEL_INCHES = (5.0, 3.6)
DOTS_PER_INCH = 150
COLORS = (1, 3, 4)  # how many an image has


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


def axis_name(metrics: Sequence[Metric]) -> str:
    for word in ("loss", "accuracy"):
        if metrics and all(metric.name.endswith(word) for metric in metrics):
            return word
    return metrics[0].name if len(metrics) == 1 else "value"


def legend_texts(panel: Panel) -> list[str]:
    """Each curve's label with its last value."""
    return [_legend_text(*pair) for pair in zip(panel.labels, panel.metrics, strict=True)]


def _legend_text(label: str, metric: Metric) -> str:
    if not len(metric.data):
        return f"{label}  –"
    last = float(metric.data[-1])
    return f"{label}  {last:.4f}" if last == 0 or 1e-3 <= abs(last) < 1e4 else f"{label}  {last:.3g}"


def styles(metrics: Sequence[Metric]) -> list[Style]:
    """Training solid, validation dashed, also where a panel shows only one of them."""
    training, validation = cycle(TRAINING), cycle(VALIDATION)
    return [
        next(
            validation if m.name.lower().startswith(("val", "test")) or m.name.endswith("_val") else training
        )
        for m in metrics
    ]


def places(metrics: Sequence[Metric]) -> tuple[list[NDArray[Any]], list[str], str]:
    """Each metric's places on the x axis; names for the places, if numbers will not do; the axis's name."""
    steps = sorted({step for metric in metrics for step in metric.steps})
    if any(isinstance(step, tuple) for step in steps):
        # There is no telling how long an epoch is, so the pairs stand at equal distances.
        place = {step: index for index, step in enumerate(steps)}
        where = [np.array([place[step] for step in metric.steps], float) for metric in metrics]
        return where, [format_step(step) for step in steps], "epoch:step"
    epochs = [step for step in steps if isinstance(step, int)]
    by_ones = len(epochs) <= 1000 and (not epochs or epochs[-1] - epochs[0] == len(epochs) - 1)
    return [np.array(metric.steps, float) for metric in metrics], [], "epoch" if by_ones else "step"


def marked(values: NDArray[Any], at_most: int) -> list[int]:
    """Where a curve gets markers: at about `at_most` points, and at those that no line leads to or from."""
    seen = np.concatenate([[False], np.isfinite(values), [False]])
    alone = seen[1:-1] & ~seen[:-2] & ~seen[2:]
    every = max(1, math.ceil(len(values) / at_most))
    alone[::every] |= seen[1:-1][::every]
    alone[-1:] = seen[-2:-1]  # the one whose value is in the legend
    return [int(index) for index in np.flatnonzero(alone)]


def across(panels: int) -> int:
    return panels if panels <= 3 else 2


def picture(figure: Figure, suffix: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=suffix, dpi=DOTS_PER_INCH)
    return content.getvalue()


def draw(panels: Sequence[Panel], summary: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = across(len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = PANEL_INCHES
    figure = Figure((width * columns, height * rows + 0.3 * len(summary.splitlines())), layout="constrained")
    FigureCanvasAgg(figure)
    if summary:
        figure.suptitle(summary)
    areas = figure.subfigures(rows, columns, squeeze=False).flat
    for panel, area in zip(panels, areas, strict=False):
        {"plot": _draw_curves, "image": _draw_images, "hist": _draw_spread}[panel.kind](area, panel)
    return figure


def _draw_curves(area: SubFigure, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    axes = area.subplots()
    where, names, xlabel = places(panel.metrics)
    legends = legend_texts(panel)
    for x, metric, style, legend in zip(where, panel.metrics, styles(panel.metrics), legends, strict=True):
        y = np.where(np.isfinite(metric.data), metric.data, np.nan)
        looks: dict[str, Any] = {"color": style.color, "linestyle": style.line, "marker": style.marker}
        axes.plot(x, y, label=legend, linewidth=1.8, markersize=5.5, markevery=marked(y, 25), **looks)
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
        points = sum(5 * len(legend) + 30 for legend in legends)  # about as wide as it will be
        columns = len(legends) if points <= 300 else 1
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": columns}
        axes.legend(frameon=False, fontsize=9, handlelength=2.8, handletextpad=0.5, columnspacing=1, **place)
    if not any(np.isfinite(metric.data).any() for metric in panel.metrics):
        said = "no finite values" if any(metric.steps for metric in panel.metrics) else "no values yet"
        axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", va="center", color="0.35")
        axes.set(xticks=[], yticks=[])
    elif (only := min(map(min, filter(len, where)))) == max(map(max, filter(len, where))):
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
        image_axes.imshow(_shown(image), cmap="gray", vmin=0, vmax=1)
        image_axes.set_title(step, fontsize="medium")


def is_image(value: NDArray[Any] | float) -> bool:
    """Whether it is something that `_shown` shows; (64, 28, 28) are maps of features, and no colours."""
    shape = np.shape(value)
    return len(shape) == 2 or (len(shape) == 3 and (shape[2] in COLORS or shape[0] in COLORS))


def _shown(image: NDArray[Any]) -> NDArray[Any]:
    """Height, width and colours, as 0 to 1."""
    if image.ndim == 3 and image.shape[2] not in COLORS:
        image = np.moveaxis(image, 0, 2)  # torch puts the colours first
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if image.dtype == np.uint8:
        return image / 255
    image = np.nan_to_num(image.astype(float), posinf=0, neginf=0)
    low, high = image.min(), image.max()
    return (image - low) / (high - low if high > low else 1)


def _draw_spread(area: SubFigure, panel: Panel) -> None:
    """Numbers: one histogram. Arrays: a histogram a step, the latest on top and darkest."""
    from matplotlib.colors import to_rgb
    from matplotlib.ticker import MaxNLocator

    (metric,) = panel.metrics
    axes = area.subplots()
    axes.set_title(panel.labels[0], fontsize="medium", loc="left")
    axes.set_xlabel("value")
    axes.spines[["top", "right"]].set_visible(False)
    many = any(np.ndim(values) for values in metric.data)
    series = [np.ravel(values) for values in metric.data[-10:]] if many else [np.ravel(metric.data)]
    series = [values[np.isfinite(values)] for values in series]
    if not sum(map(len, series)):
        axes.text(0.5, 0.5, "no values yet", transform=axes.transAxes, ha="center", va="center", color="0.35")
        axes.set(xticks=[], yticks=[])
        return
    edges = np.histogram_bin_edges(np.concatenate(series), 30)
    counts = [np.histogram(values, edges)[0] for values in series]
    if not many:
        axes.stairs(counts[0], edges, fill=True, color=TRAINING[0].color)
        axes.set_ylabel("steps")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        return
    dark = np.array(to_rgb(TRAINING[0].color))
    for place, heights in enumerate(counts):
        depth = 0.3 + 0.7 * (place + 1) / len(counts)
        top = 1.8 * heights / max(1, heights.max()) + place
        axes.stairs(top, edges, baseline=place, zorder=-place, fill=True, color=tuple(1 - depth * (1 - dark)))
        axes.stairs(top, edges, baseline=None, zorder=-place, color="white")
    axes.set_yticks(range(len(counts)), metric.formatted_steps[-10:])
    axes.set_ylabel(places([metric])[2])
