"""Load a learner's file and run the exercise's check on it; as a program, in a process of its own.

The learner's code may loop forever, exit or crash, so `grade` runs this module as a child process.
"""

from __future__ import annotations

import faulthandler
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch

from .exercises import EXERCISES, Exercise
from .feedback import ANSWER, NotSolvedError, Verdict, failure, quote


def run_check(number: int, path: Path) -> Verdict:
    """Load the file and run the check of exercise `number` on it, in this process."""
    exercise = EXERCISES[number]
    with _importable(path.resolve().parent):
        answer = _load(path)
        if isinstance(answer, Verdict):
            return answer
        for name in exercise.names:
            if not callable(getattr(answer, name, None)):
                return Verdict("cannot be run", _missing(name, answer, exercise))
        check = import_module(f"{__package__}.checks.{exercise.check}").check
        try:
            return Verdict("solved", check(answer))
        except NotSolvedError as error:
            return Verdict("not solved", str(error))


def _load(path: Path) -> ModuleType | Verdict:
    """Import the file as a module. Return a Verdict if it fails."""
    module = ModuleType(ANSWER)
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:  # ValueError: a null byte
        line = getattr(error, "lineno", None)
        where = f"\n{quote(str(path), line)}" if line else ""
        return Verdict("cannot be run", f"it is not valid Python: {getattr(error, 'msg', error)}{where}")
    sys.modules[ANSWER] = module  # dataclasses and pickle look their module up there
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:  # noqa: BLE001  the learner's code may raise anything
        return Verdict("cannot be run", "\n".join(["it fails on import", *failure(error)]).rstrip())
    return module


def _missing(name: str, module: ModuleType, exercise: Exercise) -> str:
    kind = "class" if name[0].isupper() else "function"
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == ANSWER and callable(v)]
    there = f"it has {', '.join(own)}" if own else "it defines no function or class"
    return f"it has no {kind} {name}; {there}\nexercise {exercise.number} checks {', '.join(exercise.names)}"


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Make the modules next to the learner's file importable, as when the file runs as a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(ANSWER, None)


def main() -> None:
    """Run one check. Arguments: exercise, file, timeout in seconds, files for the verdict and the stack."""
    number, path, timeout_s, result, stack = sys.argv[1:]
    torch.set_num_threads(1)
    with open(stack, "w") as file:
        faulthandler.dump_traceback_later(float(timeout_s), exit=True, file=file)
        verdict = run_check(int(number), Path(path))
        faulthandler.cancel_dump_traceback_later()
    Path(result).write_text(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main()
