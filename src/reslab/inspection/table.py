"""An Anatomy as text: the table with as many columns as fit, the totals, the share of each stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reslab.errors import UsageError
from reslab.text import printable, table, text_width

from .layers import Layer, Shape, both
from .summary import Anatomy

GAP = 2


@dataclass(frozen=True)
class Column:
    """A column, and how early it is chosen where there is no room for all."""

    title: str
    rank: int
    cell: Callable[[Layer], str]
    align: str = "r"
    longest: int = 60
    least: int | None = None  # may be cut down to this many letters


def columns_of(anatomy: Anatomy, wide: bool) -> list[Column]:
    """All columns, in their order on the page."""
    total = max(1, anatomy.multiply_adds)
    pixels = anatomy.input[1:]
    return [
        Column("layer", 0, lambda layer: _tail(layer.name, 48 if wide else 26), "l"),
        Column("kind", 6, lambda layer: layer.kind, "l", 24 if wide else 18, 8),
        Column("kernel", 11, _settings, "l"),
        Column("output", 1, lambda layer: shape_text(layer.output), "l"),
        Column("formula", 2, lambda layer: layer.formula if wide else _tight(layer.formula), "l"),
        Column("params" if not wide else "parameters", 3, lambda layer: count_text(layer.parameters, wide)),
        Column(
            "m-adds" if not wide else "multiply-adds", 4, lambda layer: count_text(layer.multiply_adds, wide)
        ),
        Column("share", 7, lambda layer: _percent(layer.multiply_adds or 0, total)),
        Column("sees", 5, lambda layer: sees(layer, pixels)),
        Column("jump", 8, _jump),
        Column("training", 9, lambda layer: megabytes(layer.training_bytes)),
        Column("inference", 10, lambda layer: megabytes(layer.inference_bytes)),
    ]


def table_of(anatomy: Anatomy, width: int, depth: int) -> str:
    """The table, totals, shares and a word on what the columns mean."""
    if width < 40:
        raise UsageError(f"width {width}", "a table needs some columns", "give 40 or more; 80 is usual")
    rows = anatomy.fold(depth)
    chosen = _fitting(columns_of(anatomy, width >= 120), rows, width)
    cells = [[_short(column.cell(row), column.longest) for column in chosen] for row in rows]
    body = table([c.title for c in chosen], cells, "".join(c.align for c in chosen))
    title = f"{printable(anatomy.network)}, a photo of {shape_text(anatomy.input)}"
    parts = [title, body, totals(anatomy)]
    if len(anatomy.fold(1)) > 1 and depth > 1:
        parts.append(shares(anatomy))
    parts.append("\n".join(_legend(chosen) + _notes(rows)))
    return "\n\n".join(part for part in parts if part)


def totals(anatomy: Anatomy) -> str:
    """Parameters, multiply-adds and memory of the whole."""
    frozen = anatomy.parameters - anatomy.trainable
    least = "" if anatomy.complete else "at least "
    lines = [
        (
            "parameters",
            f"{anatomy.parameters:,}, {megabytes(anatomy.weight_bytes)} with the buffers"
            + f"; {frozen:,} of them frozen" * bool(frozen),
        ),
        (
            "multiply-adds",
            f"{least}{anatomy.multiply_adds:,} a photo ({count_text(2 * anatomy.multiply_adds)} FLOP)",
        ),
        (
            "activations",
            f"training keeps {megabytes(anatomy.training_bytes)} a photo, "
            f"inference needs {megabytes(anatomy.inference_bytes)} at once",
        ),
    ]
    return "\n".join(f"{name:13}  {text}" for name, text in lines)


def shares(anatomy: Anatomy) -> str:
    """What each stage has of the whole, in per cent and as bars."""
    stages = [s for s in anatomy.fold(1) if s.parameters or s.multiply_adds or s.training_bytes]
    whole = [
        max(1, anatomy.parameters),
        max(1, anatomy.multiply_adds),
        max(1, anatomy.training_bytes),
    ]
    named = [("input", (0, 0, anatomy.input_training_bytes))]
    named += [(s.name, (s.parameters, s.multiply_adds or 0, s.training_bytes)) for s in stages]
    rows = []
    for name, parts in named:
        if all(part < total / 2000 for part, total in zip(parts, whole, strict=True)):
            continue  # it would be 0.0 % of everything
        pairs = [(part, total) for part, total in zip(parts, whole, strict=True)]
        rows.append([_tail(name, 24), *(f"{_percent(*p)} {_bar(*p):10}" for p in pairs)])
    return table(["share of", "parameters", "multiply-adds", "kept in training"], rows, "llll")


def sees(layer: Layer, photo: Sequence[int]) -> str:
    """The receptive field's side in pixels; `all` if every value sees the whole photo; `?` if not known."""
    field = layer.receptive_field
    if field is None:
        return "?" if layer.output is not None else ""
    size = both(field.size)
    if both(field.jump) == (0, 0) and size == tuple(photo):
        return "all"
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def shape_text(shape: Shape | None) -> str:
    """64x112x112"""
    return "-" if shape is None else "x".join(map(str, shape))


