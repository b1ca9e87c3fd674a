"""Table and sentences of a comparison: golden files, every name, escapes, narrow terminals, empty states."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_comparisons import ERROR, LONG_NAMES, make_variants

from reslab.lab.results.sentences import decimals, margin_text, notes, sentences, signed
from reslab.lab.results.tables import comparison_table
from reslab.lab.results.variant_result import VariantResult
from reslab.text import text_width

THREE = {"basic": 0.0, "se": 0.015, "my_block.py:MyBlock": 0.001}
NASTY = r"a_b%c&d$e#f{g}h~i^j\k|l<m>n`o*p"


@pytest.fixture(scope="module")
def three() -> Sequence[VariantResult]:
    return make_variants(THREE, seeds=10, failed={"my_block.py:MyBlock": [2, 4]})


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "html"])
def test_tables_equal_their_golden_files(
    format: str,  # noqa: A002
    three: Sequence[VariantResult],
    golden: Callable[[str, str], None],
) -> None:
    golden(f"compare_{format}.txt", comparison_table(three, 0.01, format))


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "html"])
@pytest.mark.parametrize("count", [1, 2, 30])
def test_every_variant_has_a_row_and_a_sentence(format: str, count: int) -> None:  # noqa: A002
    names = LONG_NAMES[:count]
    variants = make_variants(dict.fromkeys(names, 0.0), seeds=5, photos=200)
    shown = comparison_table(variants, 0.01, format).replace(r"\_", "_").replace("<wbr>", "")
    assert all(name in shown for name in names)
    assert {line.split(": ")[0] for line in sentences(variants, 0.01)} == set(names[1:] or names)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_text_fits_the_terminal(width: int) -> None:
    variants = make_variants(dict.fromkeys(("basic", *LONG_NAMES[:3]), 0.0), seeds=5, photos=200)
    table, said = comparison_table(variants, 0.01, width=width).rsplit("\n\n", 1)
    assert max(map(text_width, table.splitlines())) <= width
    assert all(len(line) <= width or " " not in line.strip() for line in said.splitlines())


@given(st.text(min_size=1, max_size=30))
def test_latex_has_balanced_braces_and_one_cell_for_each_column(name: str) -> None:
    variants = tuple(replace(v, name=name if v.name == "se" else v.name) for v in _two())
    check_latex(comparison_table(variants, 0.01, "latex"))


def check_latex(text: str) -> None:
    """Read a tabular as TeX would: no unescaped special character, balanced braces, equal columns."""
    plain = re.sub(r"\\text(backslash|tildelow|asciitilde|asciicircum|less|greater|bar)\{\}", "", text)
    lines = plain.splitlines()
    rows = [line for line in lines if line.endswith(r" \\")]
    for row in rows:
        cells = re.split(r"(?<!\\)&", row.removesuffix(r" \\"))
        assert len(cells) == 8
        bare = re.sub(r"\\[&%$#_{}]", "", row.removesuffix(r" \\"))
        assert not set(bare) & set("%#_~^{}")
        assert bare.count("$") % 2 == 0
    assert len(rows) == 1 + 2
    for line in lines:
        bare = re.sub(r"\\[{}]", "", line)
        assert bare.count("{") == bare.count("}")
    assert plain.count(r"\begin{tabular}") == plain.count(r"\end{tabular}") == 1


def test_odd_names_are_escaped() -> None:
    variants = make_variants({"basic": 0.0, NASTY: 0.0}, seeds=5, photos=200)
    check_latex(comparison_table(variants, 0.01, "latex"))
    assert "<m>" not in comparison_table(variants, 0.01, "html")
    row = comparison_table(variants, 0.01, "markdown").splitlines()[3]
    assert len(re.split(r"(?<!\\)\|", row)) == 8 + 2


def test_each_verdict_is_said_in_words() -> None:
    def said(gain: float, **settings: object) -> str:
        return sentences(make_variants({"basic": 0.0, "se": gain}, **settings), 0.01)[0]  # type: ignore[arg-type]

    exact = {"spread": 0.001, "photos": 20_000}
    assert re.fullmatch(r"se: better than basic by \d\.\d points \[2\.\d, 3\.\d\]\.", said(0.03, **exact))
    assert said(0.006, **exact).endswith("], by less than matters (margin 1.0).")
    assert said(-0.03).startswith("se: worse than basic by ")
    assert said(0.0, **exact).startswith("se: practically equal to basic: ")
    assert said(0.0, **exact).endswith("lies within the margin of 1.0.")
    assert re.search(
        r"not shown to be better or worse .*; about \d+ seeds would settle it\.$", said(0.0, spread=0.02)
    )
    assert said(0.02, seeds=4).endswith("with 4 seeds; under 5 seeds: figures only, no verdict.")
    assert said(0.02, seeds=1).endswith(" points with 1 seed; under 5 seeds: figures only, no verdict.")
    assert said(0.02, photos=1).endswith(" points on one test photo: figures only, no verdict.")


def test_a_comparison_limited_by_its_photos_asks_for_photos() -> None:
    variants = make_variants({"basic": 0.0, "se": 0.0}, seeds=8, photos=300)
    (difference,) = (v.difference for v in variants if v.difference)
    few = replace(difference, limited_by="photos", verdict="undecided", seeds_needed=None)
    lines = sentences((variants[0], replace(variants[1], difference=few)), 0.01)
    assert lines[0].endswith("; 1,000 seeds would not settle it.")
    assert lines[1] == (
        "se: the difference is limited by the 300 test photos: more seeds would help less than more photos."
    )


@pytest.mark.parametrize(
    ("size", "words"), [(0.004, "expect much less."), (0.006, "expect about 0.4 points."), (0.01, None)]
)
def test_the_winners_curse_is_stated_where_it_bites(size: float, words: str | None) -> None:
    """With this spread, a difference of 0.0062 has p = 0.05."""
    basic, se = _two()
    assert se.difference is not None
    found = replace(se.difference, difference=size, spread=0.005, seeds=5, verdict="better", sign_flip_p=None)
    lines = sentences((basic, replace(se, difference=found)), 0.01)
    curse = [line for line in lines if "overestimated" in line]
    assert bool(curse) is (words is not None)
    assert words is None or words in curse[0]


def test_a_second_opinion_that_disagrees_is_stated() -> None:
    basic, se = _two()
    assert se.difference is not None
    found = replace(se.difference, verdict="better", sign_flip_p=0.08)
    assert any(
        "second opinion" in line and "0.08" in line
        for line in sentences((basic, replace(se, difference=found)), 0.01)
    )


def test_failures_are_listed_by_reason(three: Sequence[VariantResult]) -> None:
    assert f"my_block.py:MyBlock: seeds 2, 4 failed: {ERROR}" in sentences(three, 0.01)
    better = make_variants({"basic": 0.0, "se": 0.05}, failed={"se": [1]})
    assert sentences(better, 0.01)[0].endswith("; a failed training rules out another verdict.")


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "html"])
def test_empty_states_have_a_table(format: str) -> None:  # noqa: A002
    alone = make_variants({"basic": 0.0})
    assert "basic" in comparison_table(alone, 0.01, format)
    failed = make_variants(THREE, seeds=2, failed={name: [0, 1] for name in THREE})
    assert "failed" in comparison_table(failed, 0.01, format)
    waiting = tuple(replace(v, cells=(), difference=None) for v in failed)
    assert "not finished" in comparison_table(waiting, 0.01, format)
    assert sentences(waiting, 0.01)[0] == "se: no seed is finished for both basic and se."


def test_numbers() -> None:
    assert signed(0.008) == "+0.8"
    assert signed(-0.0001) == "+0.0"
    assert [margin_text(m) for m in (0.01, 0.0025, 0.1)] == ["1.0", "0.25", "10.0"]
    assert decimals(make_variants({"basic": 0.0, "se": 0.0}, photos=200)) == 1
    assert decimals(make_variants({"basic": 0.0, "se": 0.0}, photos=100_000, spread=0.0005)) == 2


def test_notes_say_what_was_done_besides() -> None:
    assert notes(exploratory=False, planned_seeds=None, also_run=0) == ()
    three = notes(exploratory=True, planned_seeds=20, also_run=2)
    assert [re.search(r"Exploratory|20 seeds|2 variants", note) is not None for note in three] == [True] * 3


def _two() -> tuple[VariantResult, ...]:
    return make_variants({"basic": 0.0, "se": 0.0}, seeds=5, photos=100)
