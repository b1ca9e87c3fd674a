"""Load a learner's file and run the exercise's check on it; as a program, in a process of its own.

The learner's code may loop forever, exit or crash, so `grade` runs this module as a child process.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from reslab.networks.user_code import importable, run_file

from .exercises import EXERCISES, Exercise
from .feedback import ANSWER, NotSolvedError, Verdict, failure


def run_check(number: int, path: Path) -> Verdict:
    """Run the learner's file at `path`, then the check of exercise `number` on it, in this process.

    The verdict is "cannot be run" if the file cannot be imported or lacks a name of the exercise. Errors in
    the learner's functions give "not solved".
    """
    exercise = EXERCISES[number]
    with importable(path.resolve().parent):
        try:
            answer = run_file(path, ANSWER)
        except (Exception, SystemExit) as error:  # noqa: BLE001  the learner's code may raise anything
            return Verdict("cannot be run", "\n".join(["it cannot be imported", *failure(error)]).rstrip())
        for name in exercise.names:
            if not callable(getattr(answer, name, None)):
                return Verdict("cannot be run", _missing(name, answer, exercise))
        check = import_module(f"{__package__}.checks.{exercise.check}").check
        try:
            return Verdict("solved", check(answer))
        except NotSolvedError as error:
            return Verdict("not solved", str(error))


def _missing(name: str, module: ModuleType, exercise: Exercise) -> str:
    kind = "class" if name[0].isupper() else "function"
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == ANSWER and callable(v)]
    there = f"it has {', '.join(own)}" if own else "it defines no function or class"
    return f"it has no {kind} {name}; {there}\nexercise {exercise.number} checks {', '.join(exercise.names)}"


def main() -> None:
    """Run one check with one thread and write its verdict, as `grade` reads it.

    sys.argv holds: number of the exercise, the learner's file, seconds, file for the verdict, file for the
    stack. The verdict is JSON. After these seconds, write the stacks instead and exit with code 1.
    """
    number, path, timeout_s, result, stack = sys.argv[1:]
    torch.set_num_threads(1)
    with open(stack, "w") as file:
        faulthandler.dump_traceback_later(float(timeout_s), exit=True, file=file)
        verdict = run_check(int(number), Path(path))
        faulthandler.cancel_dump_traceback_later()
    Path(result).write_text(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main()
