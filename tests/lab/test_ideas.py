"""Ideas of the literature: each can be compared, is described in both languages, and has its gain."""

from __future__ import annotations

import pytest

from reslab import Recipe
from reslab.lab.literature.idea_gains import gains, gains_table
from reslab.lab.literature.ideas import BASELINE, Idea, grouped, load_ideas
from reslab.lab.variants import parse_variants
from reslab.networks.from_text import BLOCKS

IDEAS = load_ideas()
# no ideas of the list: the baseline, its other shortcuts, a deeper network's block, a textbook's dialect
OTHER_BLOCKS = {"basic", "shortcut_a", "shortcut_c", "bottleneck", "textbook"}
RECIPE = Recipe(size=64)


@pytest.mark.parametrize("idea", IDEAS, ids=lambda idea: f"{idea.variant}-{idea.settings}")
def test_an_idea_can_be_compared_and_is_described_in_both_languages(idea: Idea) -> None:
    recipe = RECIPE.with_settings(**idea.settings)
    baseline, variant = parse_variants((BASELINE, idea.variant), "cifar_resnet20")
    assert (
        recipe.with_settings(**variant.settings).as_json() != recipe.as_json()
        or variant.network != baseline.network
    )
    assert idea.no_effect("cifar_resnet20", RECIPE) == ""
    assert idea.paper.address.startswith("https://")
    assert len(idea.questions) == len(idea.questions_zh) in (1, 2, 3)
    assert bool(idea.note) == bool(idea.note_zh)
    assert all(result.gain is None or abs(result.gain) < 20 for result in idea.reported)


def test_every_block_is_an_idea() -> None:
    assert {idea.variant for idea in IDEAS} >= set(BLOCKS) - OTHER_BLOCKS


def test_every_idea_is_in_one_comparison_with_its_own_baseline() -> None:
    groups = grouped(IDEAS)
    assert sorted(idea.name for group in groups for idea in group.ideas) == sorted(i.name for i in IDEAS)
    for group in groups:
        assert all(idea.settings == group.settings for idea in group.ideas)
        assert len(set(group.variants)) == len(group.variants)


def test_an_idea_that_changes_nothing_gives_the_reason() -> None:
    ideas = {idea.variant: idea for idea in IDEAS}
    assert "32 pixels" in ideas["progressive_resizing=false"].no_effect("cifar_resnet20", Recipe(size=32))
    assert "stem" in ideas["stem=imagenet"].no_effect("resnet18", RECIPE)
    assert ideas["label_smoothing=0"].no_effect("resnet18", Recipe(label_smoothing=0))
    assert ideas["se"].no_effect("resnet18", RECIPE) == ""


def _row(name: str, difference: float | None = None, **changed: object) -> dict[str, object]:
    row: dict[str, object] = {
        "name": name, "accuracies": [0.8] * 8, "mean": 0.8, "difference": difference, "low": None,
        "high": None, "p_value": None, "verdict": None, "seeds_needed": None, "seconds_per_step": 0.1,
        "epochs": 8, "within_margin": False, "failed": [],
    }  # fmt: skip
    return row | changed


def test_the_gain_of_an_idea_that_the_baseline_has_is_turned_round() -> None:
    worse = {"low": -0.05, "high": -0.01, "p_value": 0.01, "verdict": "worse"}
    rows = [
        _row("basic"),
        _row("plain", -0.03, **worse, seconds_per_step=0.08, epochs=10),
        _row("se", -0.03, **worse, seconds_per_step=0.11, epochs=7),
    ]
    result = {"comparisons": {"basic": {"variants": rows}}, "left_out": {"Label smoothing": "no reason"}}
    measured = gains(IDEAS, result)
    block, se = measured["Residual block"], measured["Squeeze and excitation (SE)"]
    assert (block.difference, block.low, block.high, block.verdict) == (0.03, 0.01, 0.05, "better")
    assert (block.step_ratio, block.epochs, block.epochs_without) == (1.25, 8, 10)
    assert (se.difference, se.verdict, se.epochs, se.epochs_without) == (-0.03, "worse", 7, 8)
    shown = gains_table(IDEAS, result)
    assert "+3.0 [+1.0, +5.0]  x 1.25  better" in shown
    assert "left out: no reason" in shown
    assert shown.count("not measured yet") == len(IDEAS) - 3
    assert max(map(len, shown.splitlines())) <= 80
