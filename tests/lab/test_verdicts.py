"""Verdicts, intervals and p-values against scipy, plain loops and simulated trainings; refusals."""

from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from reslab.errors import UsageError
from reslab.lab.statistics.mean_squares import Estimate, Interval, MeanSquares
from reslab.lab.statistics.verdicts import Difference, answers_from_rows, holm, judge, sign_flip_p

Cells = NDArray[np.bool_]  # (S, N)


def judged(baseline: Cells, variant: Cells, **options: object) -> Difference:
    """Judge one variant; row s is seed s."""
    cells = {"baseline": dict(enumerate(baseline)), "variant": dict(enumerate(variant))}
    (difference,) = judge(cells, **{"margin": 0.01, **options})  # type: ignore[arg-type]
    return difference


def trained(
    generator: np.random.Generator,
    seeds: int,
    photos: int,
    gain: float = 0.0,
    *,
    seed_spread: float = 0.06,
    photo_spread: float = 0.1,
) -> tuple[Cells, Cells]:
    """Draw right or wrong for the baseline and a variant: a probit model with seeds and photos at random.

    Photos differ in difficulty, and by `photo_spread` in how hard they are for the variant alone. Trainings
    differ by `seed_spread`. The variant is better by `gain`. Its photo effects have the mean 0 and are
    symmetric, so that without a gain neither network is better on new photos.
    """
    difficulty = generator.normal(1.3, 1.2, photos)
    own = generator.normal(0, photo_spread, (2, 1, photos))
    luck = generator.normal(0, seed_spread, (2, seeds, 1))
    cells = difficulty + own + luck + generator.normal(0, 0.6, (2, seeds, photos)) > 0
    better = generator.random((seeds, photos)) < gain
    return cells[0], cells[1] | better


def test_golden_example() -> None:
    """Five seeds, eight photos, worked by hand: D is 1 in 13 places and -1 in 2."""
    baseline = np.array([[1, 1, 0, 0, 0, 0, 1, 0]] * 5, bool)
    variant = np.array(
        [
            [1, 1, 1, 1, 0, 0, 1, 0],
            [1, 0, 1, 1, 0, 0, 1, 1],
            [1, 1, 1, 0, 1, 0, 1, 0],
            [1, 1, 1, 1, 1, 0, 1, 0],
            [0, 1, 1, 1, 0, 0, 1, 1],
        ],
        bool,
    )
    got = judged(baseline, variant)
    # gains 2, 2, 2, 3, 2 of 8 photos: d = 11 / 40, MS_seed = 8 var([2, 2, 2, 3, 2] / 8) = 0.025
    assert (got.seeds, got.photos, got.difference) == (5, 8, 11 / 40)
    assert got.spread == pytest.approx(sqrt(0.2) / 8)
    assert got.interval_same_photos.low == pytest.approx(0.275 - 2.7764451052 * sqrt(0.025 / 40))
    # the photos' sums are -1, -1, 5, 4, 2, 0, 0, 2, and all D ** 2 sum to 15
    photo = (51 - 121 / 8) / 5 / 7
    rest = (15 - 121 / 40 - 4 * 0.025 - 7 * photo) / 28
    variance = 0.025 + photo - rest
    freedom = variance**2 / (0.025**2 / 4 + photo**2 / 7 + rest**2 / 28)
    assert got.degrees_of_freedom == pytest.approx(freedom)
    width = stats.t.ppf(0.975, freedom) * sqrt(variance / 40)
    assert got.interval.low == pytest.approx(0.275 - width)
    assert got.interval.high == pytest.approx(0.275 + width)
    assert got.p_value == got.p_holm == pytest.approx(2 * stats.t.sf(0.275 / sqrt(variance / 40), freedom))
    assert (got.limited_by, got.verdict, got.correlation, got.sign_flip_p) == (
        "photos",
        "undecided",
        None,
        None,
    )


