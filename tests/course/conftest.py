"""Answers to the exercises: the right ones as files, the wrong ones as what people change in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from reslab.course.feedback import Verdict
from reslab.course.runner import examine

ANSWERS = Path(__file__).parent / "answers"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def verdict_on(tmp_path: Path) -> Callable[..., Verdict]:
    """verdict_on(1, ("// stride", "/ stride")) -> on right1.py with that changed."""

    def examine_changed(number: int, *changes: tuple[str, str]) -> Verdict:
        text = (ANSWERS / f"right{number}.py").read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"the right answer {number} has no {old!r}"
            text = text.replace(old, new)
        path = tmp_path / "my_answer.py"
        path.write_text(text)
        return examine(number, path)

    return examine_changed
