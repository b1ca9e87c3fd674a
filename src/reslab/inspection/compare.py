"""Comparison of two networks, layer by layer and side by side, with the differences marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from reslab.text import table

from .layers import Layer
from .summary import Anatomy
from .table import WIDE, bytes_text, count_text, field_text, shape_text

Pairs = list[tuple[Layer | None, Layer | None]]


def side_by_side(left: Anatomy, right: Anatomy, width: int = 80, depth: int = 2) -> str:
    """Return two networks as text: a table of their layers, one row for layers of the same name, and totals.

    `!` marks a layer that both have and that differs, `<` and `>` one that only the left or the right has.
    The text begins with both names. It ends with a legend of the marks, or says that nothing differs.

    Args:
        left: one network.
        right: the other one.
        width: columns of the terminal. From 120 on kind, memory and receptive field are shown as well.
        depth: as in `Anatomy.fold`.

    Raises:
        UsageError: the depth is under 1.
    """
    wide = width >= WIDE
    pairs = pair_up(left.fold(depth), right.fold(depth))
    titles = [*(["kind"] * wide), "output", "params", "m-adds", *(["kept", "sees"] * wide)]
    align = "l" * wide + "lrr" + "rr" * wide
    rows = [
        [_mark(a, b), (a or b).name, *_cells(a, left, wide), "|", *_cells(b, right, wide)]  # type: ignore[union-attr]
        for a, b in pairs
    ]
    return "\n\n".join(
        [
            f"left   {_title(left)}\nright  {_title(right)}",
            table(["", "layer", *titles, "|", *titles], rows, "ll" + align + "l" + align),
            _totals(left, right),
            _legend(pairs) or _no_difference(left, right, depth),
        ]
    )


def pair_up(left: Sequence[Layer], right: Sequence[Layer]) -> Pairs:
    """Pair layers of the same name that come in the same order in both; the partner of others is None."""
    names = [row.name for row in left], [row.name for row in right]
    pairs: Pairs = []
    for tag, a, b, c, d in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += zip(left[a:b], right[c:d], strict=True)
        else:
            pairs += [(row, None) for row in left[a:b]] + [(None, row) for row in right[c:d]]
    return pairs


def _mark(a: Layer | None, b: Layer | None) -> str:
    if a is None or b is None:
        return ">" if a is None else "<"
    names = ("kind", "inputs", "output", "windows", "parameters", "multiply_adds", "receptive_field")
    return "!" if any(getattr(a, name) != getattr(b, name) for name in names) else ""


def _cells(layer: Layer | None, anatomy: Anatomy, wide: bool) -> list[str]:
    if layer is None:
        return [""] * (6 if wide else 3)
    cells = [
        shape_text(layer.output),
        count_text(layer.parameters, wide),
        count_text(layer.multiply_adds, wide),
    ]
    if not wide:
        return cells
    return [layer.kind, *cells, bytes_text(layer.training_bytes), field_text(layer, anatomy.input[1:])]


def _title(anatomy: Anatomy) -> str:
    return f"{anatomy.network}, a photo of {shape_text(anatomy.input)}"


def _totals(left: Anatomy, right: Anatomy) -> str:
    figures: list[tuple[str, int, int, Callable[[int], str]]] = [
        ("parameters", left.parameters, right.parameters, "{:,}".format),
        ("multiply-adds", left.multiply_adds, right.multiply_adds, "{:,}".format),
        ("kept in training", left.training_bytes, right.training_bytes, bytes_text),
        ("needed in inference", left.inference_bytes, right.inference_bytes, bytes_text),
    ]
    rows = [[name, text(a), text(b), _change(a, b, text)] for name, a, b, text in figures]
    return table(["a photo", "left", "right", "right - left"], rows, "lrrr")


def _change(a: int, b: int, text: Callable[[int], str]) -> str:
    if a == b:
        return "the same"
    percent = f" ({100 * (b - a) / a:+,.1f} %)" if a else ""
    return f"{'+' if b > a else '-'}{text(abs(b - a))}{percent}"


def _legend(pairs: Pairs) -> str:
    marks = {_mark(a, b) for a, b in pairs}
    lines = []
    if "!" in marks:
        lines.append("!  the layer differs")
        kinds = dict.fromkeys((a.kind, b.kind) for a, b in pairs if a and b and a.kind != b.kind)
        lines += [f"     {a} on the left, {b} on the right" for a, b in kinds]
    if "<" in marks:
        lines.append("<  only in the left one")
    if ">" in marks:
        lines.append(">  only in the right one")
    return "\n".join(lines)


def _no_difference(left: Anatomy, right: Anatomy, depth: int) -> str:
    more = any(len(taken.fold(depth + 1)) > len(taken.fold(depth)) for taken in (left, right))
    return "no difference" + f" at this depth; --depth {depth + 1} shows layers inside these rows" * more
