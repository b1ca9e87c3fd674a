"""The reader's file, loaded and checked; as a program, the process of its own in which that happens.

What the reader writes may loop forever, exit or crash. None of it reaches the process that asked.
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

from .exercises import EXERCISES, Exercise
from .feedback import ANSWER, NotSolvedError, Verdict, failure, quote


def examine(number: int, path: Path) -> Verdict:
    """Loads the file and runs the check of the exercise on it, in this process."""
    exercise = EXERCISES[number]
    with _folder_importable(path.resolve().parent):
        loaded = _load(path)
        if isinstance(loaded, Verdict):
            return loaded
        if missing := [name for name in exercise.names if not callable(getattr(loaded, name, None))]:
            return Verdict("cannot be run", _missing(path, missing[0], loaded, exercise))
        module, _, function = exercise.check.partition(":")
        check = getattr(import_module(f"{__package__}.{module}"), function)
        try:
            return Verdict("solved", check(loaded))
        except NotSolvedError as error:
            return Verdict("not solved", str(error))


def _load(path: Path) -> ModuleType | Verdict:
    """The file as a module; why it cannot be one, in words."""
    module = ModuleType(ANSWER)
    module.__file__ = str(path)
    try:
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f"\n{quote(str(path), error.lineno)}" if error.lineno else ""
        return Verdict("cannot be run", f"it is not valid Python: {error.msg}{line}")
    except ValueError as error:  # a null byte
        return Verdict("cannot be run", f"it is not valid Python: {error}")
    sys.modules[ANSWER] = module  # dataclasses and pickle look their module up there
    try:
        exec(code, module.__dict__)
    except (Exception, SystemExit) as error:  # noqa: BLE001  whatever the reader's code raises is an answer
        return Verdict("cannot be run", "\n".join(["it fails while it is read", *failure(error)]))
    return module


def _missing(path: Path, name: str, module: ModuleType, exercise: Exercise) -> str:
    kind = "class" if name[0].isupper() else "function"
    own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == ANSWER and callable(v)]
    there = f"it has {', '.join(own)}" if own else "it defines no function or class"
    return f"it has no {kind} {name}; {there}\nexercise {exercise.number} checks {', '.join(exercise.names)}"


@contextmanager
def _folder_importable(folder: Path) -> Iterator[None]:
    """The answer may import its neighbours, as it would if it were run by itself."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop(ANSWER, None)


def main() -> None:
    """Arguments: number, file, seconds, where the verdict goes, where the lines go if time runs out."""
    number, path, seconds, verdict, hanging = sys.argv[1:]
    import torch  # before the clock starts: its import is not the reader's time

    torch.set_num_threads(1)
    with open(hanging, "w") as file:
        faulthandler.dump_traceback_later(float(seconds), exit=True, file=file)
        result = examine(int(number), Path(path))
        faulthandler.cancel_dump_traceback_later()
    Path(verdict).write_text(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
