"""Statistics of a comparison: difference of accuracies, intervals, p-values, verdict."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isinf, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reslab.errors import UsageError

from .mean_squares import Estimate, Interval, MeanSquares
from .power import USUAL_POWER, equivalence_power, t_power

Answers = Mapping[str, Mapping[int, NDArray[np.bool_]]]
Verdict = Literal["better", "worse", "equivalent", "undecided"]

MIN_SEEDS_FOR_VERDICT = 5
MIN_SEEDS_FOR_SIGN_FLIPS = 6  # the smallest p of 5 seeds, 2 / 2 ** 5, is above 0.05
MAX_SEEDS_NEEDED = 1000


@dataclass(frozen=True)
class Difference:
    """Difference between a variant's accuracy and the baseline's, with its uncertainty and verdict.

    Accuracies and differences are fractions of 1: 0.01 is one point. An interval that the data cannot
    bound, such as that of one seed, is [-1, 1].

    Attributes:
        name: of the variant.
        seeds: number of pairs of trainings.
        photos: number of test photos.
        difference: mean accuracy of the variant minus that of the baseline.
        interval: 95 % interval for new seeds and new photos.
        interval_90: 90 % interval for new seeds and new photos, for the test of equivalence.
        interval_same_photos: 95 % interval for new seeds and these photos.
        p_value: two-sided, of the t-test that belongs to `interval`.
        p_holm: `p_value` adjusted for all variants that were ever run (Holm 1979).
        sign_flip_p: exact two-sided p of flipping the signs of the seeds' differences; None under 6 seeds.
        degrees_of_freedom: of the t-test, at least seeds - 1.
        spread: standard deviation of the differences of single seeds; None for one seed.
        correlation: between the two accuracies over seeds; None under 3 seeds or if one does not vary.
        limited_by: larger part of the variance. More of these would help most.
        verdict: None under 5 seeds or for one photo.
        within_margin: the interval of the equivalence test lies within the margin. With the verdict "better"
            it means: better, by less than matters.
        seeds_needed: number of seeds that would settle the question either way with 80 % power, if
            difference and spread stay the same. None if it is settled, or if 1,000 seeds would not settle it.
    """

    name: str
    seeds: int
    photos: int
    difference: float
    interval: Interval
    interval_90: Interval
    interval_same_photos: Interval
    p_value: float
    p_holm: float
    sign_flip_p: float | None
    degrees_of_freedom: float
    spread: float | None
    correlation: float | None
    limited_by: Literal["seeds", "photos"]
    verdict: Verdict | None
    within_margin: bool
    seeds_needed: int | None


def judge(
    answers: Answers, *, margin: float, also_run: int = 0, level: float = 0.05, failed: Collection[str] = ()
) -> tuple[Difference, ...]:
    """Return the difference of each variant to the baseline, in the order of `answers`.

    The verdict is "better" or "worse" if Holm's p is at most `level`. It is "equivalent" if the interval of
    the equivalence test lies within the margin (Schuirmann 1987, "A comparison of the two one-sided tests
    procedure"), else "undecided". The order of seeds and photos does not change a bit.

    Args:
        answers: right or wrong, {variant: {seed: (N,) bool}}; the first variant is the baseline.
        margin: largest difference that does not matter, as a fraction: 0.01 is one point.
        also_run: number of variants that were run before and are not in `answers`. Holm's method counts them
            with p = 1. No other p would make it stricter.
        level: significance level of this look, see `look_levels`. The interval of the equivalence test has
            the confidence 1 - 2 level.
        failed: variants with a failed or diverged training. A failed variant is never better, a failed
            baseline makes none worse, and neither is equivalent.

    Raises:
        UsageError: seeds or numbers of photos differ between variants, or the margin is not a fraction.
    """
    if not 0 <= margin < 1:
        raise UsageError(f"margin {margin:g} is not in [0, 1)", "it is a fraction: 0.01 is one point")
    _check(answers)
    baseline, *others = answers
    pairs = [_Pair.of(answers[name], answers[baseline]) for name in others]
    p_holm = holm([pair.estimate.p_value() for pair in pairs], also_run)
    found = []
    for name, pair, p in zip(others, pairs, p_holm, strict=True):
        squares, estimate = pair.squares, pair.estimate
        within = estimate.interval(1 - 2 * level).within(margin)
        verdict: Verdict | None = "undecided"
        if squares.seeds < MIN_SEEDS_FOR_VERDICT or squares.photos == 1:
            verdict = None
        elif p <= level and name not in failed and estimate.difference > 0:
            verdict = "better"
        elif p <= level and baseline not in failed and estimate.difference < 0:
            verdict = "worse"
        elif within and name not in failed and baseline not in failed:
            verdict = "equivalent"
        more_would_help = verdict in (None, "undecided") and name not in failed and baseline not in failed
        needed = _seeds_needed(pair, margin, level, len(others) + also_run) if more_would_help else None
        found.append(
            Difference(
                name=name,
                seeds=squares.seeds,
                photos=squares.photos,
                difference=estimate.difference,
                interval=estimate.interval(0.95),
                interval_90=estimate.interval(0.9),
                interval_same_photos=squares.same_photos(estimate.difference).interval(0.95),
                p_value=estimate.p_value(),
                p_holm=p,
                sign_flip_p=sign_flip_p(pair.gains) if squares.seeds >= MIN_SEEDS_FOR_SIGN_FLIPS else None,
                degrees_of_freedom=estimate.degrees_of_freedom,
                spread=sqrt(squares.seed / squares.photos) if squares.seeds > 1 else None,
                correlation=pair.correlation,
                limited_by="seeds" if squares.seed >= squares.photo - squares.rest else "photos",
                verdict=verdict,
                within_margin=within,
                seeds_needed=needed,
            )
        )
    return tuple(found)


def answers_from_rows(
    rows: Iterable[tuple[str, int, NDArray[np.bool_]]],
) -> dict[str, dict[int, NDArray[np.bool_]]]:
    """Return the answers for `judge` from rows of (variant, seed, right or wrong per photo).

    The variant of the first row is the baseline.

    Raises:
        UsageError: a variant has a seed twice or lacks one, or numbers of photos differ.
    """
    answers: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for name, seed, right in rows:
        of_variant = answers.setdefault(name, {})
        if seed in of_variant:
            raise UsageError(f"seed {seed} of {name} is there twice", "a seed counts once per variant")
        of_variant[seed] = right
    _check(answers)
    return answers


def holm(p_values: Sequence[float], also_run: int = 0) -> list[float]:
    """Return the p-values adjusted by Holm's method, in the same order.

    Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        p_values: of the tests, 0 to 1.
        also_run: number of further tests with p = 1.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) + also_run - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def sign_flip_p(gains: Sequence[int]) -> float:
    """Return the exact two-sided p of the sum of paired differences under all 2 ** S flips of their signs.

    Fisher 1935, "The design of experiments", section 21.

    Args:
        gains: (S,), numbers of photos that the variant of each pair gets right more than the baseline.
    """
    sizes = sorted(abs(gain) for gain in gains if gain)  # sorted, so that their order does not change a bit
    most = sum(sizes)
    chances = np.zeros(2 * most + 1)  # of the sums -most to most
    chances[most] = 1
    for size in sizes:
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2  # only zeros wrap around
    extreme = abs(sum(gains))
    return min(
        1.0, float(chances[: most - extreme + 1].sum() + chances[max(most + extreme, most + 1) :].sum())
    )


