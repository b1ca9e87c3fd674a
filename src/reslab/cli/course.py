"""The verb `exercise`: start an exercise of the course or check a solution."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from reslab.errors import UsageError

from .arguments import Whole

if TYPE_CHECKING:
    from reslab.course.exercises import Exercise


def exercise(number: Whole | None = None, file: Path | None = None, /) -> int:
    """Start an exercise of the course, or check your solution of it.

    Example: reslab exercise 2 exercise2.py

    Without a file, this prints the task and creates exercise2.py in this folder;
    an existing one is kept. With a file, this checks it. The exit code is 0 if
    the file solves the exercise, 1 if not, 2 if it cannot be run. Without a
    number, this lists the exercises.

    Args:
        number: 1 to 7, as the chapters of docs/course
        file: your solution in Python; it runs in a process of its own, for at most a minute
    """
    from reslab.course.exercises import EXERCISES

    if number is None:
        print("\n".join(f"  {n}  {each.title}" for n, each in EXERCISES.items()))
        print("\nnext: reslab exercise 1")
        return 0
    if number not in EXERCISES:
        raise UsageError(f"there is no exercise {number}", "", f"give a number from 1 to {len(EXERCISES)}")
    if file is not None:
        return _check(number, file)
    _start(EXERCISES[number])
    return 0


def _start(exercise: Exercise) -> None:
    path = Path(exercise.file_name)
    print(f"exercise {exercise.number}: {exercise.title}\n\n{exercise.task}\n")
    try:
        with open(path, "x", encoding="utf-8") as file:  # x: never overwrite a solution
            file.write(exercise.starter)
        print(f"created: {path}")
    except FileExistsError:
        print(f"your file: {path}, not changed")
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written here", str(error.strerror), "change to a folder of your own"
        ) from None
    print(f"next: edit it, then reslab exercise {exercise.number} {path}")


def _check(number: int, file: Path) -> int:
    from reslab.course.exercises import EXERCISES
    from reslab.course.grade import grade

    sys.stdout.flush()  # the solution may print, too
    verdict = grade(number, file)
    if verdict.outcome == "cannot be run":
        first, *more = verdict.text.splitlines()
        raise UsageError(
            f"{file} cannot be checked: {first}", "; ".join(more), f"fix {file}, then run this command again"
        )
    print(f"exercise {number}, {EXERCISES[number].title}: {verdict.outcome}")
    for line in verdict.text.splitlines():
        print(textwrap.fill(line, 80, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False))
    if verdict.outcome == "solved" and number + 1 in EXERCISES:
        print(f"next: reslab exercise {number + 1}")
    return 0 if verdict.outcome == "solved" else 1
