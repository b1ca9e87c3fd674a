"""A canvas as lines of text for a terminal: curves drawn by plotext, told apart by their marks alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.text import printable, text_width

from .figure import Panel, Style, across, legend_texts, marked, places, styles

NARROWEST, LOWEST, HIGHEST = 38, 9, 22  # columns and lines of one panel


def draw(panels: Sequence[Panel], summary: str, columns: int, lines: int, color: bool) -> list[str]:
    """At most `lines` lines of `columns` columns. Panels that do not fit are left out, and counted."""
    import plotext

    above = summary.splitlines()
    beside = max(1, min(across(len(panels)), columns // NARROWEST))
    bands = [panels[first : first + beside] for first in range(0, len(panels), beside)]
    room = lines - len(above)
    if max(1, room // LOWEST) < len(bands):
        room -= 1  # for the line that counts what is left out
    fitting = min(len(bands), max(1, room // LOWEST))
    height = min(HIGHEST, room // fitting)
    drawn = [printable(line)[:columns] for line in above]
    for band in bands[:fitting]:
        width = columns // len(band) - 1
        headers = [_header(panel, width) for panel in band]
        tallest = max(map(len, headers))
        blocks = [
            header + [" " * width] * (tallest - len(header)) + _body(panel, width, height - tallest)
            for header, panel in zip(headers, band, strict=True)
        ]
        drawn += [" ".join(parts) for parts in zip(*blocks, strict=True)]
    left_out = sum(map(len, bands[fitting:]))
    if left_out:
        drawn.append(f"{left_out} more in a larger terminal"[:columns])
    return (drawn if color else [plotext.uncolorize(line) for line in drawn])[: max(0, lines)]


def _header(panel: Panel, width: int) -> list[str]:
    """The legend, above the panel, where it covers no curve: on one line if that is wide enough."""
    import plotext

    if panel.kind != "plot":
        return [_padded(panel.labels[0], width)]
    looks = styles(panel.metrics)
    texts = [
        printable(f"{style.terminal_point} {text}")
        for style, text in zip(looks, legend_texts(panel), strict=True)
    ]
    room = width - sum(map(text_width, texts)) - 2 * len(texts)
    if room < 0:
        texts = [_padded(text, width) for text in texts]
    colored = [
        plotext.colorize(text).fill(plotext.pixel(style.terminal_color)).string()
        for text, style in zip(texts, looks, strict=True)
    ]
    return colored if room < 0 else ["".join(text + "  " for text in colored) + " " * room]


def _padded(text: str, width: int) -> str:
    while text_width(text) > width:
        text = text[:-1]
    return text + " " * (width - text_width(text))


def _body(panel: Panel, width: int, height: int) -> list[str]:
    """The curves in their frame, or the reason why there are none."""
    said = "" if panel.kind == "plot" else "shown in a notebook or a file"
    if not said and not any(metric.steps for metric in panel.metrics):
        said = "no values yet"
    if not said and not any(np.isfinite(metric.data).any() for metric in panel.metrics):
        said = "no finite values"
    if not said and height < 7:  # on one or two rows every curve would look flat
        said = "too low to draw"
    if said:
        blank = [" " * width] * max(0, height)
        if blank:
            blank[len(blank) // 2] = _padded(said.center(width), width)
        return blank
    return _curves(panel, width, height)


def _curves(panel: Panel, width: int, height: int) -> list[str]:
    import plotext

    figure = plotext.figure
    figure.clear.all()
    plotext.terminal.limit(False, False)  # the size asked for, not the size that plotext guesses
    figure.plot_size(width, height)
    figure.theme("simple")
    where, names, xlabel = places(panel.metrics)
    for x, metric, style in zip(where, panel.metrics, styles(panel.metrics), strict=True):
        _curve(figure, x, metric.data, style, width // 4)
    every_place = np.concatenate(where)
    first, last = int(every_place.min()), int(every_place.max())
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


def _curve(figure: Any, x: NDArray[Any], y: NDArray[Any], style: Style, at_most: int) -> None:
    """A line for each stretch without gaps, then the points over it."""
    import plotext

    for stretch in np.ma.clump_unmasked(np.ma.masked_invalid(y)):  # type: ignore[no-untyped-call]
        line = plotext.marker(style.terminal_line, style.terminal_color)
        figure.draw(figure.signal(list(x[stretch]), list(y[stretch]), marker=line).lines())
    points = marked(y, at_most)
    mark = plotext.marker(style.terminal_point, style.terminal_color)
    figure.draw(figure.signal(list(x[points]), list(y[points]), marker=mark))


def _ticks(first: int, last: int, at_most: int) -> list[int]:
    """Round whole numbers between `first` and `last`."""
    steps = (step * 10**power for power in count() for step in (1, 2, 5))
    every = next(step for step in steps if (last - first) / step <= max(1, at_most))
    return list(range(math.ceil(first / every) * every, last + 1, every))
