"""Report of a comparison as one page, with its figures and tables as files for a paper."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from reslab.pages.page import render, write_page
from reslab.plots.figure_file import figure_bytes, save_figure
from reslab.training.runs.start import duration

from .comparison import Comparison
from .figures.cost import draw_cost
from .figures.curves import draw_curves
from .figures.forest import draw_forest
from .sentences import VERDICT_WORDS, margin_text, sentences
from .tables import breakable, caption, html_table, short_caption
from .variant_result import CellResult, VariantResult

PAGE = "report.html"
BUDGETS = {
    "epochs": "the same number of epochs",
    "time": "the same training time",
    "flops": "the same number of multiply-adds",
    "parameters": "the same number of parameters",
}


def write_outputs(comparison: Comparison) -> None:
    """Write report, figures and tables into the comparison's folder. Existing files are replaced.

    The files are report.html, forest.svg, forest.pdf, curves.svg, cost.svg, table.tex and table.md. Trainings
    of one epoch have no curves. The page is written last.

    Raises:
        UsageError: a file cannot be written.
    """
    folder, variants, margin = comparison.folder, comparison.variants, comparison.margin
    figures = _figures(comparison)
    for name, content in figures.items():
        write_page(folder / f"{name}.svg", content.decode())
    save_figure(draw_forest(variants, margin), folder / "forest.pdf", _title(comparison))
    write_page(folder / "table.tex", comparison.table("latex") + "\n")
    write_page(folder / "table.md", comparison.table("markdown") + "\n")
    write_page(folder / PAGE, _html(comparison, figures))


def html(comparison: Comparison) -> str:
    """Return the report as HTML."""
    return _html(comparison, _figures(comparison))


def in_words(value: Any) -> str:
    """Return the value of a setting in words: "none" for None and an empty list, "yes" and "no" for bools."""
    if value is None or value == "" or value == [] or value == ():
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(in_words, value)) if isinstance(value, list | tuple) else f"{value}"


def _epochs(variants: Sequence[VariantResult]) -> str:
    """Return the number of epochs, or each variant's if they differ; "" if it is not known."""
    counts = {variant.epochs for variant in variants}
    if len(counts) == 1:
        return str(*counts) if counts != {0} else ""
    return ", ".join(f"{variant.name} {variant.epochs}" for variant in variants)


def _sources(variants: Sequence[VariantResult]) -> list[tuple[str, str]]:
    """Return name and text of each of the users' files once."""
    return [*dict.fromkeys(file for variant in variants for file in variant.sources.items())]


def _figures(comparison: Comparison) -> dict[str, bytes]:
    """Return the figures by name, as SVG."""
    drawn = {
        "forest": draw_forest(comparison.variants, comparison.margin),
        "cost": draw_cost(comparison.variants),
    }
    if any(len(cell.val_accuracies) > 1 for cell in comparison.cells):
        drawn["curves"] = draw_curves(comparison.variants)
    return {name: figure_bytes(figure, "svg", _title(comparison)) for name, figure in drawn.items()}


def _html(comparison: Comparison, figures: dict[str, bytes]) -> str:
    from markupsafe import Markup

    variants, margin = comparison.variants, comparison.margin
    counts = Counter(comparison.verdicts.values())
    summary = ", ".join(
        f"{counts[verdict]} {words}" for verdict, words in VERDICT_WORDS.items() if counts[verdict]
    )
    values = {
        "comparison": comparison,
        "title": _title(comparison),
        "summary": summary if len(variants) > 2 else "",
        "findings": sentences(variants, margin),
        "notes": comparison.notes,
        "margin": margin_text(margin),
        "budget": BUDGETS.get(comparison.budget, comparison.budget),
        "table": Markup(html_table(variants)),
        "caption": short_caption(variants),
        "method": caption(variants, margin) if comparison.differences else "",
        "epochs": _epochs(variants),
        "training_time": duration(sum(cell.seconds for cell in comparison.cells)),
        "settings": {name: in_words(value) for name, value in comparison.recipe.items()},
        "sources": _sources(variants),
        "figures": figures,
        "any_finished": any(variant.accuracies for variant in variants),
        "seeds": (seeds := sorted({cell.seed for cell in comparison.cells})),
        "rows": [(Markup(breakable(v.name)), [_of_seed(v.cells, seed) for seed in seeds]) for v in variants],
        "failures": [cell for cell in comparison.cells if cell.error is not None],
        "link": lambda cell: quote(cell.folder),
        "command": f"reslab compare {shlex.quote(str(comparison.folder))}",
    }
    return render("comparison.html.jinja", values)


def _title(comparison: Comparison) -> str:
    baseline, *others = (variant.name for variant in comparison.variants)
    if not others:
        return baseline
    return f"{others[0] if len(others) == 1 else f'{len(others)} variants'} compared with {baseline}"


def _of_seed(cells: tuple[CellResult, ...], seed: int) -> CellResult | None:
    return next((cell for cell in cells if cell.seed == seed), None)
