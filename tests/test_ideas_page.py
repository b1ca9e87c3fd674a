"""docs/ideas.md and docs/ideas.zh.md: made from the list and the results, finished or not."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest

from reslab import Recipe
from reslab.lab.literature.ideas import Group, grouped, load_ideas

ROOT = Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "docs/ideas.py"))


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_pages_are_those_that_the_script_makes(language: str) -> None:
    page: Path = SCRIPT["PAGES"][language]
    assert page.read_text(encoding="utf-8") == SCRIPT["page"](language), "python docs/ideas.py"


def test_both_languages_have_the_same_texts() -> None:
    assert set(SCRIPT["TEXTS"]["en"]) == set(SCRIPT["TEXTS"]["zh"])


def row(name: str, **changed: Any) -> dict[str, Any]:
    usual = {
        "name": name, "accuracies": [0.75] * 8, "mean": 0.75, "difference": 0.004, "low": -0.002,
        "high": 0.010, "p_value": 0.2, "verdict": "undecided", "seeds_needed": 30, "seconds_per_step": 0.1,
        "seconds": 50.0, "epochs": 8, "within_margin": False, "failed": [],
    }  # fmt: skip
    return usual | changed


def result(groups: tuple[Group, ...]) -> dict[str, Any]:
    """Return a made-up result of some comparisons."""
    comparisons = {group.name: {"variants": [row(v) for v in group.variants]} for group in groups}
    return {
        "photos": "part", "classes": 10, "train": 2160, "val": 240, "test": 2000, "margin": 0.01,
        "network": "cifar_resnet20", "recipe": Recipe(size=32, epochs=8).as_json(),
        "environment": {"precision": "bf16", "torch": "2.14", "reslab": "1.0"},
        "machine": {"processor": "Example 7", "cores": 2}, "comparisons": comparisons,
        "left_out": {"Progressive resizing": "images of 32 pixels are not made smaller"},
    }  # fmt: skip


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_unfinished_measurement_has_its_figures_and_gaps(language: str, tmp_path: Path) -> None:
    folder = tmp_path / "ideas"
    shutil.copytree(ROOT / "docs/ideas", folder, ignore=shutil.ignore_patterns("*.json"))
    groups = grouped(load_ideas())
    small = result(groups[:1])
    (variant,) = small["comparisons"][groups[0].name]["variants"][1:]
    variant |= {"difference": -0.02, "low": -0.03, "high": -0.01, "verdict": "worse", "p_value": 0.0001}
    (folder / "cats-dogs.json").write_text(json.dumps(small))
    (folder / "fashion-mnist.json").write_text(json.dumps(result(groups)))
    page = SCRIPT["page"](language, folder)
    table = page.split("\n## ")[1]
    assert table.count("+0.4 [-0.2, +1.0]") == sum(not idea.removes for idea in load_ideas())
    assert "-2.0 [-3.0, -1.0] " in table
    assert table.count(SCRIPT["TEXTS"][language]["not_measured"]) == len(load_ideas()) - 2
    assert "p < 0.001" in page
    assert "Example 7" in page
