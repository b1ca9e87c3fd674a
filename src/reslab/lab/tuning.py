"""Tuning: the same number of learning rates for every variant, chosen on validation photos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from reslab.training.runs.run import Run

from .cells import Cell
from .plan import TUNING_SEED, Plan


def tuning_cells(plan: Plan, folder: Path) -> list[list[Cell]]:
    """Return the cells that tune each variant, by ascending learning rate; none without tuning.

    Every variant gets the same number of learning rates, powers of two around its recipe's, with a seed that
    judges nothing. A baseline with a bad learning rate is the usual way to make an idea look good.
    """
    factors = [2.0 ** (i - (plan.tune - 1) / 2) for i in range(plan.tune)]
    return [
        [
            plan.cell(folder, v, TUNING_SEED, {"learning_rate": v.recipe["learning_rate"] * factor})
            for factor in factors
        ]
        for v in plan.variants
    ]


def tuned_settings(
    plan: Plan, folder: Path, say: Callable[[str], Any] = lambda text: None
) -> list[dict[str, Any]]:
    """Return the settings that validation photos chose for each variant; empty ones without tuning.

    Args:
        plan: plan of the comparison.
        folder: of the comparison, with all cells of `tuning_cells` finished.
        say: called with each line of text for people.
    """
    if not plan.tune:
        return [{} for _ in plan.variants]
    chosen = []
    for of_variant in tuning_cells(plan, folder):
        best = max(of_variant, key=_validation)
        rate = best.recipe["learning_rate"]
        edge = " (at the edge of those tried: --tune more)" if best in (of_variant[0], of_variant[-1]) else ""
        say(f"{best.variant}: learning rate {rate:g} of {plan.tune} tried{edge}")
        chosen.append({"learning_rate": rate})
    return chosen


def _validation(cell: Cell) -> tuple[float, float]:
    """Return what a tuning cell is ranked by: accuracy, then loss, of its best epoch; worst if it failed."""
    best = Run(cell.path).best if (cell.path / "run.json").is_file() else None
    return (best["val_accuracy"], -best["val_loss"]) if best else (-1.0, 0.0)
