"""compare --ideas: every idea of the list on one folder of photos, in a comparison for each baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reslab import files
from reslab.errors import UsageError, nearest
from reslab.networks.resnet import FAMILY
from reslab.photos.folder.photos import Photos
from reslab.training.recipe import Recipe
from reslab.training.runs.start import duration

from .compare import default_jobs, estimate, plan_comparison, run_comparison
from .comparison import Comparison
from .idea_gains import gains_table
from .ideas import Group, grouped, load_ideas
from .plan import Budget, Plan

NETWORK = "cifar_resnet20"
SIZE = 32  # pixels
RESULT = "ideas.json"

Say = Callable[[str], Any]


@dataclass(frozen=True)
class PlannedIdeas:
    """Comparisons of all ideas, checked and measured.

    Attributes:
        photos: the folder of photos.
        folder: of all comparisons.
        plans: each group with its plan.
        left_out: reason for each idea that would change nothing, by its name.
    """

    photos: Path
    folder: Path
    plans: tuple[tuple[Group, Plan], ...]
    left_out: dict[str, str]


def plan_ideas(
    photos: Path,
    *,
    network: str | None,
    recipe: Recipe,
    seeds: int,
    margin: float,
    until_sure: int | None,
    budget: Budget,
    tune: int,
    on: str,
    jobs: int | None,
    folder: Path,
    progress: bool,
    say: Say,
) -> PlannedIdeas:
    """Check and measure every comparison before the first cell. Arguments and errors are those of `compare`.

    Without a network it is cifar_resnet20, with 32 pixels unless the recipe gives a size.

    Raises:
        UsageError: the network is not one of the family.
    """
    if network is None and "size" not in recipe.model_fields_set:
        recipe = recipe.with_settings(size=SIZE)
    network = network or NETWORK
    if network not in FAMILY:
        what, why = f"--ideas with the network {network}", "the ideas are blocks of a network of the family"
        raise UsageError(what, why, nearest(network, FAMILY))
    reasons = {idea.name: idea.no_effect(network, recipe) for idea in load_ideas()}
    for name, reason in reasons.items():
        if reason:
            say(f"{name}: left out, {reason}")
    plans = []
    for group in grouped([idea for idea in load_ideas() if not reasons[idea.name]]):
        say(f"{group.name}: {', '.join(group.variants)}")
        plan = plan_comparison(
            photos, group.variants, network=network, recipe=recipe.with_settings(**group.settings),
            seeds=seeds, margin=margin, until_sure=until_sure, budget=budget, tune=tune, on=on, jobs=jobs,
            folder=folder / group.name, progress=progress, say=say,
        )  # fmt: skip
        plans.append((group, plan))
    return PlannedIdeas(
        photos, folder, tuple(plans), {name: reason for name, reason in reasons.items() if reason}
    )


def estimate_ideas(planned: PlannedIdeas, on: str, jobs: int | None) -> tuple[float, str]:
    """Return the estimated seconds of the cells that are left, and a text for people."""
    seconds, cells = 0.0, 0
    for group, plan in planned.plans:
        folder = planned.folder / group.name
        seconds += estimate(plan, folder, jobs, on)[0]
        cells += sum(
            not cell.is_finished for cell in plan.cells(folder, range(plan.until_sure or plan.seeds))
        )
    at_once = jobs or default_jobs(planned.plans[0][1].base_recipe["device"], on)
    return (
        seconds,
        f"{cells} cells in {len(planned.plans)} comparisons, {at_once} at a time: {duration(seconds)}",
    )


def run_ideas(
    planned: PlannedIdeas, *, on: str, jobs: int | None, progress: bool, say: Say
) -> dict[str, Any]:
    """Train the cells that are not finished, write ideas.json after each comparison, and return its content.

    Raises:
        ReslabError: as `compare`.
        KeyboardInterrupt: after Ctrl-C. The same call continues.
    """
    group, plan = planned.plans[0]
    found = Photos.load(plan.cells(planned.folder / group.name, [0])[0].photos)
    result: dict[str, Any] = {
        "photos": planned.photos.name,
        "classes": len(found.classes),
        "train": len(found.train),
        "val": len(found.val),
        "test": plan.test_photos,
        "network": plan.network,
        "budget": plan.budget,
        "margin": plan.margin,
        "recipe": plan.base_recipe,
        "environment": {},
        "left_out": planned.left_out,
        "comparisons": {},
    }
    for group, plan in planned.plans:
        say(f"\n{group.name}: {len(group.ideas)} ideas")
        comparison = run_comparison(
            plan, planned.folder / group.name, on=on, jobs=jobs, progress=progress, say=say
        )
        result["environment"] = dict(comparison.environment)
        result["comparisons"][group.name] = _as_json(group, plan, comparison)
        files.write_json(planned.folder / RESULT, result)
        say(gains_table(group.ideas, result))
    return result


def _as_json(group: Group, plan: Plan, comparison: Comparison) -> dict[str, Any]:
    """Return the JSON of a comparison, with the epochs that equal budgets gave, and without paths."""
    content = comparison.as_json()
    epochs = {planned.variant.name: planned.recipe["epochs"] for planned in plan.variants}
    for row in content["variants"]:
        difference = comparison.differences.get(row["name"])
        row["epochs"] = epochs[row["name"]]
        row["within_margin"] = difference is not None and difference.within_margin
    return {**content, "folder": group.name, "settings": dict(group.settings)}