@dataclass(frozen=True)
class _Pair:
    """Paired answers of a variant and the baseline."""

    squares: MeanSquares
    estimate: Estimate
    gains: tuple[int, ...]  # (S,), photos that the variant gets right more than the baseline
    correlation: float | None

    @classmethod
    def of(cls, variant: Mapping[int, NDArray[np.bool_]], baseline: Mapping[int, NDArray[np.bool_]]) -> _Pair:
        ours = np.stack([variant[seed] for seed in baseline])  # (S, N)
        theirs = np.stack([*baseline.values()])  # (S, N)
        squares = MeanSquares.of(ours.astype(np.int8) - theirs.astype(np.int8))
        rights = [[int(n) for n in np.count_nonzero(right, axis=1)] for right in (ours, theirs)]
        gains = tuple(our - their for our, their in zip(*rights, strict=True))
        estimate = squares.new_photos(sum(gains) / ours.size)
        return cls(squares, estimate, gains, _correlation(*rights))


def _correlation(xs: Sequence[int], ys: Sequence[int]) -> float | None:
    """Return Pearson's correlation from exact sums, or None if it is undefined or only of two seeds."""
    products = [
        len(xs) * sum(a * b for a, b in zip(one, other, strict=True)) - sum(one) * sum(other)
        for one, other in ((xs, ys), (xs, xs), (ys, ys))
    ]
    covariance, x_variance, y_variance = products
    if len(xs) < 3 or not x_variance or not y_variance:
        return None
    return max(-1.0, min(1.0, covariance / sqrt(x_variance * y_variance)))


def _seeds_needed(pair: _Pair, margin: float, level: float, tests: int) -> int | None:
    """Return the smallest number of seeds that would settle the question either way, up to 1,000."""
    difference, seeds = pair.estimate.difference, pair.squares.seeds
    if isinf(pair.estimate.standard_error):
        return None

    def settles(more: int) -> bool:
        estimate = pair.squares.with_seeds(more).new_photos(difference)
        error, freedom = estimate.standard_error, estimate.degrees_of_freedom
        return (
            error == 0  # identical answers so far
            or t_power(difference / error, freedom, level / tests) >= USUAL_POWER
            or equivalence_power(difference, error, freedom, margin, level) >= USUAL_POWER
        )

    fewest = max(MIN_SEEDS_FOR_VERDICT, seeds + 1)
    needed = fewest + bisect_left(range(fewest, MAX_SEEDS_NEEDED + 1), True, key=settles)
    return needed if needed <= MAX_SEEDS_NEEDED else None


def _check(answers: Answers) -> None:
    """Refuse missing seeds and different numbers of photos."""
    seeds = set[int]().union(*answers.values())
    if not seeds:
        raise UsageError("there are no answers to compare", "no seed is finished")
    for name, of_variant in answers.items():
        if missing := sorted(seeds - of_variant.keys()):
            raise UsageError(
                f"{name} lacks seed {', '.join(map(str, missing))}",
                "another variant has it, and pairs need both",
            )
    counts = {len(right): (seed, name) for name, rows in answers.items() for seed, right in rows.items()}
    if len(counts) > 1:
        listed = ", ".join(f"{n:,} (seed {seed} of {name})" for n, (seed, name) in counts.items())
        raise UsageError("the numbers of test photos differ", listed)
