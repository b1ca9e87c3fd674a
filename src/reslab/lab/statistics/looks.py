"""Significance levels for planned looks at a comparison while seeds are added."""

from __future__ import annotations

from functools import cache
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr

from reslab.errors import UsageError
from reslab.randomness import key

from .verdicts import MIN_SEEDS_FOR_VERDICT

LOOKS = 4
SIMULATIONS = 400_000  # the simulated 5 % is exact to 0.03 %


def look_levels(max_seeds: int, variants: int = 1, level: float = 0.05) -> dict[int, float]:
    """Return the two-sided level of each planned look, {number of seeds: level}.

    The looks come after each quarter of the seeds, none under 5 seeds. The levels are O'Brien and Fleming's
    (1979, "A multiple testing procedure for clinical trials"): strict at first, close to `level` at the end.
    All looks together raise a false alarm with probability `level`. Their bound is for normal data of known
    spread. t-tests of 10 seeds exceed it in 5.4 % instead of 5 %, so our bound is simulated with t-tests.

    Args:
        max_seeds: number of seeds at the last look, at least 5.
        variants: number of variants that were ever run. The levels are for p-values adjusted by Holm's
            method over so many.
        level: probability of a false alarm in any look, two-sided.

    Raises:
        UsageError: `max_seeds` is below 5.
    """
    looks = planned_looks(max_seeds)
    if len(looks) == 1:
        return {max_seeds: level}
    # Holm's method compares a p-value times j with the level, for some j up to the number of variants
    counts = range(1, variants + 1)
    bounds = np.quantile(_largest_scores(max_seeds), [1 - level / count for count in counts])
    return {
        seeds: min(
            2 * count * float(ndtr(-bound / sqrt(seeds / max_seeds)))
            for count, bound in zip(counts, bounds, strict=True)
        )
        for seeds in looks
    }


def planned_looks(max_seeds: int) -> list[int]:
    """Return the numbers of seeds at which a comparison of up to `max_seeds` seeds is looked at.

    Raises:
        UsageError: `max_seeds` is below 5.
    """
    if max_seeds < MIN_SEEDS_FOR_VERDICT:
        raise UsageError(
            f"cannot plan looks for {max_seeds} seeds",
            f"a verdict takes at least {MIN_SEEDS_FOR_VERDICT} seeds",
            "plan 20: --until-sure 20",
        )
    quarters = {ceil(max_seeds * look / LOOKS) for look in range(1, LOOKS + 1)}
    return sorted(seeds for seeds in quarters if seeds >= MIN_SEEDS_FOR_VERDICT)


@cache
def _largest_scores(max_seeds: int) -> NDArray[np.float64]:
    """Simulate comparisons without a difference: the largest score of all looks, (SIMULATIONS,).

    The score of a look is the normal deviate of its p-value times the root of its share of the seeds.
    """
    generator = np.random.Generator(np.random.Philox(key(0, "looks", max_seeds)))
    largest, total, squares = np.zeros((3, SIMULATIONS))
    before = 0
    for seeds in planned_looks(max_seeds):
        added, before = seeds - before, seeds
        mean = generator.normal(0, 1 / sqrt(added), SIMULATIONS)
        total += added * mean
        squares += added * mean**2
        if added > 1:
            squares += generator.chisquare(added - 1, SIMULATIONS)
        t = total / np.sqrt((squares - total**2 / seeds) * seeds / (seeds - 1))
        scores = -ndtri(stdtr(seeds - 1, -np.abs(t))) * sqrt(seeds / max_seeds)
        np.maximum(largest, scores, out=largest)
    return largest
