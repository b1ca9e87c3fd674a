"""Two networks beside each other, their differences marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

from reslab.text import table

from .layers import Layer
from .summary import Anatomy
from .table import count_text, megabytes, sees, shape_text

Pairs = list[tuple[Layer | None, Layer | None]]


def side_by_side(left: Anatomy, right: Anatomy, width: int = 80, depth: int = 2) -> str:
    """Row beside row; `!` where both have the layer and it differs, `<` and `>` where one alone has it."""
    wide = width >= 120
    pairs = pair_up(left.fold(depth), right.fold(depth))
    rows = [_row(a, b, left, right, wide) for a, b in pairs]
    titles = ["output", "params", "m-adds", *(["kept", "sees"] if wide else [])]
    titles = [*(["kind"] if wide else []), *titles]
    align = ("l" if wide else "") + "lrr" + ("rr" if wide else "")
    body = table(["", "layer", *titles, "|", *titles], rows, "ll" + align + "l" + align)
    return "\n\n".join(
        [
            f"left   {_title(left)}\nright  {_title(right)}",
            body,
            _totals(left, right),
            _legend(pairs) or _the_same(left, right, depth),
        ]
    )


def pair_up(left: Sequence[Layer], right: Sequence[Layer]) -> Pairs:
    """Rows of one name stand beside each other, in the order of both."""
    names = [row.name for row in left], [row.name for row in right]
    pairs: Pairs = []
    for tag, a, b, c, d in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if tag == "equal":
            pairs += zip(left[a:b], right[c:d], strict=True)
        else:
            pairs += [(row, None) for row in left[a:b]] + [(None, row) for row in right[c:d]]
    return pairs


def differs(a: Layer | None, b: Layer | None) -> bool:
    """Whether anything about two layers of one name differs but where they come from."""
    if a is None or b is None:
        return True
    names = ("kind", "inputs", "output", "windows", "parameters", "multiply_adds", "receptive_field")
    return any(getattr(a, name) != getattr(b, name) for name in names)


def _row(a: Layer | None, b: Layer | None, left: Anatomy, right: Anatomy, wide: bool) -> list[str]:
    mark = "<" if b is None else ">" if a is None else "!" if differs(a, b) else ""
    name = (a or b).name  # type: ignore[union-attr]
    return [mark, name, *_cells(a, left, wide), "|", *_cells(b, right, wide)]


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
    return [layer.kind, *cells, megabytes(layer.training_bytes), sees(layer, anatomy.input[1:])]


def _title(anatomy: Anatomy) -> str:
    return f"{anatomy.network}, a photo of {shape_text(anatomy.input)}"


def _totals(left: Anatomy, right: Anatomy) -> str:
    figures: list[tuple[str, int, int, Callable[[int], str]]] = [
        ("parameters", left.parameters, right.parameters, "{:,}".format),
        ("multiply-adds", left.multiply_adds, right.multiply_adds, "{:,}".format),
        ("kept in training", left.training_bytes, right.training_bytes, megabytes),
        ("needed in inference", left.inference_bytes, right.inference_bytes, megabytes),
    ]
    rows = [[name, write(a), write(b), _change(a, b, write)] for name, a, b, write in figures]
    return table(["a photo", "left", "right", "right - left"], rows, "lrrr")


def _change(a: int, b: int, write: Callable[[int], str]) -> str:
    if a == b:
        return "the same"
    sign = "+" if b > a else "-"
    percent = f" ({100 * (b - a) / a:+,.1f} %)" if a else ""
    return f"{sign}{write(abs(b - a))}{percent}"


def _legend(pairs: Pairs) -> str:
    lines = []
    if any(a and b and differs(a, b) for a, b in pairs):
        lines.append("!  the layer differs")
        kinds = dict.fromkeys((a.kind, b.kind) for a, b in pairs if a and b and a.kind != b.kind)
        lines += [f"     {a} on the left, {b} on the right" for a, b in kinds]
    if any(b is None for _, b in pairs):
        lines.append("<  only in the left one")
    if any(a is None for a, _ in pairs):
        lines.append(">  only in the right one")
    return "\n".join(lines)


def _the_same(left: Anatomy, right: Anatomy, depth: int) -> str:
    more = any(len(taken.fold(depth + 1)) > len(taken.fold(depth)) for taken in (left, right))
    return "no difference" + f" at this depth; --depth {depth + 1} shows what is inside the rows" * more
