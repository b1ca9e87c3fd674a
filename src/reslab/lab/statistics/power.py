"""Power of paired seeds: detectable difference, seeds needed, and the winner's curse."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtr, stdtr, stdtrit

USUAL_POWER = 0.8  # Cohen 1988, "Statistical power analysis for the behavioral sciences", section 2.4


def power(spread: float, seeds: int, difference: float, level: float = 0.05) -> float:
    """Return the probability that a true difference is significant, 0 to 1.

    The test is the two-sided paired t-test over seeds. Photos add nothing here, so it holds where seeds
    limit the comparison.

    Args:
        spread: standard deviation of the differences of single seeds, above 0, in the unit of `difference`.
        seeds: number of pairs; one seed has no power.
        difference: true mean difference.
        level: two-sided significance level.
    """
    return t_power(difference / spread * sqrt(seeds), seeds - 1, level) if seeds > 1 else 0.0


def t_power(noncentrality: float, degrees_of_freedom: float, level: float) -> float:
    """Return the power of a two-sided t-test, 0 to 1.

    Args:
        noncentrality: true difference in standard errors.
        degrees_of_freedom: of the standard error, above 0.
        level: two-sided significance level.
    """
    _, chances = _significant(noncentrality, degrees_of_freedom, level)
    return min(1.0, float(chances.sum()))


def equivalence_power(
    difference: float, standard_error: float, degrees_of_freedom: float, margin: float, level: float
) -> float:
    """Return the probability that the interval of the equivalence test lies within the margin, 0 to 1.

    Schuirmann 1987, "A comparison of the two one-sided tests procedure", approximated by a central t.

    Args:
        difference: true difference.
        standard_error: of the difference, above 0.
        degrees_of_freedom: of the standard error.
        margin: largest difference that does not matter.
        level: one-sided level of both tests.
    """
    critical = stdtrit(degrees_of_freedom, 1 - level)
    upper = stdtr(degrees_of_freedom, (margin - difference) / standard_error - critical)
    lower = stdtr(degrees_of_freedom, (-margin - difference) / standard_error + critical)
    return float(max(0.0, upper - lower))


def detectable(spread: float, seeds: int, level: float = 0.05) -> float:
    """Return the smallest true difference that is significant with 80 % power.

    Args:
        spread: standard deviation of the differences of single seeds; the result has its unit.
        seeds: number of pairs, at least 2.
        level: two-sided significance level.
    """
    from scipy.optimize import brentq

    most = 4 * float(stdtrit(seeds - 1, 1 - level / 2))  # its power is above 0.999 for any number of seeds
    noncentrality = brentq(lambda x: t_power(x, seeds - 1, level) - USUAL_POWER, 0.0, most)
    return spread * float(noncentrality) / sqrt(seeds)


def spread_of_photos(photos: int, disagreement: float) -> float:
    """Return the spread of the differences of single seeds that the number of test photos causes alone.

    Each photo that one of two trainings gets right, and the other one wrong, moves their difference by one
    photo up or down, at random where the variants are equally good. A real spread is larger: seeds also
    differ on all photos alike.

    Args:
        photos: number of test photos.
        disagreement: fraction of the photos that exactly one of two trainings gets right.
    """
    return sqrt(disagreement / photos)


def winners_curse(spread: float, seeds: int, difference: float, level: float = 0.05) -> float:
    """Return the mean difference that is reported when a true difference is significant.

    Only significance in the true direction counts. With few seeds only lucky draws are significant, so the
    report exaggerates (Gelman and Carlin 2014, "Beyond power calculations", type M error).

    Args:
        spread: standard deviation of the differences of single seeds, above 0.
        seeds: number of pairs, at least 2.
        difference: true mean difference, not 0, in the unit of `spread`; the result has its sign.
        level: two-sided significance level.
    """
    noncentrality = abs(difference) / spread * sqrt(seeds)
    reported, chances = _significant(noncentrality, seeds - 1, level)
    chances = np.where(reported > 0, chances, 0)
    mean = float(chances @ reported / chances.sum())
    return float(np.copysign(mean * spread / sqrt(seeds), difference))


def _significant(
    noncentrality: float, degrees_of_freedom: float, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return possible differences in standard errors, and the probability that each occurs significantly.

    The difference is normal, its estimated standard error an independent chi (Student 1908). Their integral
    stays finite in the tails, where scipy's noncentral t gives NaN.
    """
    step = 0.02
    offsets = np.arange(-8, 8 + step, step)  # more than 8 standard errors away is impossible
    differences = noncentrality + offsets
    # a difference is significant if the estimated standard error is below it / critical
    critical = stdtrit(degrees_of_freedom, 1 - level / 2)
    significant = chdtr(degrees_of_freedom, degrees_of_freedom * (differences / critical) ** 2)
    return differences, step / sqrt(2 * pi) * np.exp(-(offsets**2) / 2) * significant
