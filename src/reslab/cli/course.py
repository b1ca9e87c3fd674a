"""COURSE: exercise."""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from reslab.errors import UsageError

from .arguments import Whole

if TYPE_CHECKING:
    from reslab.course.exercises import Exercise


def exercise(number: Whole | None = None, file: Path | None = None, /) -> int:
    """An exercise of the course: its task, or whether your file solves it.

    Example: reslab exercise 2 exercise2.py

    Without a file it says what to write, and starts exercise2.py in this folder if there is none. With one it
    checks it: exit code 0 solved, 1 not solved, 2 it cannot be run. Without a number it lists the exercises.

    Parameters
    ----------
    number
        1 to 7, as the chapters of docs/course
    file
        your answer, in Python; it is run, in a process of its own, for a minute at most
    """
    from reslab.course.exercises import EXERCISES

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # standard output may know no ⌊ and ⌋
    if number is None:
        print("\n".join(f"  {n}  {each.title}" for n, each in EXERCISES.items()))
        print("\nnext: reslab exercise 1")
        return 0
    if file is not None:
        return _check(number, file)
    if number not in EXERCISES:
        raise UsageError(f"there is no exercise {number}", "", f"give a number from 1 to {len(EXERCISES)}")
    _explain(EXERCISES[number])
    return 0


def _explain(exercise: Exercise) -> None:
    path = Path(exercise.file_name)
    print(f"exercise {exercise.number}: {exercise.title}\n\n{exercise.task}\n")
    try:
        with open(path, "x", encoding="utf-8") as file:  # x: what the reader wrote is never written over
            file.write(exercise.starter)
        print(f"started for you: {path}")
    except FileExistsError:
        print(f"your file: {path}, left as it is")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written here", str(error.strerror), "go to a folder of your own"
        ) from None
    print(f"next: change it, then reslab exercise {exercise.number} {path}")


def _check(number: int, file: Path) -> int:
    from reslab.course.exercises import EXERCISES
    from reslab.course.grade import grade

    sys.stdout.flush()  # what the reader's code prints comes after it
    verdict = grade(number, file)
    if verdict.outcome == "cannot be run":
        first, *more = verdict.text.splitlines()
        raise UsageError(f"{file} cannot be checked: {first}", "; ".join(more), "mend it and ask again")
    print(f"exercise {number}, {EXERCISES[number].title}: {verdict.outcome}")
    for line in verdict.text.splitlines():
        print(textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    if verdict.outcome == "solved" and number + 1 in EXERCISES:
        print(f"next: reslab exercise {number + 1}")
    return 0 if verdict.outcome == "solved" else 1
