"""Untrusted recipe files: any bytes are a recipe or an error that names the file."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reslab import Recipe
from reslab.errors import RecipeError

NAMES = st.sampled_from(sorted(Recipe.model_fields)) | st.text(max_size=8)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**30, 10**400, -(10**400), 2**63, 1e308, 5e-324])
TEXTS = (
    st.text(st.characters(exclude_categories=()))
    | st.text("0123456789hms", max_size=600)
    | st.just("9" * 500)
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | TEXTS
    | st.sampled_from(["sgd", "muon", "steps", "cosine", "small"]),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=8,
)
any_folder = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def loaded(path: Path, content: bytes) -> Recipe | None:
    """Load a recipe; None if it was refused with an error that names the file."""
    path.write_bytes(content)
    refused: RecipeError | None = None
    try:
        recipe = Recipe.load(path)
    except RecipeError as error:
        refused = error
    if refused is not None:
        text = str(refused)
        assert str(path) in refused.what
        assert refused.why or refused.do
        assert len(text) < 5000
        assert text.replace("\n", "").isprintable()
        return None
    assert 1 <= recipe.epochs <= 100_000
    assert 0 <= recipe.seconds < float("inf")
    recipe.save(path)
    assert Recipe.load(path).as_json() == recipe.as_json()
    return recipe


@any_folder
@given(content=st.binary(max_size=300), suffix=st.sampled_from([".json", ".toml"]))
def test_any_bytes_are_a_recipe_or_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    loaded(tmp_path / f"recipe{suffix}", content)


@any_folder
@given(data=st.data(), suffix=st.sampled_from([".json", ".toml"]))
def test_a_damaged_recipe_is_another_recipe_or_refused(
    data: st.DataObject, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"recipe{suffix}"
    Recipe.load("paper").save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=6))
    loaded(path, bytes(content))


@pytest.mark.slow
@any_folder
@given(content=st.dictionaries(NAMES, VALUES, max_size=4) | VALUES)
def test_any_json_is_a_recipe_or_refused(content: Any, tmp_path: Path) -> None:
    loaded(tmp_path / "recipe.json", json.dumps(content).encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"epochs": 1e308}',
        '{"epochs": %s}' % (10**30),
        '{"batch_size": %s}' % (10**30),
        '{"epochs": 1%s}' % ("0" * 5000),
        '{"epochs": NaN}',
        '{"learning_rate": Infinity}',
        '{"learning_rate": 1e999}',
        '{"time": "1e999m"}',
        '{"time": "%sh"}' % ("9" * 400),
        '{"time": "%sh"}' % ("9" * 5000),
        '{"epochs": 3, "epochs": 4}',
        '{"\\ud800": 1}',
        '{"self": 1, "settings": 2}',
        '{"milestones": [%s0.5], "schedule": "steps"}' % ("2," * 100_000),
        '{"freeze": {"a": "b"}}',
        "[" * 500_000,
        '{"epochs":' * 100_000,
        '{"%s": 1}' % ("x" * 500_000),
        json.dumps(dict.fromkeys(map(str, range(10_000)), 1)),
        "",
        "\ufeff{}",
        "null",
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_huge_deep_and_invalid_values_are_refused_fast_and_in_little_memory(
    text: str, tmp_path: Path
) -> None:
    path, content = tmp_path / "recipe.json", text.encode()
    began = time.process_time()
    assert loaded(path, content) is None
    assert time.process_time() - began < 5
    tracemalloc.start()
    try:
        assert loaded(path, content) is None
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


def test_a_recipe_that_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "large.json").write_bytes(b" " * 2**21)
    for path in tmp_path.iterdir():
        with pytest.raises(RecipeError) as caught:
            Recipe.load(path)
        assert str(path) in caught.value.what
