"""Feedback on a learner's answer: their own failing line, and the formula with the numbers put in."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from reslab.inspection.arithmetic import Window
from reslab.inspection.formula import formula as formula_of

ANSWER = "answer"  # module name of the learner's file


class NotSolvedError(Exception):
    """The answer is wrong. Each argument is one line for its author; empty lines are dropped."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(line for line in lines if line))


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check. `text` lists what was checked (solved), what is wrong, or why it cannot run."""

    outcome: Literal["solved", "not solved", "cannot be run"]
    text: str


def expect(condition: bool, *lines: str) -> None:
    """Raise NotSolvedError with `lines` unless `condition` holds."""
    if not condition:
        raise NotSolvedError(*lines)


def call(
    what: str, function: Callable[..., Any], *values: Any, hint: Callable[[str], str] = lambda message: ""
) -> Any:
    """Call the learner's function.

    Args:
        what: the call as the learner would write it, for the feedback.
        hint: turns the error's message into one more line of feedback, or "".

    Raises:
        NotSolvedError: the function raises or exits.
    """
    try:
        return function(*values)
    except (Exception, SystemExit) as error:
        raise NotSolvedError(f"{what} fails", *failure(error), hint(str(error))) from error


def failure(error: BaseException) -> list[str]:
    """Return the error's message and the learner's line that caused it."""
    if isinstance(error, SystemExit):
        message = "it calls exit() instead of returning"
    else:
        message = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    return [message, place_of(error)]


def place_of(error: BaseException) -> str:
    """Return the deepest line of the learner's file in the error's traceback, or ""."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__") == ANSWER:
            return quote(frame.f_code.co_filename, line)
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return quote(error.filename, error.lineno)
    return ""


def quote(path: str, line: int) -> str:
    """`line 12: return x + y`"""
    return f"line {line}: {linecache.getline(path, line).strip()}"


def shown(value: Any) -> str:
    """Describe a value in one line: a tensor by its shape."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"a tensor {tuple(shape)}"
    text = repr(value)
    return f"{text[:80]}... ({type(value).__name__})" if len(text) > 80 else text


def formula(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> str:
    """`⌊(56 + 2·1 - 3)/2⌋ + 1 = 28`"""
    window = Window(kernel_size, stride, padding, dilation)
    return formula_of((window, window), (size, size))


def usual_mistake(
    got: Sequence[float], mistakes: Iterable[tuple[str, Sequence[float]]], tolerance: float
) -> str:
    """Return the explanation of the first mistake whose values are `got`, or ""."""
    for explanation, values in mistakes:
        if all(abs(a - b) < tolerance for a, b in zip(got, values, strict=True)):
            return explanation
    return ""
