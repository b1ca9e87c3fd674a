"""Power, detectable difference and winner's curse against scipy's noncentral t and simulation."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reslab.lab.statistics.power import (
    detectable,
    equivalence_power,
    power,
    spread_of_photos,
    t_power,
    winners_curse,
)


@given(st.integers(1, 40), st.floats(-6, 6), st.sampled_from([0.1, 0.05, 0.01]))
def test_power_equals_the_noncentral_t(freedom: int, noncentrality: float, level: float) -> None:
    critical = stats.t.ppf(1 - level / 2, freedom)
    oracle = stats.nct(freedom, noncentrality)
    expected = oracle.sf(critical) + oracle.cdf(-critical)
    assert t_power(noncentrality, freedom, level) == pytest.approx(expected, abs=1e-4)


def test_power_of_one_spread_with_ten_seeds() -> None:
    assert power(spread=0.7, seeds=10, difference=0.7) == pytest.approx(0.803, abs=0.001)
    assert power(spread=0.7, seeds=10, difference=0) == pytest.approx(0.05)
    assert power(spread=0.7, seeds=1, difference=0.7) == 0
    assert power(spread=0.001, seeds=100, difference=1) == pytest.approx(1)


def test_eight_seeds_show_about_eight_tenths_at_the_usual_spread() -> None:
    assert detectable(spread=0.7, seeds=8) == pytest.approx(0.81, abs=0.005)


@pytest.mark.parametrize("photos", [160, 2000])
def test_few_test_photos_alone_spread_the_differences_of_seeds(photos: int) -> None:
    random = np.random.default_rng(3)
    gains = random.choice([-1, 0, 1], p=[0.05, 0.9, 0.05], size=(4000, photos)).mean(axis=1)
    assert spread_of_photos(photos, 0.1) == pytest.approx(gains.std(), rel=0.05)


def test_seeds_show_less_on_few_photos() -> None:
    shown = {photos: 100 * detectable(spread_of_photos(photos, 0.1), 5) for photos in (160, 2000)}
    assert shown[2000] == pytest.approx(1.2, abs=0.05)
    assert shown[160] == pytest.approx(4.2, abs=0.1)


@given(st.integers(2, 60), st.sampled_from([0.05, 0.01, 1e-4]))
def test_a_detectable_difference_has_eighty_percent_power(seeds: int, level: float) -> None:
    difference = detectable(0.3, seeds, level)
    assert power(0.3, seeds, difference, level) == pytest.approx(0.8, abs=1e-6)
    if seeds > 2:
        assert difference < detectable(0.3, seeds - 1, level)


@pytest.mark.parametrize(("seeds", "difference"), [(5, 0.5), (5, -1.0), (10, 0.5)])
def test_winners_curse_equals_simulation(seeds: int, difference: float) -> None:
    draws = np.random.default_rng(0).normal(difference, 1, (100_000, seeds))
    means, errors = draws.mean(axis=1), draws.std(axis=1, ddof=1) / sqrt(seeds)
    significant = means / errors * np.sign(difference) > stats.t.ppf(0.975, seeds - 1)
    assert winners_curse(1, seeds, difference) == pytest.approx(means[significant].mean(), abs=0.02)


def test_half_a_spread_is_reported_as_one() -> None:
    assert winners_curse(spread=0.7, seeds=5, difference=0.35) == pytest.approx(0.7, abs=0.05)
    assert winners_curse(spread=0.7, seeds=200, difference=0.35) == pytest.approx(0.35, rel=0.01)


@pytest.mark.parametrize("difference", [0.0, 0.5])
def test_equivalence_power_equals_simulation(difference: float) -> None:
    draws = np.random.default_rng(1).normal(difference, 0.74, (100_000, 10))
    means, errors = draws.mean(axis=1), draws.std(axis=1, ddof=1) / sqrt(10)
    found = np.abs(means) + stats.t.ppf(0.95, 9) * errors <= 1
    expected = equivalence_power(difference, 0.74 / sqrt(10), 9, margin=1, level=0.05)
    assert expected == pytest.approx(found.mean(), abs=0.03)
