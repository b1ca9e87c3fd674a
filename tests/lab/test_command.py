"""The command on a report repeats the comparison: the same photos, variants, settings and numbers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from reslab.cli.main import run as reslab_command
from reslab.lab import compare as lab_compare
from reslab.lab.command import repeat_command
from reslab.lab.costs import CellCost
from reslab.lab.plan import Plan, PlannedVariant
from reslab.lab.request import Request
from reslab.lab.variants import Variant
from reslab.training.recipe import Recipe
from reslab.training.timing.precision_cache import MeasuredPrecision


@pytest.mark.parametrize(
    ("recipe", "changed"),
    [
        (Recipe(), {}),
        (Recipe.load("paper"), {"network": "cifar_resnet20", "until_sure": 20, "margin": 0.25}),
        (
            Recipe(epochs=3, schedule="steps", milestones=(0.5, 0.75), random_crop=False, learning_rate=1e-3),
            {"seeds": 5, "first_seed": 8, "budget": "flops", "tune": 3},
        ),
    ],
)
def test_the_command_gives_the_same_request(
    recipe: Recipe, changed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Request(recipe=recipe, **changed)
    names = ("basic", "my block.py:MyBlock")
    cost = CellCost(0, 0, 0, 0)
    plan = Plan(
        photos=str(tmp_path / "my photos"),
        photos_digest="",
        test_photos=10,
        network=asked.network,
        base_recipe=recipe.as_json(),
        budget=asked.budget,
        tune=asked.tune,
        margin=asked.margin / 100,
        seeds=asked.seeds,
        until_sure=asked.until_sure,
        own_val=False,
        measured=MeasuredPrecision("fp32", 1.0),
        environment={},
        variants=tuple(PlannedVariant(Variant(n, n), recipe.as_json(), "", 0, 0, cost) for n in names),
        given=tuple(sorted(recipe.model_fields_set)),
        first_seed=asked.first_seed,
    )
    seen: list[Any] = []

    def stop(*arguments: Any) -> None:
        seen.extend(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(lab_compare, "plan_comparison", stop)
    assert reslab_command(shlex.split(repeat_command(plan))[1:]) == 130
    photos, variants, request = seen[:3]
    assert (photos, tuple(variants), request) == (tmp_path / "my photos", names, asked)
