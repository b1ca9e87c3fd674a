"""Draw panels as lines of text for a terminal, with plotext; curves differ in their marks, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.text import printable, text_width

from .figure import Panel, Style, legend_texts, marker_indices, panels_per_row, styles, x_positions

MIN_PANEL_COLUMNS = 38
MIN_PANEL_LINES, MAX_PANEL_LINES = 9, 22


def draw_lines(panels: Sequence[Panel], summary: str, columns: int, max_lines: int, color: bool) -> list[str]:
    """Return the panels as lines of text; the last line counts panels that do not fit.

    Args:
        panels: one or more; of images and histograms only the title is shown.
        summary: lines above the panels; "" for none.
        columns: largest width of a line.
        max_lines: largest number of lines.
        color: keep escape sequences for colors.
    """
    import plotext

    per_row = max(1, min(panels_per_row(len(panels)), columns // MIN_PANEL_COLUMNS))
    rows = [panels[first : first + per_row] for first in range(0, len(panels), per_row)]
    drawn = [printable(line)[:columns] for line in summary.splitlines()]
    free = max_lines - len(drawn)
    if max(1, free // MIN_PANEL_LINES) < len(rows):
        free -= 1  # for the line that counts the panels left out
    fitting = min(len(rows), max(1, free // MIN_PANEL_LINES))
    height = min(MAX_PANEL_LINES, free // fitting)
    for row in rows[:fitting]:
        width = columns // len(row) - 1
        headers = [_header(panel, width) for panel in row]
        tallest = max(map(len, headers))
        blocks = [
            header + [" " * width] * (tallest - len(header)) + _body(panel, width, height - tallest)
            for header, panel in zip(headers, row, strict=True)
        ]
        drawn += [" ".join(parts) for parts in zip(*blocks, strict=True)]
    left_out = sum(map(len, rows[fitting:]))
    if left_out:
        drawn.append(f"{left_out} more in a larger terminal"[:columns])
    return (drawn if color else [plotext.uncolorize(line) for line in drawn])[: max(0, max_lines)]


def _header(panel: Panel, width: int) -> list[str]:
    """Return a panel's legend: one line, or one for each curve where it is too wide; else its title.

    Lines are padded or cut to `width` columns. They have escape sequences for colors.
    """
    import plotext

    if panel.kind != "plot":
        return [_padded(panel.labels[0], width)]
    curves = list(zip(styles(panel.metrics), legend_texts(panel), strict=True))
    texts = [printable(f"{style.terminal_point} {text}") for style, text in curves]
    free = width - sum(map(text_width, texts)) - 2 * len(texts)
    if free < 0:
        texts = [_padded(text, width) for text in texts]
    colored = [
        plotext.colorize(text).fill(plotext.pixel(style.terminal_color)).string()
        for text, (style, _) in zip(texts, curves, strict=True)
    ]
    return colored if free < 0 else ["".join(text + "  " for text in colored) + " " * free]


def _padded(text: str, width: int) -> str:
    while text_width(text) > width:
        text = text[:-1]
    return text + " " * (width - text_width(text))


def _body(panel: Panel, width: int, height: int) -> list[str]:
    """Return `height` lines of the curves in their frame, or of a message in their place.

    The message stands for images, histograms, panels without finite values and a height under 7.
    """
    message = ""
    if panel.kind != "plot":
        message = "shown in a notebook or a file"
    elif not any(metric.steps for metric in panel.metrics):
        message = "no values yet"
    elif not any(np.isfinite(metric.data).any() for metric in panel.metrics):
        message = "no finite values"
    elif height < 7:  # with one or two rows for the curves they would be flat
        message = "too low to draw"
    if not message:
        return _curves(panel, width, height)
    lines = [" " * width] * max(0, height)
    if lines:
        lines[len(lines) // 2] = _padded(message.center(width), width)
    return lines


def _curves(panel: Panel, width: int, height: int) -> list[str]:
    import plotext

    figure = plotext.figure
    figure.clear.all()
    plotext.terminal.limit(False, False)  # do not reduce the size to the terminal's
    figure.plot_size(width, height)
    figure.theme("simple")
    positions, names, xlabel = x_positions(panel.metrics)
    for x, metric, style in zip(positions, panel.metrics, styles(panel.metrics), strict=True):
        _curve(figure, x, metric.data, style, width // 4)
    every_x = np.concatenate(positions)
    first, last = int(every_x.min()), int(every_x.max())
    ticks = _ticks(first, last, width // 8)
    figure.ruler("x").ticks(ticks, [names[tick] if names else str(tick) for tick in ticks])
    if first == last:
        figure.ruler("x").lim(first - 1, last + 1)
    figure.label(xlabel, "x")
    figure.label(printable(panel.ylabel), "y")
    text = figure.build().string()
    figure.clear.all()
    plotext.terminal.limit()
    return list(text.splitlines())


def _curve(figure: Any, x: NDArray[Any], y: NDArray[Any], style: Style, max_markers: int) -> None:
    """Draw a curve on a plotext figure: a line for each stretch of finite values, and markers over it.

    NaN and infinity are gaps. About `max_markers` of the points have a marker, see `marker_indices`.
    """
    import plotext

    for stretch in np.ma.clump_unmasked(np.ma.masked_invalid(y)):  # type: ignore[no-untyped-call]
        line = plotext.marker(style.terminal_line, style.terminal_color)
        figure.draw(figure.signal(list(x[stretch]), list(y[stretch]), marker=line).lines())
    points = marker_indices(y, max_markers)
    mark = plotext.marker(style.terminal_point, style.terminal_color)
    figure.draw(figure.signal(list(x[points]), list(y[points]), marker=mark))


def _ticks(first: int, last: int, max_ticks: int) -> list[int]:
    """Return multiples of 1, 2, 5, 10, 20, ... from `first` to `last`, about `max_ticks` at most."""
    steps = (step * 10**power for power in count() for step in (1, 2, 5))
    every = next(step for step in steps if (last - first) / step <= max(1, max_ticks))
    return list(range(math.ceil(first / every) * every, last + 1, every))
