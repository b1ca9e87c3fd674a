"""The exercises take the right answers, and explain the wrong ones that people give."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reslab.course.exercises import EXERCISES
from reslab.course.feedback import Verdict
from reslab.course.runner import examine

ANSWERS = Path(__file__).parent / "answers"
WRONG = [
    pytest.param(number, answer, id=f"{number} {what}")
    for number in EXERCISES
    for what, answer in tomllib.loads((ANSWERS / f"wrong{number}.toml").read_text(encoding="utf-8")).items()
]


@pytest.mark.parametrize("number", EXERCISES)
def test_the_right_answer_solves_the_exercise(number: int, verdict_on: Callable[..., Verdict]) -> None:
    verdict = verdict_on(number)
    assert verdict.outcome == "solved", verdict.text


@pytest.mark.parametrize("kind", ["half", "double"])
def test_a_map_in_another_number_format_is_right_as_well(
    kind: str, verdict_on: Callable[..., Verdict]
) -> None:
    verdict = verdict_on(6, (".detach()", f".detach().{kind}()"))
    assert verdict.outcome == "solved", verdict.text


@pytest.mark.parametrize(("number", "answer"), WRONG)
def test_a_wrong_answer_is_explained(
    number: int, answer: dict[str, Any], verdict_on: Callable[..., Verdict]
) -> None:
    verdict = verdict_on(number, *answer["changes"])
    assert verdict.outcome == "not solved", verdict.text
    assert answer["says"] in verdict.text


@pytest.mark.parametrize("number", EXERCISES)
def test_what_an_exercise_starts_from_runs_and_is_not_solved(number: int, tmp_path: Path) -> None:
    path = tmp_path / EXERCISES[number].file_name
    path.write_text(EXERCISES[number].starter)
    assert examine(number, path).outcome == "not solved"
