"""Estimate of a comparison: cells that are left, their duration, the difference that they can show."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from reslab.training.runs.start import duration

from .cells import Cell
from .judging import also_run, judge_cells
from .plan import Plan
from .request import Request
from .splits import read_labels
from .statistics.looks import look_levels
from .statistics.power import detectable
from .tuning import tuned_settings, tuning_cells

LEVEL = 0.05  # of significance, of all looks together
USUAL_SPREAD = 0.007  # of the differences of single seeds, where nothing was measured yet


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
        points = 100 * detectable(USUAL_SPREAD, plan.max_seeds)
        text += (
            f"\n{plan.max_seeds} seeds show about {points:.1f} points, if the differences of single seeds "
            f"have the usual spread of {100 * USUAL_SPREAD:.1f}"
        )
    return total, text


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