@given(st.integers(2, 6), st.integers(2, 9), st.integers(0, 2**32))
def test_mean_squares_equal_a_plain_loop(seeds: int, photos: int, draw: int) -> None:
    D = np.random.default_rng(draw).integers(-1, 2, (seeds, photos))
    d, d_s, d_j = D.mean(), D.mean(axis=1), D.mean(axis=0)
    seed = photos * sum((d_s[s] - d) ** 2 for s in range(seeds)) / (seeds - 1)
    photo = seeds * sum((d_j[j] - d) ** 2 for j in range(photos)) / (photos - 1)
    rest = sum((D[s, j] - d_s[s] - d_j[j] + d) ** 2 for s in range(seeds) for j in range(photos))
    got = MeanSquares.of(D.astype(np.int8))
    expected = (seed, photo, rest / ((seeds - 1) * (photos - 1)))
    assert (got.seed, got.photo, got.rest) == pytest.approx(expected, abs=1e-12)


def test_large_sums_stay_exact() -> None:
    """60,000 photos times 30 seeds: the sums exceed 32 bits."""
    D = np.ones((30, 60_000), np.int8)
    D[0, 0] = -1
    got = MeanSquares.of(D)
    assert got.seed == pytest.approx(60_000 * np.var(D.mean(axis=1), ddof=1))
    assert got.rest == pytest.approx(got.seed, rel=1e-3)  # a single cell is all the variance


@pytest.mark.parametrize("seeds", [2, 5, 10])
def test_same_photos_equals_the_paired_t_test(seeds: int) -> None:
    baseline, variant = trained(np.random.default_rng(seeds), seeds, 400, 0.02)
    got = judged(baseline, variant)
    oracle = stats.ttest_rel(variant.mean(axis=1), baseline.mean(axis=1))
    interval = oracle.confidence_interval(0.95)
    assert got.interval_same_photos.low == pytest.approx(interval.low)
    assert got.interval_same_photos.high == pytest.approx(interval.high)


def test_headline_equals_the_paired_t_test_if_photos_add_nothing() -> None:
    """Each photo gains in one seed only, so no photo stands out."""
    variant = np.zeros((6, 60), bool)
    for seed, gain in enumerate([8, 10, 12, 9, 11, 10]):
        variant[seed, sum([8, 10, 12, 9, 11, 10][:seed]) :][:gain] = True
    got = judged(np.zeros_like(variant), variant)
    oracle = stats.ttest_1samp(variant.mean(axis=1), 0)
    assert got.p_value == pytest.approx(oracle.pvalue, rel=1e-9)
    assert got.interval == got.interval_same_photos
    assert got.degrees_of_freedom == 5
    assert got.limited_by == "seeds"


@given(
    st.integers(1, 8), st.integers(1, 30), st.integers(0, 2**32), st.sampled_from(["seeds", "photos", "both"])
)
def test_order_changes_no_bit(seeds: int, photos: int, draw: int, shuffled: str) -> None:
    generator = np.random.default_rng(draw)
    cells = generator.random((3, seeds, photos)) < [[[0.6]], [[0.7]], [[0.9]]]
    rows = generator.permutation(seeds) if shuffled != "photos" else np.arange(seeds)
    columns = generator.permutation(photos) if shuffled != "seeds" else np.arange(photos)
    names = ("baseline", "one", "two")
    first = {
        name: {s: of_variant[s] for s in range(seeds)} for name, of_variant in zip(names, cells, strict=True)
    }
    second = {
        name: {int(s): of_variant[s][columns] for s in generator.permutation(rows)}
        for name, of_variant in zip(names, cells, strict=True)
    }
    assert judge(first, margin=0.05) == judge(second, margin=0.05)


@given(st.integers(1, 8), st.integers(1, 30), st.integers(0, 2**32))
def test_swapping_negates(seeds: int, photos: int, draw: int) -> None:
    baseline, variant = np.random.default_rng(draw).random((2, seeds, photos)) < [[[0.5]], [[0.8]]]
    one, other = judged(baseline, variant), judged(variant, baseline)
    opposite = {"better": "worse", "worse": "better"}
    assert other == replace(
        one,
        difference=-one.difference,
        interval=negated(one.interval),
        interval_90=negated(one.interval_90),
        interval_same_photos=negated(one.interval_same_photos),
        verdict=opposite.get(str(one.verdict), one.verdict),
    )


def negated(interval: Interval) -> Interval:
    return Interval(-interval.high, -interval.low)


