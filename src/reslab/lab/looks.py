"""Significance levels for looking four times while seeds are added."""

from __future__ import annotations

from functools import cache
from math import ceil, sqrt

import numpy as np
from scipy.special import ndtr, ndtri

from reslab.errors import UsageError

from .statistics import MIN_SEEDS_FOR_VERDICT

LOOKS = 4
NODES = 200  # of the quadrature; 50 give the same levels to 9 digits


@cache
def look_levels(max_seeds: int, level: float = 0.05) -> dict[int, float]:
    """Return the two-sided level of each planned look, by number of seeds.

    The looks come after each quarter of the seeds, none under 5 seeds. The levels spend `level` as O'Brien
    and Fleming would (Lan and DeMets 1983, "Discrete sequential boundaries for clinical trials"): little at
    first, most of it at the end. All looks together raise false alarms with probability `level`.

    Args:
        max_seeds: number of seeds at the last look, at least 5.
        level: two-sided level of all looks together.

    Raises:
        UsageError: `max_seeds` is below 5.
    """
    from scipy.optimize import brentq

    if max_seeds < MIN_SEEDS_FOR_VERDICT:
        raise UsageError(
            f"cannot plan looks for {max_seeds} seeds",
            f"a verdict takes at least {MIN_SEEDS_FOR_VERDICT} seeds",
            "--until-sure 20",
        )
    looks = sorted({ceil(max_seeds * look / LOOKS) for look in range(1, LOOKS + 1)})
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    levels: dict[int, float] = {}
    # Armitage, McPherson and Rowe 1969: the sum of differences is a random walk. `walk` are its values where
    # no look has been significant, `density` their probabilities.
    walk, density, time, spent = np.zeros(1), np.ones(1), 0.0, 0.0
    for seeds in (look for look in looks if look >= MIN_SEEDS_FOR_VERDICT):
        step = sqrt(seeds / max_seeds - time)
        time = seeds / max_seeds
        budget = 2 * float(ndtr(ndtri(level / 2) / sqrt(time)))

        def excess(bound: float) -> float:
            outside = ndtr((walk - bound) / step) + ndtr((-bound - walk) / step)  # noqa: B023
            return float(density @ outside) - (budget - spent)  # noqa: B023

        bound = brentq(excess, 0.0, 10.0, xtol=1e-12)
        levels[seeds] = 2 * float(ndtr(-bound / sqrt(time)))
        next_walk = bound * nodes
        steps = (next_walk[:, None] - walk) / step  # (NODES, old NODES)
        density = bound * weights * (np.exp(-(steps**2) / 2) @ density) / (step * sqrt(2 * np.pi))
        walk, spent = next_walk, budget
    return levels
