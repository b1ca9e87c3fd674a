"""What a check says of an answer: the reader's own line where it fails, the formula where it is off."""

from __future__ import annotations

import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from reslab.inspection.arithmetic import Window
from reslab.inspection.formula import formula as formula_of

ANSWER = "answer"  # the name under which the reader's file is imported


class NotSolvedError(Exception):
    """Why an answer is not right, for the one who wrote it."""


@dataclass(frozen=True)
class Verdict:
    """solved: what was checked; not solved: what is wrong; cannot be run: why nothing could be checked."""

    outcome: Literal["solved", "not solved", "cannot be run"]
    text: str


def formula(size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> str:
    """`⌊(56 + 2·1 - 3)/2⌋ + 1 = 28`"""
    window = Window(kernel_size, stride, padding, dilation)
    return formula_of((window, window), (size, size))


def call(
    what: str, function: Callable[..., Any], *values: Any, hint: Callable[[str], str] | None = None
) -> Any:
    """function(*values), which is the reader's. Raises NotSolvedError if it fails, with `what` was called.

    `hint` turns torch's words into a line about shapes, or into nothing.
    """
    try:
        return function(*values)
    except (Exception, SystemExit) as error:
        lines = [f"{what} fails", *failure(error)]
        if hint is not None and (more := hint(str(error))):
            lines.append(more)
        raise NotSolvedError("\n".join(lines)) from error


def failure(error: BaseException) -> list[str]:
    """Two lines: what went wrong, and the reader's line where it did."""
    if isinstance(error, SystemExit):
        words = "it calls exit() instead of returning"
    else:
        message = next(iter(str(error).strip().splitlines()), "")
        words = f"{type(error).__name__}: {message}" if message else type(error).__name__
    lines = [words]
    if place := place_of(error):
        lines.append(place)
    return lines


def place_of(error: BaseException) -> str:
    """The deepest line of the reader's file that an error went through."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__") == ANSWER:
            return quote(frame.f_code.co_filename, line)
    return ""


def quote(path: str, line: int) -> str:
    """`line 12: return x + y`"""
    return f"line {line}: {linecache.getline(path, line).strip()}"


def shown(value: Any) -> str:
    """A value as a reader wants to see it: of a tensor its shape."""
    shape = getattr(value, "shape", None)
    if shape is not None:
        return f"a tensor {tuple(shape)}"
    text = repr(value)
    return f"{text[:80]}... ({type(value).__name__})" if len(text) > 80 else text


def expect(condition: bool, *lines: str) -> None:
    """Raises NotSolvedError with these lines unless the condition holds."""
    if not condition:
        raise NotSolvedError("\n".join(line for line in lines if line))
