"""Experiments of the papers: what is compared, what the paper found, and what was measured next to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from made_up_comparisons import make_variants

from reslab import Comparison, Photos, Recipe
from reslab.datasets.part import copy_part
from reslab.lab.literature.experiments import EXPERIMENTS, Claim
from reslab.lab.literature.run_experiment import Finding, findings_text
from reslab.lab.variants import parse_variants
from reslab.networks.from_text import network_from_text


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_can_be_compared_and_its_claims_are_about_its_variants(name: str) -> None:
    experiment = EXPERIMENTS[name]
    recipe = Recipe(**experiment.recipe)
    for variant in parse_variants(experiment.variants, experiment.network):
        network_from_text(variant.network, 10, meta=True)
        assert recipe.with_settings(**variant.settings).as_json()
    assert experiment.seeds >= 5
    for claim in experiment.claims:
        assert {claim.variant, claim.baseline} <= set(experiment.variants)


def finding(found: Literal["better", "worse", "equivalent"] | None, gain: float) -> Finding:
    variants = make_variants({"plain": 0.0, "basic": gain}, seeds=8)
    comparison = Comparison(
        folder=Path(), photos="photos", test_photos=2000, margin=0.01, seeds=tuple(range(8)),
        variants=tuple(variants), recipe={},
    )  # fmt: skip
    return Finding(Claim("basic", "plain", found, "the error falls by 3 points", "table 2"), comparison)


@pytest.mark.parametrize(
    ("found", "gain", "conclusion"),
    [
        ("better", 0.05, "as the paper found"),
        ("worse", -0.05, "as the paper found"),
        ("worse", 0.05, "the opposite of what the paper found"),
        ("better", 0.0, "the paper's difference is not"),
        ("equivalent", 0.05, "the paper found almost no difference"),
        ("equivalent", 0.0, "equality is not shown"),
        (None, 0.05, "the paper has no figure to compare with"),
    ],
)
def test_the_conclusion_compares_the_verdict_with_the_paper(
    found: Literal["better", "worse", "equivalent"] | None, gain: float, conclusion: str
) -> None:
    assert finding(found, gain).conclusion.startswith(conclusion)


def test_the_text_has_paper_and_measurement_next_to_each_other() -> None:
    text = findings_text([finding("better", 0.05)])
    assert text.startswith("basic, compared with plain\n  paper     the error falls by 3 points (table 2)\n")
    assert "\n  measured  better than plain by " in text
    assert text.endswith("\n  so        as the paper found")
    assert max(map(len, text.splitlines())) <= 80


def test_a_part_has_as_many_photos_of_each_class_every_time(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source = photo_folder(train=24, test=12)
    parts = [Photos(copy_part(source, tmp_path / name, train=10, test=6), seed=1) for name in ("a", "b")]
    assert [len(split) for split in parts[0].splits.values()] == [8, 2, 6]
    assert parts[0].test.paths == parts[1].test.paths
    assert parts[0].train.labels.tolist() == [0] * 4 + [1] * 4
    small = Photos(copy_part(source, tmp_path / "all", train=1000, test=1000))
    assert (len(small.train) + len(small.val), len(small.test)) == (24, 12)
