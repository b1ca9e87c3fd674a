"""Table of a network's layers that fits the terminal, with totals and shares of stages"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reslab.errors import UsageError
from reslab.text import html_table, printable, table, text_width

from .arithmetic import as_pair
from .formula import settings
from .layers import Layer, Shape

GAP = 2
NOTEBOOK_COLUMNS = ("layer", "kind", "output", "formula", "parameters", "multiply-adds", "share", "sees")
MIN_WIDTH, WIDE = 40, 120  # columns
LEGEND = {
    "sees": "sees: receptive field, the side in pixels of what one value depends on",
    "jump": "jump: pixels of the photo from one value to its neighbor",
    "training": "training: what is kept of the output for the backward pass, a photo",
    "inference": "inference: what is alive at once while the layer runs, a photo",
}


@dataclass(frozen=True)
class Totals:
    """Figures of a whole network. All but the weights are for one image; `frozen` are untrained weights."""

    parameters: int
    frozen: int
    weight_bytes: int
    multiply_adds: int
    complete: bool  # the multiply-adds of every layer are known
    training_bytes: int
    inference_bytes: int
    input_training_bytes: int  # of the image alone


@dataclass(frozen=True)
class Column:
    """Column of the table. Those of the lowest ranks are chosen where there is no room for all.

    Attributes:
        title: its header.
        rank: 0 is the most important column.
        cell: returns the text of a layer's cell.
        align: "l" or "r".
        max_width: columns of the terminal at most; longer cells are cut.
        min_width: columns to which cells may be cut to make room; None: the column is left out instead.
    """

    title: str
    rank: int
    cell: Callable[[Layer], str]
    align: str = "r"
    max_width: int = 60
    min_width: int | None = None  # where the cells may be cut


def network_table(
    title: str, input_shape: Shape, rows: Sequence[Layer], stages: Sequence[Layer], totals: Totals, width: int
) -> str:
    """Return the table of `rows`, the totals, the shares of `stages` and a legend.

    Args:
        title: the network's name.
        input_shape: (C, H, W).
        rows: layers, folded or not.
        stages: layers folded to stages; () leaves the shares out.
        totals: figures of the whole network.
        width: columns of the terminal.

    Raises:
        UsageError: the width is under 40.
    """
    if width < MIN_WIDTH:
        raise UsageError(f"width {width}", "a table needs some columns", "give 40 or more; 80 is usual")
    chosen = _fitting(_columns(totals.multiply_adds, input_shape[1:], width >= WIDE), rows, width)
    cells = [[_cut(column.cell(row), column.max_width) for column in chosen] for row in rows]
    parts = [
        f"{printable(title)}, a photo of {shape_text(input_shape)}",
        table([c.title for c in chosen], cells, "".join(c.align for c in chosen)),
        _totals_text(totals),
        _shares(stages, totals),
        "\n".join([LEGEND[c.title] for c in chosen if c.title in LEGEND] + _notes(rows)),
    ]
    return "\n\n".join(part for part in parts if part)


def network_html(title: str, input_shape: Shape, rows: Sequence[Layer], totals: Totals) -> str:
    """Return title, table, totals and legend as HTML for a notebook.

    Arguments are those of `network_table`.
    """
    columns = [
        column
        for column in _columns(totals.multiply_adds, input_shape[1:], wide=True)
        if column.title in NOTEBOOK_COLUMNS
    ]
    cells = [[column.cell(row) for column in columns] for row in rows]
    lines = html_table([c.title for c in columns], cells, "".join(c.align for c in columns))
    below = "\n".join([_totals_text(totals), LEGEND["sees"], *_notes(rows)])
    return (
        f"<p><b>{html.escape(printable(title))}</b>, a photo of {shape_text(input_shape)}</p>\n"
        f'<div style="max-height:44em;overflow:auto">{lines}</div>\n'
        f'<pre style="font-family:monospace">{html.escape(below)}</pre>'
    )


def field_text(layer: Layer, image_size: Shape) -> str:
    """Return the receptive field's side in pixels, or `11x7` for height and width that differ.

    `all` if it is the whole image, `?` if it is unknown, "" for a layer without output.
    """
    field = layer.receptive_field
    if field is None:
        return "?" if layer.output is not None else ""
    height, width = as_pair(field.size)
    if as_pair(field.jump) == (0, 0) and (height, width) == image_size:
        return "all"
    return str(height) if height == width else f"{height}x{width}"


def shape_text(shape: Shape | None) -> str:
    """Return a shape as `64x112x112`, "-" for None."""
    return "-" if shape is None else "x".join(map(str, shape))


def bytes_text(count: int) -> str:
    """Return bytes as text: "2.35 MB" (10^6 bytes), "9.5 kB" (1000 bytes) below 10,000, "0" for 0."""
    if count < 10_000:
        return f"{count / 1e3:.1f} kB" if count else "0"
    return f"{count / 1e6:.2f} MB" if count < 9_995_000 else f"{count / 1e6:,.1f} MB"


def count_text(count: int | None, exact: bool = False) -> str:
    """Return a count as `9,408`, from 10,000 on as `1.18 M` unless `exact`; "?" for None."""
    if count is None:
        return "?"
    if exact or count < 10_000:
        return f"{count:,}"
    power = next((power for power in (1, 2, 3) if count / 1000**power < 999.5), 4)
    value = count / 1000**power
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {' kMGT'[power]}"


def _columns(total_multiply_adds: int, image_size: Shape, wide: bool) -> list[Column]:
    def formula(layer: Layer) -> str:
        text = layer.formula
        for sign in ("+", "-", "="):
            text = text if wide else text.replace(f" {sign} ", sign)
        return text if wide else text.replace(", ", ",")

    def jump(layer: Layer) -> str:
        if layer.receptive_field is None:
            return "?" if layer.output is not None else ""
        height, width = as_pair(layer.receptive_field.jump)
        return "-" if height == width == 0 else str(height) if height == width else f"{height}x{width}"

    parameters, multiply_adds = ("parameters", "multiply-adds") if wide else ("params", "m-adds")
    return [
        Column("layer", 0, lambda layer: _tail(layer.name, 48 if wide else 26), "l"),
        Column("kind", 6, lambda layer: layer.kind, "l", 24 if wide else 18, 8),
        Column("kernel", 11, lambda layer: settings(layer.windows) if layer.windows else "", "l"),
        Column("output", 1, lambda layer: shape_text(layer.output), "l"),
        Column("formula", 2, formula, "l"),
        Column(parameters, 3, lambda layer: count_text(layer.parameters, wide)),
        Column(multiply_adds, 4, lambda layer: count_text(layer.multiply_adds, wide)),
        Column("share", 7, lambda layer: _percent(layer.multiply_adds or 0, total_multiply_adds)),
        Column("sees", 5, lambda layer: field_text(layer, image_size)),
        Column("jump", 8, jump),
        Column("training", 9, lambda layer: bytes_text(layer.training_bytes)),
        Column("inference", 10, lambda layer: bytes_text(layer.inference_bytes)),
    ]


def _fitting(columns: list[Column], rows: Sequence[Layer], width: int) -> list[Column]:
    """Return the columns of the lowest ranks that fit side by side, in the order of `columns`.

    Their `max_width` becomes the width that they get. A column that does not fit is left out.
    """
    chosen: dict[str, Column] = {}
    left = width + GAP
    for column in sorted(columns, key=lambda column: column.rank):
        longest = max(map(text_width, [column.title, *(column.cell(row) for row in rows)]))
        needed = min(longest, column.max_width)
        fitting = min(needed, left - GAP)
        if fitting >= min(needed, column.min_width or needed):
            chosen[column.title] = replace(column, max_width=fitting)
            left -= fitting + GAP
    return [chosen[column.title] for column in columns if column.title in chosen]


def _totals_text(totals: Totals) -> str:
    frozen = f"; {totals.frozen:,} of them frozen" * bool(totals.frozen)
    least = "" if totals.complete else "at least "
    flop = count_text(2 * totals.multiply_adds)
    return (
        f"parameters     {totals.parameters:,}, {bytes_text(totals.weight_bytes)} with the buffers{frozen}\n"
        f"multiply-adds  {least}{totals.multiply_adds:,} a photo ({flop} FLOP)\n"
        f"activations    training keeps {bytes_text(totals.training_bytes)} a photo, "
        f"inference needs {bytes_text(totals.inference_bytes)} at once"
    )


def _shares(stages: Sequence[Layer], totals: Totals) -> str:
    """Return a table of each stage's share of the whole, in percent and as bars; "" without stages.

    The image's share of the memory is a row, too. Rows that would be 0.0 % of everything are left out.
    """
    whole = (totals.parameters, totals.multiply_adds, totals.training_bytes)
    parts = [(s.name, (s.parameters, s.multiply_adds or 0, s.training_bytes)) for s in stages]
    rows = []
    for name, figures in [("input", (0, 0, totals.input_training_bytes)), *parts]:
        pairs = list(zip(figures, whole, strict=True))
        if any(part and part >= total / 2000 for part, total in pairs):  # others would be 0.0 % of everything
            rows.append([_tail(name, 24), *(f"{_percent(*p)} {_bar(*p):10}" for p in pairs)])
    header = ["share of", "parameters", "multiply-adds", "kept in training"]
    return table(header, rows, "llll") if stages else ""


def _notes(rows: Sequence[Layer]) -> list[str]:
    """Return a line for each note, once, with the first layer that has it and the number of others.

    A last line explains "?" if a receptive field is unknown.
    """
    found: dict[str, list[str]] = {}
    for row in rows:
        for note in row.notes:
            name, _, text = note.rpartition(": ")
            found.setdefault(text, []).append(name or row.name)
    lines = [
        f"{text}: {_tail(names[0], 30)}{f' and {len(names) - 1} more' * (len(names) > 1)}"
        for text, names in found.items()
    ]
    if any(row.receptive_field is None and row.output is not None for row in rows):
        lines.append("?: unknown; receptive fields are not followed through attention or upsampling")
    return lines


def _percent(part: int, total: int) -> str:
    return f"{100 * part / max(1, total):4.1f} %"


def _bar(part: int, total: int) -> str:
    eighths = round(80 * part / max(1, total))
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _cut(text: str, longest: int) -> str:
    return text if text_width(text) <= longest else text[: longest - 1] + "…"


def _tail(name: str, longest: int) -> str:
    """Return a name of at most `longest` characters, cut at its beginning with "…" if needed."""
    return name if len(name) <= longest else "…" + name[1 - longest :]
