"""Table of a comparison as text, Markdown, LaTeX or HTML: cost, accuracy, difference, p and verdict."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import mean, stdev
from typing import Literal

from reslab.pages.page import significant
from reslab.text import printable, short_number, table, text_width

from .sentences import decimals, difference_text, margin_text, sentences, verdict_text
from .variant_result import VariantResult

TableFormat = Literal["text", "markdown", "latex", "html"]

TITLES = (
    "variant",
    "parameters",
    "multiply-adds",
    "ms a step",
    "accuracy, %",
    "difference [95 %]",
    "p (Holm)",
    "verdict",
)
ALIGN = "lrrrrrrl"
# columns of each table: one table, or more where the terminal is narrow
LAYOUTS = (
    ((0, 1, 2, 3, 4, 5, 6, 7),),
    ((0, 4, 5, 6, 7), (0, 1, 2, 3)),
    ((0, 4, 5), (0, 6, 7), (0, 1, 2, 3)),
)
MIN_NAME_WIDTH = 20  # columns of the terminal; a longer name may be shortened to them
LATEX_ESCAPES = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "…": r"\dots{}",
}


@dataclass(frozen=True)
class Row:
    """Row of the table as texts, in the order of TITLES."""

    name: str
    parameters: str
    multiply_adds: str
    step: str
    accuracy: str
    difference: str
    p: str
    verdict: str


def comparison_table(
    variants: Sequence[VariantResult],
    margin: float,
    format: TableFormat = "text",  # noqa: A002
    *,
    width: int = 80,
    warning: str | None = None,
) -> str:
    """Return the table of a comparison. All but "latex" add a sentence on each variant.

    Args:
        variants: the baseline, then the others.
        margin: difference of accuracy that does not matter, 0 to 1.
        format: "text" for terminals, "markdown", "latex" for a tabular with booktabs, or "html".
        width: columns of the terminal. Long names are shortened in the table, not in the sentences. Where
            "text" needs more, costs get a table of their own.
        warning: sentence above the table; a comment in "latex".
    """
    rows = table_rows(variants)
    if format == "latex":
        comment = f"% {printable(warning)}\n" if warning else ""
        return comment + _latex(rows, caption(variants, margin))
    if format == "html":
        items = "".join(f"<li>{html.escape(printable(line))}</li>" for line in sentences(variants, margin))
        note = html.escape(printable(caption(variants, margin)))
        first = f"<p><strong>{html.escape(printable(warning))}</strong></p>\n" if warning else ""
        return f"{first}{html_table(variants)}\n<p>{note}</p>\n<ul>{items}</ul>"
    lines = [printable(line) for line in sentences(variants, margin)]
    if format == "markdown":
        bullets = "\n".join(f"- {_markdown(line)}" for line in lines)
        first = f"**{_markdown(printable(warning))}**\n\n" if warning else ""
        return f"{first}{_markdown_table(rows)}\n\n{_markdown(caption(variants, margin))}\n\n{bullets}"
    warnings = [_wrapped(printable(warning), width)] if warning else []
    return "\n\n".join(
        (*warnings, *_text_tables(rows, width), "\n".join(_wrapped(line, width) for line in lines))
    )


def table_rows(variants: Sequence[VariantResult]) -> tuple[Row, ...]:
    """Return a row for each variant, with one number of decimals for all."""
    places = decimals(variants)
    return tuple(_row(variant, variant is variants[0], places) for variant in variants)


def caption(variants: Sequence[VariantResult], margin: float) -> str:
    """Return how the figures of the table were made: seeds, photos, interval, p and margin."""
    text = _accuracy_caption(variants)
    found = [variant.difference for variant in variants if variant.difference is not None]
    if not found:
        return text
    pairs = f"{_count(found[0].seeds, 'seed')} and {_count(found[0].photos, 'test photo')}"
    return (
        f"{text} Difference: points gained on {variants[0].name}, paired over {pairs}, with the 95 % "
        "interval for new seeds and new photos (analysis of variance by seed and photo, t distribution, "
        "Satterthwaite's degrees of freedom). p: two-sided, adjusted by Holm's method. "
        f"Practically equal: within {margin_text(margin)} points."
    )


def short_caption(variants: Sequence[VariantResult]) -> str:
    """Return what the figures of the table are, without the methods."""
    text = _accuracy_caption(variants)
    if all(variant.difference is None for variant in variants):
        return text
    return f"{text} Difference: points gained on {variants[0].name}, with its 95 % interval."


def _accuracy_caption(variants: Sequence[VariantResult]) -> str:
    counts = sorted({len(variant.accuracies) for variant in variants})
    if not any(counts):
        failed = any(variant.failures for variant in variants)
        return "All trainings failed so far." if failed else "No training is finished yet."
    seeds = f"{counts[0]} to {counts[-1]} seeds" if len(counts) > 1 else _count(counts[0], "seed")
    return f"Accuracy: mean ± standard deviation over {seeds}."


def html_table(variants: Sequence[VariantResult]) -> str:
    """Return the table as HTML, without its caption and the sentences."""
    head = "".join(f'<th scope="col"{_number(i)}>{title}</th>' for i, title in enumerate(TITLES))
    body = []
    for row in table_rows(variants):
        _, *cells = (html.escape(printable(cell)) for cell in astuple(row))
        texts = "".join(f"<td{_number(i)}>{_minus(cell)}</td>" for i, cell in enumerate(cells, start=1))
        body.append(f'<tr><th scope="row"><bdi>{breakable(row.name)}</bdi></th>{texts}</tr>')
    return (
        f'<table class="results">\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table>"
    )


def breakable(name: str) -> str:
    """Return a name as HTML in which lines may break after punctuation."""
    return re.sub(r"[/:_]", r"\g<0><wbr>", html.escape(printable(name)))


def _row(variant: VariantResult, is_baseline: bool, places: int) -> Row:
    difference = variant.difference
    failed = f", {len(variant.failures)} failed" if variant.failures else ""
    return Row(
        variant.name,
        short_number(variant.parameters),
        short_number(variant.multiply_adds),
        significant(1000 * variant.seconds_per_step),
        accuracy_text(variant, places),
        difference_text(difference, places) if difference else "",
        p_text(difference.p_holm) if difference and difference.verdict else "",
        f"baseline{failed}" if is_baseline else verdict_text(variant),
    )


def accuracy_text(variant: VariantResult, places: int) -> str:
    """Return mean and standard deviation over seeds in percent, such as "91.2 ± 0.4"; "–" without a cell."""
    accuracies = variant.accuracies
    if not accuracies:
        return "–"
    text = f"{100 * mean(accuracies):.{places}f}"
    return text if len(accuracies) == 1 else f"{text} ± {100 * stdev(accuracies):.{places}f}"


def p_text(p: float) -> str:
    """Return p with three decimals, "<0.001" for a smaller one."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _text_tables(rows: Sequence[Row], width: int) -> list[str]:
    """Return one table, or as many as fit into `width` columns."""
    texts = [astuple(row) for row in rows]
    names = [printable(row.name) for row in rows]
    for layout in LAYOUTS:
        others = [
            sum(2 + max(map(text_width, (TITLES[i], *(text[i] for text in texts)))) for i in part[1:])
            for part in layout
        ]
        room = width - max(others)
        if max(map(text_width, names)) <= room or (room >= MIN_NAME_WIDTH and len(layout) > 1):
            break
    names = _shortened(names, max(room, MIN_NAME_WIDTH))
    return [
        table(
            [TITLES[i] for i in part],
            [[names[n] if i == 0 else text[i] for i in part] for n, text in enumerate(texts)],
            "".join(ALIGN[i] for i in part),
        )
        for part in layout
    ]


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _shortened(names: Sequence[str], width: int) -> list[str]:
    """Return the ends of names of more than `width` characters, or the names if two ends are equal."""
    ends = [name if len(name) <= width else f"…{name[1 - width :]}" for name in names]
    return ends if len(set(ends)) == len(set(names)) else list(names)


