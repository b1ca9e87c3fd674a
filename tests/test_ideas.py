"""docs/ideas.toml: every idea can be compared, and is described in both languages."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from reslab import Recipe
from reslab.networks.from_text import BLOCKS

IDEAS: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parents[1] / "docs/ideas.toml").read_text(encoding="utf-8")
)["idea"]
# blocks that are no idea: a deeper network's, and a textbook's dialect
OTHER_BLOCKS = {"bottleneck", "textbook"}


@pytest.mark.parametrize("idea", IDEAS, ids=lambda idea: idea["variant"])
def test_an_idea_can_be_compared_and_is_described(idea: dict[str, Any]) -> None:
    recipe = Recipe(**idea.get("settings", {}))
    for variant in (idea["variant"], idea.get("baseline", "basic")):
        name, is_setting, value = variant.partition("=")
        assert not is_setting or recipe.with_settings(**{name: value}) != recipe
        assert is_setting or name in BLOCKS
    assert {"authors", "title", "year", "venue"} <= set(idea["paper"])
    assert {"arxiv", "url"} & set(idea["paper"])
    for result in idea.get("reported", ()):
        assert set(result) | {"baseline"} == {"data", "network", "measure", "baseline", "idea", "where"}
    assert len(idea["questions"]) == len(idea["questions_zh"]) in (1, 2)
    for field in ("name", "sentence", "note"):
        assert (field in idea) == (f"{field}_zh" in idea)
    assert "name" in idea
    assert "sentence" in idea


def test_every_block_is_an_idea() -> None:
    assert {idea["variant"] for idea in IDEAS} >= set(BLOCKS) - OTHER_BLOCKS
