"""Measure false verdicts, power, coverage and equivalence of `reslab compare` on stored answers.

    python benchmarks/verdicts.py benchmarks/cells.npz    under two minutes
    python benchmarks/verdicts.py --simulate              simulated answers; no file needed

The file comes from np.savez_compressed. It holds a bool array (S, N) per variant, right or wrong by seed and
test photo, and the S seeds as "seeds". The first variant is the baseline, with at least 40 seeds. Others may
have fewer, which are then the first of the seeds.

1. False verdicts: the baseline's seeds are drawn into two halves, which differ by luck alone.
2. Power: as 1, and of the photos that each seed of the second half gets wrong, as many become right as make
   a difference of one spread. Which ones is drawn for each seed. Then, for each variant, the correlation with
   the baseline and the gain of pairing: the share of seeds that it saves for equal precision.
3. Coverage: seeds and photos are drawn with replacement from a variant's cells. The truth is the difference
   over all of them.
4. Equivalence: as 1, at no difference, and as 2 at the margin. The margin is the spread / 0.74, so that the
   spread is 0.74 points if the margin is one point.

The drawn cells go through the code of `judge`. Where a file has too few seeds for a measurement (40 for 1, 2
and 4; 20 for 3) the seeds are resampled, and the line says so: each photo keeps the share of seeds that get
it right, and an effect of the seed on all photos explains the rest of the spread of the accuracies.

The draws come from one pool of seeds. Among simulated pools of 40 the false verdicts at 5 seeds vary by 0.35
points around 5.1 %, so that one pool in ten exceeds 5.5 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from reslab.lab.statistics.looks import look_levels
from reslab.lab.statistics.mean_squares import Estimate, MeanSquares
from reslab.lab.statistics.power import power
from reslab.randomness import key
from reslab.text import table

Cells = NDArray[np.bool_]  # (S, N)
FALSE_VERDICTS, COMPARISONS = 10_000, 5_000
SEEDS_FOR_HALVES, SEEDS_FOR_COVERAGE = 40, 20
MARGIN_IN_SPREADS = 1 / 0.74
COPIES = 20  # of each seed with a gain


@dataclass(frozen=True)
class Measured:
    """A measured share with its bounds."""

    name: str
    share: float
    comparisons: int
    low: float = 0.0
    high: float = 1.0

    def row(self) -> list[str]:
        error = sqrt(self.share * (1 - self.share) / self.comparisons)
        verdict = "yes" if self.low <= self.share <= self.high else "NO"
        bounds = f"{self.low:.1%} to {self.high:.1%}"
        return [self.name, f"{self.share:.2%}", f"{error:.2%}", f"{self.comparisons:,}", bounds, verdict]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path, help="cells.npz, see the docstring")
    parser.add_argument("--simulate", action="store_true", help="simulate the answers")
    parser.add_argument("--seed", type=int, default=0, help="of the draws [0]")
    chosen = parser.parse_args()
    if bool(chosen.file) == chosen.simulate:
        parser.error("name a file or --simulate")
    started, random = time.monotonic(), np.random.Generator(np.random.Philox(key(chosen.seed, "verdicts")))
    cells = simulated(random) if chosen.simulate else load(chosen.file)
    baseline, *variants = cells
    for name, right in cells.items():
        mean, spread = right.mean(), right.mean(axis=1).std(ddof=1)
        print(
            f"{name}: {len(right)} seeds, {right.shape[1]:,} photos, accuracy {mean:.2%}, spread {spread:.2%}"
        )
    print()
    halves, note = enough(cells[baseline], SEEDS_FOR_HALVES, random)
    measured = [*false_verdicts(halves, note, random), *powers(halves, note, random)]
    for name in variants:
        measured += coverage(name, cells[baseline], cells[name], random)
    measured += equivalence(halves, note, random)
    headings = ["measured", "share", "error", "comparisons", "wanted", "reached"]
    print(table(headings, [line.row() for line in measured], "lrrrll"))
    print()
    pairs = [pairing(name, cells[baseline], cells[name]) for name in variants]
    headings = ["pair", "seeds", "correlation", "spread", "unpaired", "seeds saved"]
    print(table(headings, pairs, "lrrrrr"))
    print(f"\n{time.monotonic() - started:.0f} s")
    if any(not line.low <= line.share <= line.high for line in measured):
        sys.exit(1)


def load(file: Path) -> dict[str, Cells]:
    """Return the answers by variant, without the seeds."""
    with np.load(file) as arrays:
        return {name: arrays[name].astype(bool) for name in arrays.files if name != "seeds"}


def simulated(random: np.random.Generator) -> dict[str, Cells]:
    """Simulate 40 seeds of a baseline and 24 of two variants on 2,000 photos: one as good, one better."""
    difficulty = random.normal(1.6, 1.3, 2000)
    luck = random.normal(0, 0.03, (40, 1))
    cells = {}
    for name, seeds, gain, shared in (("plain", 40, 0, 1), ("same", 24, 0, 0), ("better", 24, 0.06, 1)):
        own = random.normal(gain, 0.15, 2000)  # of the photos
        effects = shared * luck[:seeds] + random.normal(0, 0.02, (seeds, 1))
        cells[name] = difficulty + own + effects + random.normal(0, 0.5, (seeds, 2000)) > 0
    return cells


def enough(cells: Cells, seeds: int, random: np.random.Generator) -> tuple[Cells, str]:
    """Return the cells, or resampled ones if there are fewer than `seeds`, and a note that says so."""
    if len(cells) >= seeds:
        return cells, ""
    right = (cells.sum(axis=0) + 0.5) / (len(cells) + 1)  # (N,)
    score = ndtri(right)
    by_chance = (right * (1 - right)).mean() / len(right)
    slope = (np.exp(-(score**2) / 2) / sqrt(2 * np.pi)).mean()
    effect = sqrt(max(0.0, cells.mean(axis=1).var(ddof=1) - by_chance)) / slope
    chances = ndtr(score * sqrt(1 + effect**2) + random.normal(0, effect, (seeds, 1)))  # (seeds, N)
    return random.random(chances.shape) < chances, f", {len(cells)} seeds resampled to {seeds}"


def estimate(variant: Cells, baseline: Cells) -> Estimate:
    """Return the headline estimate of `judge`."""
    differences = variant.view(np.int8) - baseline.view(np.int8)
    return MeanSquares.of(differences).new_photos(differences.sum() / differences.size)


def spread(cells: Cells) -> float:
    """Return the standard deviation of the difference between two seeds."""
    return sqrt(2 * cells.mean(axis=1).var(ddof=1))


def draws(cells: Cells, seeds: int, count: int, random: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Draw two disjoint groups of seeds, (2, seeds), as often as `count`."""
    for _ in range(count):
        yield random.permutation(len(cells))[: 2 * seeds].reshape(2, seeds)


