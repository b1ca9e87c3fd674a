"""Judge the finished cells of a comparison, and record every cell and every look at the result."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab import files
from reslab.errors import RunError
from reslab.text import printable
from reslab.training.runs.run import Run

from .cells import Cell, read_cell
from .command import repeat_command
from .plan import Plan
from .results.comparison import Comparison
from .results.variant_result import CellResult, VariantResult
from .statistics.mean_squares import accuracy_interval
from .statistics.verdicts import judge

LOOKS, RESULTS = "looks.jsonl", "results.jsonl"


def judge_cells(
    plan: Plan, folder: Path, cells: Sequence[Cell], labels: NDArray[np.int64], level: float
) -> Comparison:
    """Return the comparison of finished cells.

    Args:
        plan: plan of the comparison.
        folder: of the comparison.
        cells: finished cells of all variants, with the same seeds for each.
        labels: (N,) labels of the test photos.
        level: significance level of this look.

    Raises:
        RunError: a file of a cell is damaged.
    """
    results: dict[str, list[CellResult]] = {v.variant.name: [] for v in plan.variants}
    right: dict[str, dict[int, NDArray[np.bool_]]] = {v.variant.name: {} for v in plan.variants}
    for cell in cells:
        result, answers = read_cell(cell, labels)
        results[cell.variant].append(result)
        if answers is not None:
            right[cell.variant][cell.seed] = answers
    baseline, *others = [v.variant.name for v in plan.variants]
    failed = [name for name, rows in results.items() if any(row.error is not None for row in rows)]
    run_before = also_run(plan, folder)
    pairs = {name: sorted(right[name].keys() & right[baseline].keys()) for name in others}
    differences = {}
    for seeds in {tuple(p) for p in pairs.values() if p}:
        names = [name for name in others if tuple(pairs[name]) == seeds]
        answers_of = {name: {s: right[name][s] for s in seeds} for name in [baseline, *names]}
        rest = run_before + len(others) - len(names)
        for d in judge(answers_of, margin=plan.margin, also_run=rest, level=level, failed=failed):
            differences[d.name] = d
    seeds_run = tuple(sorted({cell.seed for cell in cells}))
    return Comparison(
        folder=folder,
        photos=plan.photos,
        test_photos=len(labels),
        margin=plan.margin,
        seeds=seeds_run,
        variants=tuple(
            VariantResult(
                name=v.variant.name,
                network=v.variant.network,
                settings=v.variant.settings,
                parameters=v.parameters,
                multiply_adds=v.multiply_adds,
                seconds_per_step=v.cost.seconds_per_step,
                cells=tuple(results[v.variant.name]),
                difference=differences.get(v.variant.name),
                epochs=v.recipe["epochs"],
                sources=_sources(cells, v.variant.name),
            )
            for v in plan.variants
        ),
        recipe=plan.base_recipe,
        budget=plan.budget,
        planned_seeds=plan.until_sure,
        exploratory=_is_exploratory(plan, folder, len(seeds_run)),
        also_run=run_before,
        environment={
            **plan.environment,
            **({"processor": plan.processor} if plan.processor else {}),
            "precision": plan.measured.precision,
            "threads": plan.measured.threads,
        },
        counts=plan.counts,
        baseline_interval=accuracy_interval([*right[baseline].values()]) if right[baseline] else None,
        command=repeat_command(plan),
        measured_busy=plan.busy,
    )


def _sources(cells: Sequence[Cell], variant: str) -> dict[str, str]:
    """Return the text of the user's files by name, as the variant's first training kept it."""
    for cell in cells:
        if cell.variant == variant and (cell.path / "run.json").is_file():
            spec = Run(cell.path).spec
            return dict(spec.code.sources) if spec is not None and spec.code is not None else {}
    return {}


def also_run(plan: Plan, folder: Path) -> int:
    """Return the number of variants that were run in the folder and are not in the plan."""
    return len({row["identity"] for row in _rows(folder / RESULTS)} - {v.identity for v in plan.variants})


def _is_exploratory(plan: Plan, folder: Path, seeds: int) -> bool:
    """Return True unless numbers of seeds and margin are those that were planned before the first look."""
    first = next(_rows(folder / LOOKS), None)
    if first is None:
        return False
    if (first["until_sure"], first["margin"]) != (plan.until_sure, plan.margin):
        return True
    return plan.until_sure is None and bool(first["seeds"] != seeds)


def record(plan: Plan, folder: Path, comparison: Comparison, level: float) -> None:
    """Add new cells to results.jsonl, and this look to looks.jsonl unless the last one was the same."""
    identities = {v.variant.name: v.identity for v in plan.variants}
    known = {row["folder"] for row in _rows(folder / RESULTS)}
    new = [
        {
            "variant": cell.variant,
            "identity": identities[cell.variant],
            "seed": cell.seed,
            "folder": cell.folder,
            "accuracy": cell.accuracy,
            "seconds": cell.seconds,
            "error": cell.error,
        }
        for cell in comparison.cells
        if cell.folder not in known
    ]
    look = {
        "seeds": len(comparison.seeds),
        "margin": plan.margin,
        "until_sure": plan.until_sure,
        "level": level,
        "variants": identities,
        "verdicts": comparison.verdicts,
    }
    _append(folder / RESULTS, new)
    before = list(_rows(folder / LOOKS))
    if not before or {**before[-1], "time": None} != {**look, "time": None}:
        time = datetime.now().astimezone().isoformat(timespec="seconds")
        _append(folder / LOOKS, [{"time": time, **look}])


def _append(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        files.write_json_lines(path, [*_rows(path), *rows])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file with one in each line; nothing without the file."""
    if not path.is_file():
        return
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)
    except ValueError as error:
        raise RunError(f"{printable(str(path))} is damaged", str(error), "choose another --output") from error
