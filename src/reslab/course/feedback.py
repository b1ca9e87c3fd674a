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
    """The answer is wrong. Its text is its arguments, one line each, without the empty ones."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(line for line in lines if line))


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check.

    Attributes:
        outcome: "cannot be run" if the check did not start.
        text: for the learner: what was checked (solved), what is wrong, or why it cannot run.
    """

    outcome: Literal["solved", "not solved", "cannot be run"]
    text: str


def expect(condition: bool, *lines: str) -> None:
    """Raise NotSolvedError with `lines` unless `condition` is true."""
    if not condition:
        raise NotSolvedError(*lines)


def call(
    what: str, function: Callable[..., Any], *values: Any, hint: Callable[[str], str] = lambda message: ""
) -> Any:
    """Call the learner's function with `values` and return its result.

    Args:
        what: the call as the learner would write it, for the feedback.
        function: of the learner.
        values: its positional arguments.
        hint: turns the error's message into one more line of feedback, or "".

    Raises:
        NotSolvedError: the function raises or exits.
    """
    try:
        return function(*values)
    except (Exception, SystemExit) as error:
        raise NotSolvedError(f"{what} fails", *failure(error), hint(str(error))) from error


def failure(error: BaseException) -> list[str]:
    """Return two lines of feedback: the error's class and first line, and the learner's line that caused it.

    The second is "" if no line of the learner's file is in the traceback, see `place_of`.
    """
    if isinstance(error, SystemExit):
        message = "it calls exit() instead of returning"
    else:
        message = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
    return [message, place_of(error)]


def place_of(error: BaseException) -> str:
    """Return the learner's line that is deepest in the error's traceback, as `quote` does.

    For a SyntaxError it is the line that cannot be parsed. Return "" if there is no such line.
    """
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__") == ANSWER:
            return quote(frame.f_code.co_filename, line)
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return quote(error.filename, error.lineno)
    return ""


def quote(path: str, line: int) -> str:
    """Return `line 12: return x + y`, for the line with this number (from 1) of the file at `path`."""
    return f"line {line}: {linecache.getline(path, line).strip()}"


def shown(value: Any) -> str:
    """Describe a learner's value: a tensor by its shape, others by their repr.

    A repr over 80 characters is cut and followed by the name of its type.
    """
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"a tensor {tuple(shape)}"
    text = repr(value)
    return f"{text[:80]}... ({type(value).__name__})" if len(text) > 80 else text


def formula(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> str:
    """Return the output size of a convolution along one axis as text: `⌊(56 + 2·1 - 3)/2⌋ + 1 = 28`."""
    window = Window(kernel_size, stride, padding, dilation)
    return formula_of((window, window), (size, size))


def usual_mistake(
    got: Sequence[float], mistakes: Iterable[tuple[str, Sequence[float]]], tolerance: float
) -> str:
    """Return the explanation of the first mistake that gives the learner's values, or "" if none does.

    Args:
        got: the learner's values.
        mistakes: (explanation, the values that this mistake gives); as many values as `got`.
        tolerance: two values are equal if they differ by less.
    """
    for explanation, values in mistakes:
        if all(abs(a - b) < tolerance for a, b in zip(got, values, strict=True)):
            return explanation
    return ""
