"""The checks accept correct answers and explain common wrong ones."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reslab.course.exercises import EXERCISES
from reslab.course.feedback import Verdict
from reslab.course.runner import run_check

ANSWERS = Path(__file__).parent / "answers"
WRONG = [
    pytest.param(number, answer, id=f"{number} {name}")
    for number in EXERCISES
    for name, answer in tomllib.loads((ANSWERS / f"wrong{number}.toml").read_text(encoding="utf-8")).items()
]


@pytest.mark.parametrize("number", EXERCISES)
def test_the_correct_answer_solves_the_exercise(number: int, check_changed: Callable[..., Verdict]) -> None:
    verdict = check_changed(number)
    assert verdict.outcome == "solved", verdict.text


@pytest.mark.parametrize("dtype", ["half", "double"])
def test_grad_cam_may_return_another_dtype(dtype: str, check_changed: Callable[..., Verdict]) -> None:
    verdict = check_changed(6, (".detach()", f".detach().{dtype}()"))
    assert verdict.outcome == "solved", verdict.text


@pytest.mark.parametrize(("number", "answer"), WRONG)
def test_a_wrong_answer_is_explained(
    number: int, answer: dict[str, Any], check_changed: Callable[..., Verdict]
) -> None:
    verdict = check_changed(number, *answer["changes"])
    assert verdict.outcome == "not solved", verdict.text
    assert answer["feedback"] in verdict.text


@pytest.mark.parametrize("number", EXERCISES)
def test_a_starter_runs_and_does_not_solve_the_exercise(number: int, tmp_path: Path) -> None:
    path = tmp_path / EXERCISES[number].file_name
    path.write_text(EXERCISES[number].starter)
    assert run_check(number, path).outcome == "not solved"
