"""Analysis of variance of seeds and photos: standard error and interval of a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isinf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit


@dataclass(frozen=True)
class Interval:
    """Interval of a difference between two accuracies.

    Attributes:
        low: lower end, -1 to 1.
        high: upper end, -1 to 1.
    """

    low: float
    high: float

    def within(self, margin: float) -> bool:
        """Return True if the interval lies between -margin and margin."""
        return -margin <= self.low and self.high <= margin


@dataclass(frozen=True)
class Estimate:
    """Mean difference with its standard error and degrees of freedom."""

    difference: float
    standard_error: float
    degrees_of_freedom: float

    def interval(self, confidence: float) -> Interval:
        """Return the interval of the t distribution, clipped to [-1, 1]."""
        width = self.standard_error * float(stdtrit(self.degrees_of_freedom, (1 + confidence) / 2))
        return Interval(max(-1.0, self.difference - width), min(1.0, self.difference + width))

    def p_value(self) -> float:
        """Return the two-sided p of no difference."""
        if self.difference == 0:
            return 1.0
        if self.standard_error == 0:
            return 0.0
        return 2 * float(stdtr(self.degrees_of_freedom, -abs(self.difference) / self.standard_error))


def accuracy_interval(answers: Sequence[NDArray[np.bool_]]) -> Interval:
    """Return the 95 % interval of the mean accuracy of some trainings, for new photos.

    Args:
        answers: right or wrong, (N,) for each of the trainings.
    """
    by_photo = np.mean(answers, axis=0)  # (N,), share of the trainings that are right
    photos = len(by_photo)
    if photos == 1:
        return Interval(-1.0, 1.0)
    error = float(by_photo.std(ddof=1)) / sqrt(photos)
    return Estimate(float(by_photo.mean()), error, photos - 1).interval(0.95)


@dataclass(frozen=True)
class MeanSquares:
    """Mean squares of differences D, (S, N), between two variants (two-way analysis of variance).

    Attributes:
        seeds: S.
        photos: N.
        seed: N sum((d_s - d) ** 2) / (S - 1), inf for one seed.
        photo: S sum((d_j - d) ** 2) / (N - 1), inf for one photo.
        rest: of what seed and photo do not explain.
    """

    seeds: int
    photos: int
    seed: float
    photo: float
    rest: float

    @classmethod
    def of(cls, differences: NDArray[np.int8]) -> MeanSquares:
        """Return the mean squares of differences (S, N), each -1, 0 or 1.

        The sums are exact integers, so that the order of seeds and photos does not change a bit.
        """
        seeds, photos = differences.shape
        cells = seeds * photos
        of_seeds, of_photos = (differences.sum(axis=axis, dtype=np.int64) for axis in (1, 0))
        total, nonzero = int(of_seeds.sum()), int(np.count_nonzero(differences))
        # cells times each sum of squares
        seed = seeds * int(of_seeds @ of_seeds) - total**2
        photo = photos * int(of_photos @ of_photos) - total**2
        rest = cells * nonzero - total**2 - seed - photo
        return cls(
            seeds,
            photos,
            seed / (cells * (seeds - 1)) if seeds > 1 else inf,
            photo / (cells * (photos - 1)) if photos > 1 else inf,
            rest / (cells * (seeds - 1) * (photos - 1)) if seeds > 1 and photos > 1 else 0.0,
        )

    def with_seeds(self, seeds: int) -> MeanSquares:
        """Return the mean squares to expect with another number of seeds."""
        of_photos = max(0.0, self.photo - self.rest) / self.seeds
        return MeanSquares(seeds, self.photos, self.seed, self.rest + seeds * of_photos, self.rest)

    def same_photos(self, difference: float) -> Estimate:
        """Return the estimate for new seeds and these photos."""
        variance = self._seed() / (self.seeds * self.photos)
        return Estimate(difference, sqrt(variance), max(1, self.seeds - 1))

    def new_photos(self, difference: float) -> Estimate:
        """Return the estimate for new seeds and new photos.

        Its degrees of freedom are Satterthwaite's (1946, "An approximate distribution of estimates of
        variance components"), at least S - 1.
        """
        same = self.same_photos(difference)
        total = self._seed() + self.photo - self.rest
        if self.photo <= self.rest or isinf(self.seed):
            return same
        variance, freedom = total / (self.seeds * self.photos), same.degrees_of_freedom
        if not isinf(total):
            by_seed, by_photo = self.seeds - 1, self.photos - 1
            parts = self._seed() ** 2 / by_seed + self.photo**2 / by_photo
            freedom = max(freedom, total**2 / (parts + self.rest**2 / (by_seed * by_photo)))
        return Estimate(difference, sqrt(variance), freedom)

    def _seed(self) -> float:
        """Return `seed`, or `rest` where all seeds happen to have the same difference.

        Differences are multiples of 1 / N. A few photos easily give equal ones, which prove no certainty.
        """
        return self.seed or self.rest