@given(st.integers(2, 8), st.integers(2, 30), st.integers(0, 2**32))
def test_intervals_are_nested_and_agree_with_p(seeds: int, photos: int, draw: int) -> None:
    baseline, variant = np.random.default_rng(draw).random((2, seeds, photos)) < [[[0.4]], [[0.8]]]
    got = judged(baseline, variant)
    assert -1 <= got.interval.low <= got.interval_90.low <= got.difference
    assert got.difference <= got.interval_90.high <= got.interval.high <= 1
    assert got.degrees_of_freedom >= seeds - 1
    assert 0 <= got.p_value <= got.p_holm <= 1
    outside = got.interval.low > 0 or got.interval.high < 0
    assert outside == (got.p_value < 0.05)


@given(st.integers(0, 2**32))
def test_photos_that_both_get_right_narrow_the_interval(draw: int) -> None:
    """Twice as many photos, the new ones easy: the difference halves, and so does its standard error."""
    baseline, variant = np.random.default_rng(draw).random((2, 6, 40)) < [[[0.4]], [[0.7]]]
    easy = np.ones_like(baseline)
    before, after = judged(baseline, variant), judged(np.hstack([baseline, easy]), np.hstack([variant, easy]))
    assert after.difference == before.difference / 2
    assert after.spread == pytest.approx(before.spread / 2)
    assert after.interval_same_photos.high - after.difference == pytest.approx(
        (before.interval_same_photos.high - before.difference) / 2
    )
    assert (after.sign_flip_p, after.correlation) == pytest.approx((before.sign_flip_p, before.correlation))


def test_identical_answers_are_equivalent() -> None:
    cells = np.random.default_rng(0).random((5, 50)) < 0.8
    got = judged(cells, cells)
    assert (got.difference, got.interval, got.p_value, got.spread) == (0, Interval(0, 0), 1, 0)
    assert (got.verdict, got.within_margin, got.seeds_needed) == ("equivalent", True, None)
    assert got.correlation == pytest.approx(1)


def test_equal_gains_by_chance_prove_no_certainty() -> None:
    """One of ten photos is gained in each of five seeds, each time another: spread 0, p-value not."""
    got = judged(np.zeros((5, 10), bool), np.eye(5, 10, dtype=bool))
    assert (got.difference, got.spread, got.verdict) == (0.1, 0, "undecided")
    assert 0.05 < got.p_value < 0.5
    assert got.interval.low < 0


def test_a_training_without_luck_rests_on_its_photos() -> None:
    """The same photos gain in every seed, so only new photos could differ."""
    gains = np.arange(100) < 10
    got = judged(np.zeros((5, 100), bool), np.tile(gains, (5, 1)))
    oracle = stats.ttest_1samp(gains, 0)
    assert got.p_value == pytest.approx(oracle.pvalue)
    assert got.degrees_of_freedom == pytest.approx(99)
    assert (got.limited_by, got.interval_same_photos) == ("photos", Interval(0.1, 0.1))


def test_one_is_always_right_and_one_always_wrong() -> None:
    got = judged(np.zeros((5, 10), bool), np.ones((5, 10), bool))
    assert (got.difference, got.interval, got.p_value, got.verdict) == (1, Interval(1, 1), 0, "better")


def test_one_seed_and_one_photo_give_figures_only() -> None:
    one_seed = judged(np.array([[0, 0, 1, 1]], bool), np.array([[1, 1, 1, 1]], bool))
    assert (one_seed.difference, one_seed.spread, one_seed.correlation) == (0.5, None, None)
    assert one_seed.interval == one_seed.interval_90 == one_seed.interval_same_photos == Interval(-1, 1)
    assert (one_seed.p_value, one_seed.verdict, one_seed.seeds_needed) == (1, None, None)
    one_photo = judged(np.zeros((6, 1), bool), np.ones((6, 1), bool))
    assert (one_photo.difference, one_photo.interval, one_photo.verdict) == (1, Interval(-1, 1), None)
    assert (one_photo.limited_by, one_photo.seeds_needed) == ("photos", None)


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_no_verdict_under_five_seeds(seeds: int) -> None:
    got = judged(*drawn_gains([30, 31, 32, 30][:seeds]))
    assert got.p_value < 0.05
    assert (got.verdict, got.seeds_needed) == (None, 5)