def megabytes(count: int) -> str:
    """Bytes in MB of 10^6."""
    if count < 10_000:
        return f"{count / 1e3:.1f} kB" if count else "0"
    return f"{count / 1e6:.2f} MB" if count < 9_995_000 else f"{count / 1e6:,.1f} MB"


def count_text(count: int | None, exact: bool = False) -> str:
    """9,408, or 1.18 M where three digits have to do."""
    if count is None:
        return "?"
    if exact or count < 10_000:
        return f"{count:,}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)):
        value = count / size
        if value < 999.5 or unit == "T":
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def _settings(layer: Layer) -> str:
    from .formula import settings

    return settings(layer.windows) if layer.windows else ""


def _jump(layer: Layer) -> str:
    field = layer.receptive_field
    if field is None:
        return "?" if layer.output is not None else ""
    height, width = both(field.jump)
    if (height, width) == (0, 0):
        return "-"
    return str(height) if height == width else f"{height}x{width}"


def _tight(formula: str) -> str:
    for sign in ("+", "-", "="):
        formula = formula.replace(f" {sign} ", sign)
    return formula.replace(", ", ",")


def _percent(part: int, total: int) -> str:
    return f"{100 * part / total:4.1f} %"


def _bar(part: int, total: int) -> str:
    eighths = round(80 * part / total)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _short(text: str, longest: int) -> str:
    return text if text_width(text) <= longest else text[: longest - 1] + "…"


def _tail(name: str, longest: int) -> str:
    """A name's end tells more than its beginning."""
    return name if len(name) <= longest else "…" + name[1 - longest :]


def _fitting(columns: list[Column], rows: Sequence[Layer], width: int) -> list[Column]:
    """The columns of the first ranks that fit side by side."""
    chosen: dict[str, Column] = {}
    left = width + GAP
    for column in sorted(columns, key=lambda column: column.rank):
        cells = [column.title, *(column.cell(row) for row in rows)]
        for longest in range(column.longest, (column.least or column.longest) - 1, -1):
            needed = min(longest, max(map(text_width, cells))) + GAP
            if needed <= left:
                chosen[column.title] = replace(column, longest=longest)
                left -= needed
                break
    return [chosen[column.title] for column in columns if column.title in chosen]


def _legend(chosen: list[Column]) -> list[str]:
    meanings = {
        "sees": "sees: receptive field, the side in pixels of what one value depends on",
        "jump": "jump: pixels of the photo from one value to its neighbour",
        "training": "training: what is kept of the output for the backward pass, a photo",
        "inference": "inference: what is alive at once while the layer runs, a photo",
    }
    return [meanings[column.title] for column in chosen if column.title in meanings]


def _notes(rows: Sequence[Layer]) -> list[str]:
    """What is not known or not as usual, each once, with the first layer of which it is true."""
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
        lines.append("?: not known; past operations like attention or upsampling no pixel is followed")
    return lines