def with_gain(cells: Cells, gain: float, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return copies of each seed, (COPIES, S, N), with round(gain N) of its wrong answers right."""
    copies = np.repeat(cells[None], COPIES, axis=0)
    for seed in copies.reshape(-1, cells.shape[1]):
        wrong = np.flatnonzero(~seed)
        seed[random.choice(wrong, min(len(wrong), round(gain * len(seed))), replace=False)] = True
    return copies


def false_verdicts(cells: Cells, note: str, random: np.random.Generator) -> Iterator[Measured]:
    plans = {"5 seeds": {5: 0.05}, "10 seeds": {10: 0.05}, "--until-sure 20": look_levels(20)}
    for plan, looks in plans.items():
        alarms = sum(
            any(estimate(cells[a[:n]], cells[b[:n]]).p_value() <= level for n, level in looks.items())
            for a, b in draws(cells, max(looks), FALSE_VERDICTS, random)
        )
        yield Measured(f"1 false verdicts, {plan}{note}", alarms / FALSE_VERDICTS, FALSE_VERDICTS, high=0.055)


def powers(cells: Cells, note: str, random: np.random.Generator) -> Iterator[Measured]:
    better = with_gain(cells, spread(cells), random)
    found = sum(
        estimate(better[random.integers(COPIES), a], cells[b]).p_value() <= 0.05
        for a, b in draws(cells, 10, COMPARISONS, random)
    )
    name = f"2 power, one spread ({spread(cells):.2%}), 10 seeds, theory {power(1, 10, 1):.1%}{note}"
    yield Measured(name, found / COMPARISONS, COMPARISONS, 0.78, 0.83)


def coverage(name: str, baseline: Cells, variant: Cells, random: np.random.Generator) -> Iterator[Measured]:
    base, note = enough(baseline[: len(variant)], SEEDS_FOR_COVERAGE, random)
    other, _ = enough(variant, SEEDS_FOR_COVERAGE, random)
    truth = other.mean() - base.mean()
    seeds, of_file = base.shape
    for photos in (500, 2000):
        covered = 0
        for _ in range(COMPARISONS):
            drawn = np.ix_(random.integers(seeds, size=5), random.integers(of_file, size=photos))
            interval = estimate(other[drawn], base[drawn]).interval(0.95)
            covered += interval.low <= truth <= interval.high
        line = f"3 coverage, {name}, 5 seeds, {photos:,} photos{note}"
        yield Measured(line, covered / COMPARISONS, COMPARISONS, 0.92, 0.97)


def equivalence(cells: Cells, note: str, random: np.random.Generator) -> Iterator[Measured]:
    margin = round(MARGIN_IN_SPREADS * spread(cells) * cells.shape[1]) / cells.shape[1]  # whole photos
    at_margin = with_gain(cells, margin, random)
    for place, gained, low, high in (
        ("no difference", cells[None], 0.95, 1.0),
        ("the margin", at_margin, 0.0, 0.055),
    ):
        found = sum(
            estimate(gained[random.integers(len(gained)), a], cells[b]).interval(0.9).within(margin)
            for a, b in draws(cells, 10, COMPARISONS, random)
        )
        yield Measured(
            f"4 equivalent at {place}, 10 seeds{note}", found / COMPARISONS, COMPARISONS, low, high
        )


def pairing(name: str, baseline: Cells, variant: Cells) -> list[str]:
    ours, theirs = variant.mean(axis=1), baseline[: len(variant)].mean(axis=1)
    paired, apart = (ours - theirs).var(ddof=1), ours.var(ddof=1) + theirs.var(ddof=1)
    correlation = np.corrcoef(ours, theirs)[0, 1]
    figures = [f"{correlation:.2f}", f"{sqrt(paired):.2%}", f"{sqrt(apart):.2%}", f"{1 - paired / apart:.0%}"]
    return [name, str(len(ours)), *figures]


if __name__ == "__main__":
    main()