def _latex(rows: Sequence[Row], text: str) -> str:
    head = " & ".join(_escaped(title) for title in TITLES)
    body = [f"  {' & '.join(_escaped(printable(cell)) for cell in astuple(row))} \\\\" for row in rows]
    return "\n".join(
        (
            r"% needs \usepackage{booktabs}",
            rf"% \caption{{{_escaped(printable(text))}}}",
            rf"\begin{{tabular}}{{{ALIGN}}}",
            r"  \toprule",
            rf"  {head} \\",
            r"  \midrule",
            *body,
            r"  \bottomrule",
            r"\end{tabular}",
        )
    )


def _escaped(text: str) -> str:
    """Return a text for LaTeX, with numbers that have a sign in math mode, for a real minus."""
    escaped = "".join(LATEX_ESCAPES.get(c, c) for c in text)
    return re.sub(r"(?<![\w.-])[+-]\d+(\.\d+)?", r"$\g<0>$", escaped)


def _markdown_table(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(TITLES)} |", f"| {' | '.join('---:' if a == 'r' else '---' for a in ALIGN)} |"]
    for row in rows:
        lines.append(f"| {' | '.join(_markdown(printable(cell)) for cell in astuple(row))} |")
    return "\n".join(lines)


def _markdown(text: str) -> str:
    """Return a text in which Markdown finds no mark-up. Underscores within words need no escape."""
    return re.sub(r"[\\`*\[\]<>|~]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _number(column: int) -> str:
    return ' class="number"' if ALIGN[column] == "r" else ""


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _minus(text: str) -> str:
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)