def drawn_gains(gains: list[int], photos: int = 1000) -> tuple[Cells, Cells]:
    """Return cells in which seed s gains or loses exactly gains[s] photos, each time others."""
    generator = np.random.default_rng(0)
    baseline, variant = np.zeros((2, len(gains), photos), bool)
    for s, gain in enumerate(gains):
        (variant if gain > 0 else baseline)[s, generator.choice(photos, abs(gain), replace=False)] = True
    return baseline, variant


def test_verdicts() -> None:
    baseline, variant = drawn_gains([30, 40, 35, 45, 38])
    assert judged(baseline, variant).verdict == "better"
    assert judged(variant, baseline).verdict == "worse"
    small = judged(baseline, variant, margin=0.06)
    assert (small.verdict, small.within_margin, small.seeds_needed) == ("better", True, None)
    assert judged(*drawn_gains([3, -2, 1, -3, 2])).verdict == "equivalent"
    unclear = judged(*drawn_gains([30, -20, 25, 10, -5]))
    assert (unclear.verdict, unclear.within_margin) == ("undecided", False)


def test_a_failed_training_is_never_better() -> None:
    baseline, variant = drawn_gains([30, 40, 35, 45, 38])
    assert judged(baseline, variant, failed=["variant"]).verdict == "undecided"
    assert judged(baseline, variant, failed=["variant"]).seeds_needed is None
    assert judged(variant, baseline, failed=["variant"]).verdict == "worse"
    assert judged(baseline, variant, failed=["baseline"]).verdict == "better"
    assert judged(variant, baseline, failed=["baseline"]).verdict == "undecided"
    assert judged(baseline, variant, failed={"another"}).verdict == "better"
    assert judged(*drawn_gains([3, -2, 1, -3, 2]), failed=["variant"]).verdict == "undecided"


def test_level_of_a_look_decides() -> None:
    cells = drawn_gains([30, 40, 35, 45, 38])
    p = judged(*cells).p_value
    assert judged(*cells, level=p).verdict == "better"
    assert judged(*cells, level=p * 0.99).verdict == "undecided"
    same = drawn_gains([3, -2, 1, -3, 2])
    assert judged(*same, level=1e-4).verdict == "undecided"


def test_seeds_needed_would_settle_it() -> None:
    """80 % of simulated comparisons with so many seeds are settled, of those with a third fewer, less."""
    gains = [30, -20, 25, 10, -5]
    needed = judged(*drawn_gains(gains)).seeds_needed
    assert needed is not None
    generator = np.random.default_rng(1)

    def settled(seeds: int) -> float:
        d = generator.normal(np.mean(gains), np.std(gains, ddof=1), (4000, seeds))
        return float((stats.ttest_1samp(d, 0, axis=1).pvalue <= 0.05).mean())

    assert settled(needed) == pytest.approx(0.8, abs=0.04)
    assert settled(needed * 2 // 3) < 0.7


def test_seeds_needed_for_equivalence_or_never() -> None:
    assert judged(*drawn_gains([12, -11, 9, -10, 1])).seeds_needed in range(6, 15)
    # a few photos decide: with any number of seeds, new photos could turn the difference
    hard = np.tile(np.arange(100) < 3, (6, 1))
    limited = judged(np.zeros((6, 100), bool), hard)
    assert (limited.verdict, limited.limited_by, limited.seeds_needed) == ("undecided", "photos", None)


def test_holm_counts_variants_that_were_run_before() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01, 0.04, 0.03], also_run=2) == pytest.approx([0.05, 0.12, 0.12])
    assert holm([]) == []
    baseline, variant = drawn_gains([30, 40, 35, 45, 38])
    p = judged(baseline, variant).p_value
    assert judged(baseline, variant, also_run=9).p_holm == pytest.approx(10 * p)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.integers(0, 3))
def test_holm_rejects_step_by_step(p_values: list[float], also_run: int) -> None:
    """The textbook form: the smallest against 0.05 / m, the next against 0.05 / (m - 1), until one fails."""
    rejected, left = set(), len(p_values) + also_run
    for i in sorted(range(len(p_values)), key=p_values.__getitem__):
        if left * p_values[i] > 0.05:
            break
        rejected.add(i)
        left -= 1
    assert {i for i, p in enumerate(holm(p_values, also_run)) if p <= 0.05} == rejected


