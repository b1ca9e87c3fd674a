"""Estimate of a comparison: cells that are left, their duration, the difference that they can show."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import chain
from math import sqrt
from pathlib import Path
from statistics import variance

from reslab.training.runs.start import duration

from .cells import Cell, read_cell
from .judging import also_run, judge_cells
from .plan import Plan
from .request import Request
from .splits import read_labels
from .statistics.looks import look_levels
from .statistics.power import detectable, spread_of_photos
from .tuning import tuned_settings, tuning_cells

LEVEL = 0.05  # of significance, of all looks together
# Fraction of the photos that exactly one of two trainings gets right, where nothing was measured yet. It is
# 0.11 to 0.12 for the blocks of benchmarks/cells.npz, whose accuracy is 0.7, and less at higher accuracies.
USUAL_DISAGREEMENT = 0.1
MIN_SPREAD_FREEDOM = 3  # degrees of freedom; a spread with fewer says little


def unfinished_cells(plan: Plan, folder: Path) -> tuple[list[Cell], list[Cell]]:
    """Return the cells that are left: of tuning, and of the seeds that may be needed."""
    tuning = [cell for cell in chain(*tuning_cells(plan, folder)) if not cell.is_finished]
    settings = [] if tuning else tuned_settings(plan, folder)
    for seeds, level in level_of_looks(plan, folder).items():
        cells = plan.cells(folder, plan.first_seeds(seeds), settings)
        if not all(cell.is_finished for cell in cells):
            break
        if judge_cells(plan, folder, cells, read_labels(folder), level).is_clear:
            return tuning, []
    every = plan.cells(folder, plan.first_seeds(plan.max_seeds), settings)
    return tuning, [cell for cell in every if not cell.is_finished]


def estimate(plan: Plan, folder: Path, request: Request) -> tuple[float, str]:
    """Return the estimated seconds of the cells that are left, and a text for people on cost and power."""
    tuning, left = unfinished_cells(plan, folder)
    seconds = {v.variant.name: v.seconds for v in plan.variants}
    stages = [[seconds[cell.variant] for cell in cells] for cells in (tuning, left)]
    total = sum(_seconds_at_once(stage, request.workers) for stage in stages)
    count = len(tuning) + len(left)
    if not count:
        return 0.0, "all cells are finished"
    each = duration(sum(map(sum, stages)) / count)
    most = "at most " if plan.until_sure else ""
    text = f"{count} cells of about {each}, {min(request.workers, count)} at a time: {most}{duration(total)}"
    if plan.max_seeds > 1:
        text += f"\n{_visible(plan, folder, is_tuned=not tuning)}"
    return total, text


def _visible(plan: Plan, folder: Path, *, is_tuned: bool) -> str:
    """Return in words the smallest difference that the planned seeds and the test photos can show."""
    spread = _measured_spread(plan, folder) if is_tuned else None
    if spread is None:
        spread = spread_of_photos(plan.test_photos, USUAL_DISAGREEMENT)
        why = f"if two trainings disagree on {100 * USUAL_DISAGREEMENT:.0f} % of the photos"
    else:
        why = f"at the spread of {100 * spread:.1f} points of the finished seeds"
    points = 100 * detectable(spread, plan.max_seeds)
    photos = f"{plan.test_photos:,} test photo{'s' * (plan.test_photos != 1)}"
    return f"{plan.max_seeds} seeds on {photos} can show about {points:.1f} points at best, {why}"


def _measured_spread(plan: Plan, folder: Path) -> float | None:
    """Return the spread of the differences of single seeds among finished cells; None with too few."""
    cells = plan.cells(folder, plan.first_seeds(plan.max_seeds), tuned_settings(plan, folder))
    labels = read_labels(folder)
    accuracies = {
        (cell.variant, cell.seed): result.accuracy
        for cell in cells
        if cell.is_finished and (result := read_cell(cell, labels)[0]).accuracy is not None
    }
    baseline, *others = [planned.variant.name for planned in plan.variants]
    squares, freedom = 0.0, 0
    for name in others:
        gains = [
            accuracies[name, seed] - accuracies[baseline, seed]
            for seed in plan.first_seeds(plan.max_seeds)
            if (name, seed) in accuracies and (baseline, seed) in accuracies
        ]
        if len(gains) > 1:
            squares += (len(gains) - 1) * variance(gains)
            freedom += len(gains) - 1
    return sqrt(squares / freedom) if squares and freedom >= MIN_SPREAD_FREEDOM else None


def _seconds_at_once(seconds: Sequence[float], workers: int) -> float:
    """Return the duration of tasks that the workers take in their order."""
    ends = [0.0] * workers
    for task in seconds:
        heapq.heapreplace(ends, ends[0] + task)
    return max(ends)


def level_of_looks(plan: Plan, folder: Path) -> dict[int, float]:
    """Return the significance level of each look, by its number of seeds."""
    if plan.until_sure is None:
        return {plan.seeds: LEVEL}
    return look_levels(plan.until_sure, len(plan.variants) - 1 + also_run(plan, folder), LEVEL)
