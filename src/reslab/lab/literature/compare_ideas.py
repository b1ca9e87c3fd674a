"""compare --ideas: every idea of the list on one folder of photos, in a comparison for each baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reslab import files
from reslab.errors import UsageError, nearest
from reslab.lab.compare import plan_comparison, run_comparison
from reslab.lab.estimate import estimate, unfinished_cells
from reslab.lab.plan import Plan
from reslab.lab.request import Request
from reslab.lab.results.comparison import Comparison
from reslab.networks.resnet import FAMILY
from reslab.photos.folder.photos import Photos
from reslab.training.runs.start import duration

from .idea_gains import gains_table
from .ideas import Group, grouped, load_ideas

NETWORK = "cifar_resnet20"
SIZE = 32  # pixels
RESULT = "ideas.json"

Say = Callable[[str], Any]


@dataclass(frozen=True)
class PlannedIdeas:
    """Comparisons of all ideas, checked and measured.

    Attributes:
        photos: the folder of photos.
        request: how they are compared, but for the settings of the groups.
        folder: of all comparisons.
        plans: each group with its plan.
        left_out: reason for each idea that would change nothing, by its name.
    """

    photos: Path
    request: Request
    folder: Path
    plans: tuple[tuple[Group, Plan], ...]
    left_out: dict[str, str]


def plan_ideas(photos: Path, request: Request, folder: Path, say: Say) -> PlannedIdeas:
    """Check and measure every comparison before the first cell. Errors are those of `compare`.

    Raises:
        UsageError: the network is not one of the family.
    """
    network, recipe = request.network, request.recipe
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
        settings = replace(request, recipe=recipe.with_settings(**group.settings))
        plan = plan_comparison(photos, group.variants, settings, folder / group.name, say)
        plans.append((group, plan))
    left_out = {name: reason for name, reason in reasons.items() if reason}
    return PlannedIdeas(photos, request, folder, tuple(plans), left_out)


def estimate_ideas(planned: PlannedIdeas) -> tuple[float, str]:
    """Return the estimated seconds of the cells that are left, and a text for people."""
    seconds, cells = 0.0, 0
    for group, plan in planned.plans:
        folder = planned.folder / group.name
        seconds += estimate(plan, folder, planned.request)[0]
        cells += sum(map(len, unfinished_cells(plan, folder)))
    where = f"{len(planned.plans)} comparisons, {planned.request.workers} at a time"
    return seconds, f"{cells} cells in {where}: {duration(seconds)}"


def run_ideas(planned: PlannedIdeas, say: Say) -> dict[str, Any]:
    """Train the cells that are not finished, write ideas.json after each comparison, and return its content.

    Raises:
        ReslabError: as `compare`.
        KeyboardInterrupt: after Ctrl-C. The same call continues.
    """
    group, plan = next(pair for pair in planned.plans if not pair[0].settings)
    found = Photos.load(plan.cells(planned.folder / group.name, plan.first_seeds(1))[0].photos)
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
        comparison = run_comparison(plan, planned.folder / group.name, planned.request, say)
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