@settings(max_examples=25)
@given(st.lists(st.integers(-9, 9), min_size=2, max_size=10))
def test_sign_flips_equal_scipy(gains: list[int]) -> None:
    oracle = stats.permutation_test(
        (gains,), np.sum, permutation_type="samples", n_resamples=inf, vectorized=True, axis=-1
    )
    assert sign_flip_p(gains) == pytest.approx(min(1.0, oracle.pvalue))


def test_sign_flips_of_many_seeds() -> None:
    assert sign_flip_p([1] * 60) == pytest.approx(2 / 2**60)
    assert judged(*drawn_gains([30, 40, 35, 45, 38, 41])).sign_flip_p == 2 / 2**6


def test_correlation_equals_numpy() -> None:
    baseline, variant = trained(np.random.default_rng(3), 7, 300)
    expected = np.corrcoef(baseline.mean(axis=1), variant.mean(axis=1))[0, 1]
    assert judged(baseline, variant).correlation == pytest.approx(expected)


def estimate(baseline: Cells, variant: Cells) -> tuple[Estimate, Estimate]:
    """Return the estimates for new photos and for these photos."""
    D = variant.astype(np.int8) - baseline.astype(np.int8)
    squares = MeanSquares.of(D)
    return squares.new_photos(float(D.mean())), squares.same_photos(float(D.mean()))


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "photo_spread"), [(5, 0.0), (5, 0.4), (10, 0.1)])
def test_false_alarms_are_five_percent(seeds: int, photo_spread: float) -> None:
    """4,000 comparisons of equals. Four standard errors of 5 % are 1.4 points."""
    generator = np.random.default_rng(11)
    cells = (trained(generator, seeds, 200, photo_spread=photo_spread) for _ in range(4000))
    alarms = sum(estimate(*pair)[0].p_value() <= 0.05 for pair in cells)
    assert alarms / 4000 <= 0.05 + 0.014


@pytest.mark.slow
def test_new_photos_are_covered_where_same_photos_are_not() -> None:
    generator = np.random.default_rng(12)
    found = [estimate(*trained(generator, 5, 200, photo_spread=1, seed_spread=0.01)) for _ in range(1000)]
    new, same = ([pair[i].p_value() > 0.05 for pair in found] for i in (0, 1))
    assert sum(new) / 1000 == pytest.approx(0.95, abs=0.03)
    assert sum(same) / 1000 < 0.85


def test_rows_become_answers() -> None:
    right = np.array([True, False])
    rows = [("plain", 1, right), ("se", 1, ~right), ("plain", 2, right), ("se", 2, right)]
    answers = answers_from_rows(rows)
    assert list(answers) == ["plain", "se"]
    assert answers["se"][1] is rows[1][2]


def test_missing_and_doubled_seeds_are_refused() -> None:
    right = np.array([True, False])
    with pytest.raises(UsageError, match="seed 1 of se is there twice"):
        answers_from_rows([("plain", 1, right), ("se", 1, right), ("se", 1, right)])
    with pytest.raises(UsageError, match="se lacks seed 2, 3"):
        answers_from_rows([("plain", 1, right), ("plain", 2, right), ("plain", 3, right), ("se", 1, right)])
    with pytest.raises(UsageError, match="plain lacks seed 4"):
        judge({"plain": {1: right}, "se": {1: right, 4: right}}, margin=0.01)
    with pytest.raises(UsageError, match="no answers"):
        judge({"plain": {}, "se": {}}, margin=0.01)


def test_other_photos_and_margins_in_points_are_refused() -> None:
    with pytest.raises(UsageError, match="numbers of test photos differ"):
        judge({"plain": {1: np.ones(3, bool)}, "se": {1: np.ones(4, bool)}}, margin=0.01)
    with pytest.raises(UsageError, match="margin 1 is not in"):
        judge({"plain": {1: np.ones(3, bool)}, "se": {1: np.ones(3, bool)}}, margin=1.0)


def test_a_baseline_alone_has_no_differences() -> None:
    assert judge({"plain": {1: np.ones(3, bool)}}, margin=0.01) == ()
