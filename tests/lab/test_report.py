"""Report of a comparison: in a real browser, with odd names, failures and nothing finished yet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_comparisons import ERROR, make_comparison, make_variants
from playwright.sync_api import Page

from reslab.errors import UsageError
from reslab.lab.results import report
from reslab.lab.results.photo_counts import PhotoCounts
from reslab.lab.results.sentences import sentences
from reslab.lab.results.variant_result import VariantResult

Visit = Callable[..., Page]
NASTY = "<script>alert(1)</script> & 'q\".py:B"
THREE = {"basic": 0.0, "se": 0.03, NASTY: 0.0}
FILES = ("report.html", "forest.svg", "forest.pdf", "curves.svg", "cost.svg", "table.tex", "table.md")


@pytest.fixture(scope="module")
def variants() -> Sequence[VariantResult]:
    return make_variants(THREE, seeds=8, photos=500, failed={NASTY: [2]})


@pytest.mark.slow
def test_all_files_are_written_with_the_same_bytes_each_time(
    variants: Sequence[VariantResult], tmp_path: Path
) -> None:
    comparison = make_comparison(tmp_path, variants)
    report.write_outputs(comparison)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    report.write_outputs(comparison)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert sorted(first) == sorted(FILES)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_verdicts_table_figures_and_all_cells(
    scheme: str, variants: Sequence[VariantResult], visit: Visit, tmp_path: Path
) -> None:
    comparison = make_comparison(tmp_path, variants, exploratory=True)
    report.write_outputs(comparison)
    page = visit(tmp_path / "report.html", color_scheme=scheme, viewport={"width": 360, "height": 800})
    assert page.title() == "2 variants compared with basic"
    assert page.locator(".verdicts li").all_inner_texts() == list(sentences(variants, 0.01))
    assert "Exploratory" in page.inner_text("header .warning")
    assert page.locator("section[aria-labelledby=results] tbody tr").count() == 3
    widths = page.eval_on_selector_all("img", "all => all.map(img => img.naturalWidth)")
    assert len(widths) == 3
    assert min(widths) > 400
    assert all(page.eval_on_selector_all("img", "all => all.map(img => img.alt)"))
    cells = page.locator(".cells tbody a")
    assert cells.count() == 3 * 8
    for link, cell in zip(cells.all(), comparison.cells, strict=True):
        assert link.get_attribute("href") == f"{cell.folder}/"
        assert link.inner_text() == ("failed" if cell.accuracy is None else f"{100 * cell.accuracy:.2f}")
    failures = page.locator("section[aria-labelledby=cells] li").all_inner_texts()
    assert failures == [f"{NASTY}, seed 2: {ERROR}"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_headings_are_in_order_and_links_within_the_folder(variants: Sequence[VariantResult]) -> None:
    html = report.html(make_comparison(Path("compare/my run"), variants))
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    links = set(re.findall(r'href="([^"#][^"]*)"', html)) - {"data:,"}
    assert {link for link in links if not link.startswith("cells/")} == {
        "forest.pdf", "forest.svg", "curves.svg", "cost.svg", "table.tex", "table.md"
    }  # fmt: skip
    assert "reslab compare &#39;compare/my run&#39;" in html
    assert "<script" not in html


def test_nothing_finished_has_no_figures() -> None:
    failed = make_variants(THREE, seeds=2, failed={name: [0, 1] for name in THREE})
    html = report.html(make_comparison(Path("c"), failed))
    assert "<img" not in html
    assert "All trainings failed so far." in html
    waiting = [replace(v, cells=(), difference=None) for v in failed]
    html = report.html(make_comparison(Path("c"), waiting, seeds=()))
    assert "<img" not in html
    assert html.count("No training is finished yet.") == 2


def test_few_seeds_and_a_lone_baseline() -> None:
    few = report.html(make_comparison(Path("c"), make_variants({"basic": 0.0, "se": 0.03}, seeds=3)))
    assert "<h1><bdi>se compared with basic</bdi></h1>" in few
    assert "under 5 seeds: figures only, no verdict" in few
    alone = report.html(make_comparison(Path("c"), make_variants({"basic": 0.0}, seeds=3)))
    assert alone.count("<img") == 2  # curves and cost


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_table_compiles(variants: Sequence[VariantResult], tmp_path: Path) -> None:
    import subprocess

    report.write_outputs(make_comparison(tmp_path, variants))
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    (tmp_path / "paper.tex").write_text(document)
    subprocess.run(["pdflatex", "-halt-on-error", "paper.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_a_missing_folder_is_an_error_with_advice(
    variants: Sequence[VariantResult], tmp_path: Path, refuses: Callable[..., object]
) -> None:
    with refuses(UsageError, "could not be written"):  # type: ignore[attr-defined]
        report.write_outputs(make_comparison(tmp_path / "missing", variants))


def test_the_page_says_what_is_needed_to_repeat_and_to_judge() -> None:
    source = "class Wide(nn.Module):\n    pass  # <kept>\n"
    made = make_variants({"basic": 0.0, "wide.py:Wide": 0.0}, epochs=1, sources={"wide.py": source})
    comparison = make_comparison(
        Path("c"),
        made,
        counts=PhotoCounts(1350, 150, 2000, ("cat", "dog"), "cat", 0.525),
        command="reslab compare photos basic wide.py:Wide --epochs 1",
        measured_busy=True,
        recipe={"stem": None, "freeze": [], "cache": True, "milestones": [0.5, 0.75]},
    )
    html = report.html(comparison)
    for part in (
        "1,350, 150", "cat</bdi>, 52.5 %", "<dt>epochs</dt><dd>1</dd>", "<dt>all trainings took</dt>",
        "reslab compare photos basic wide.py:Wide --epochs 1", "Source of <bdi>wide.py</bdi>",
        "pass  # &lt;kept&gt;", "on a busy machine", "Every training has one epoch",
        "<dt>stem</dt><dd>none</dd>", "<dt>freeze</dt><dd>none</dd>", "<dt>cache</dt><dd>yes</dd>",
        "<dt>milestones</dt><dd>0.5, 0.75</dd>",
    ):  # fmt: skip
        assert part in html, part
    assert html.index("<details") < html.index("Satterthwaite") < html.index("</details>")
    assert "busy machine" in comparison.notes[0]
