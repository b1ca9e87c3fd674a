"""Answers to the exercises: correct ones as files, wrong ones as changes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from reslab.course.feedback import Verdict
from reslab.course.runner import run_check

ANSWERS = Path(__file__).parent / "answers"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def check_changed(tmp_path: Path) -> Callable[..., Verdict]:
    """check_changed(1, ("// stride", "/ stride")) -> verdict on right1.py with that text replaced."""

    def check(number: int, *changes: tuple[str, str]) -> Verdict:
        text = (ANSWERS / f"right{number}.py").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"right{number}.py does not contain {old!r}"
            text = text.replace(old, new)
        path = tmp_path / "my_answer.py"
        path.write_text(text)
        return run_check(number, path)

    return check
