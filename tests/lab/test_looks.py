"""Levels of planned looks: false alarms and power of simulated trainings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from reslab.errors import UsageError
from reslab.lab.statistics.looks import look_levels, planned_looks


def stopped(differences: np.ndarray, levels: dict[int, float], adjusted: int = 1) -> np.ndarray:
    """Return for each row (R, max_seeds) the seeds at its first significant look, or 0."""
    first = np.zeros(len(differences), int)
    for seeds, level in levels.items():
        p = stats.ttest_1samp(differences[:, :seeds], 0, axis=1).pvalue
        first[(first == 0) & (adjusted * p <= level)] = seeds
    return first


def test_looks_come_after_each_quarter() -> None:
    assert planned_looks(20) == [5, 10, 15, 20]
    assert planned_looks(10) == [5, 8, 10]
    assert planned_looks(5) == [5]
    assert list(look_levels(20)) == [5, 10, 15, 20]


def test_levels_are_those_of_o_brien_and_fleming() -> None:
    """With many seeds they approach the published bound for four looks, 4.048 / sqrt(look)."""
    published = [2 * stats.norm.sf(4.048 / np.sqrt(look)) for look in range(1, 5)]
    assert list(look_levels(400).values()) == pytest.approx(published, rel=0.05)
    assert look_levels(5) == {5: 0.05}
    assert list(look_levels(20).values()) == pytest.approx([4.5e-5, 0.0039, 0.0184, 0.0413], rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("max_seeds", [6, 10, 20])
def test_false_alarms_of_all_looks_are_five_percent(max_seeds: int) -> None:
    """100,000 simulated comparisons: four standard errors of 5 % are 0.3 points."""
    nothing = np.random.default_rng(2).normal(size=(100_000, max_seeds))
    alarms = (stopped(nothing, look_levels(max_seeds)) > 0).mean()
    assert alarms == pytest.approx(0.05, abs=0.003)


@pytest.mark.slow
def test_false_alarms_among_five_variants_are_five_percent() -> None:
    """Holm's first step multiplies the smallest p by five; the alarm of each variant is then 1 %."""
    nothing = np.random.default_rng(3).normal(size=(100_000, 20))
    alarms = (stopped(nothing, look_levels(20, variants=5), adjusted=5) > 0).mean()
    assert alarms <= 0.01 + 0.0013


def test_one_spread_is_found_with_six_seeds_fewer() -> None:
    found = stopped(np.random.default_rng(4).normal(1, 1, (10_000, 20)), look_levels(20))
    assert (found > 0).mean() == pytest.approx(0.986, abs=0.006)
    assert np.where(found == 0, 20, found).mean() == pytest.approx(14, abs=0.3)


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot plan looks for 4 seeds"):
        look_levels(4)
