"""A baseline at chance level is named first: in the terminal, in the table for a paper and on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_comparisons import make_comparison, make_variants

from reslab.lab.results import report
from reslab.lab.results.photo_counts import PhotoCounts
from reslab.lab.results.sentences import chance_warning
from reslab.lab.statistics.mean_squares import Interval, accuracy_interval

COUNTS = PhotoCounts(1000, 100, 160, ("cat", "dog"), "cat", 0.5)


def test_a_baseline_at_chance_level_is_named_first() -> None:
    variants = make_variants({"basic": 0.0, "se": 0.0}, seeds=3, photos=160, accuracy=0.485)
    interval = Interval(0.44, 0.53)
    comparison = make_comparison(Path("c"), variants, counts=COUNTS, baseline_interval=interval)
    warning = comparison.warning
    assert warning is not None
    assert "always answering 'cat' gives 50.0 %" in warning
    for kind in ("text", "markdown", "latex", "html"):
        first = comparison.table(kind, width=1000)[: len(warning) + 20]  # type: ignore[arg-type]
        assert "The baseline" in first
    page = report.html(comparison)
    assert page.index("always answering") < page.index("under 5 seeds: figures only")
    assert comparison.as_json()["warning"] == warning


def test_a_baseline_above_chance_gives_no_warning() -> None:
    comparison = make_comparison(Path("c"), make_variants({"basic": 0.0, "se": 0.0}, seeds=3))
    assert comparison.warning is None  # of an older comparison, without counts
    known = replace(comparison, counts=COUNTS, baseline_interval=Interval(0.88, 0.92))
    assert known.warning is None
    assert known.table() == comparison.table()


def test_few_photos_cannot_tell_and_the_warning_says_that() -> None:
    below = chance_warning(0.485, Interval(0.44, 0.53), COUNTS)
    assert below is not None
    assert below.startswith("The baseline has learned nothing yet: 48.5 %, and")
    unclear = chance_warning(0.55, Interval(0.47, 0.63), COUNTS)
    assert unclear is not None
    assert "may have learned nothing yet: 55.0 % of 160 test photos" in unclear
    assert chance_warning(0.6, Interval(0.51, 0.69), COUNTS) is None


@pytest.mark.parametrize("seeds", [1, 4])
def test_the_interval_of_an_accuracy_covers_it_for_new_photos(seeds: int) -> None:
    random, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        hardness = random.uniform(0.2, 1, 300)  # of new photos; the accuracy is 0.6
        interval = accuracy_interval([*(random.random((seeds, 300)) < hardness)])
        covered += interval.low <= 0.6 <= interval.high
    assert 0.93 < covered / 1000 < 0.97
    assert accuracy_interval([np.array([True])]) == Interval(-1.0, 1.0)
