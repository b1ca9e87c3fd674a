"""Let call N of a kind fail, then resume the training: the error message, and the result.

The method of SQLite's tests (sqlite.org/testing.html, section 3): for every N, until a pass has no failure.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kill_trials import RECIPE
from rough_machine import KINDS, RoughMachine, names, run_results

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@dataclass(frozen=True)
class Fault:
    """A call that failed: "reported" by a ReslabError, or "tolerated" since it did not matter."""

    kind: str
    number: int
    error: str
    outcome: str
    message: str
    wrong: tuple[str, ...]  # violated requirements


def faults(machine: RoughMachine, folder: Path, every: int = 1) -> Iterator[Fault]:
    """Let every call of every kind fail with every error, or only each `every`-th of these combinations."""
    calm, root, trial = folder / "calm", folder / "failing", 0
    assert machine.run(calm, RECIPE) == 0, machine.report()
    calls = dict(zip(KINDS, machine.page.counts, strict=True))
    for kind in KINDS:
        for error in ERRORS:
            for number in range(1, calls[kind] + 1):
                trial += 1
                if trial % every == 0 and (fault := _trial(machine, calm, root, kind, number, error)):
                    yield fault
                shutil.rmtree(root, ignore_errors=True)
            assert (
                _trial(machine, calm, root, kind, 2 * calls[kind], error) is None
            )  # no call is left that could fail
            shutil.rmtree(root)


def _trial(machine: RoughMachine, calm: Path, root: Path, kind: str, number: int, error: int) -> Fault | None:
    """Return None if the run has fewer calls."""
    code = machine.run(root, RECIPE, fault=(kind, number, error))
    reached = machine.page.counts[KINDS.index(kind)] >= number
    report, wrong = machine.report(), []
    if not reached:
        return None
    message = "\n".join(report.get("error", []))
    if code == 2:
        wrong += _message_problems(report["error"], root, kind, error)
    elif code != 0:
        wrong.append(report.get("traceback", f"exit code {code}"))
    elif (left := names(root) - names(calm)) and kind != "mkdir":
        wrong.append(f"left behind: {sorted(left)}")
    if code != 0 and (code := machine.run(root, RECIPE)) != 0:
        wrong.append(f"not resumed: {machine.report()}")
    elif run_results(root / "run") != run_results(calm / "run"):
        wrong.append("other results")
    elif message and (left := names(root) - names(calm)):
        wrong.append(f"left behind: {sorted(left)}")
    outcome = "reported" if message else "tolerated"
    return Fault(kind, number, errno.errorcode[error], outcome, message, tuple(wrong))


def _message_problems(parts: list[str], root: Path, kind: str, error: int) -> list[str]:
    what, why, do = parts
    wrong = []
    if str(root) not in what:
        wrong.append(f"no path in: {what}")
    if not why or not do:
        wrong.append(f"no why or no next step: {parts}")
    full = error == errno.ENOSPC and "written" in what  # a disk that is full can still be read
    if full and ("No space left" not in why or (kind == "write" and "bytes are" not in why)):
        wrong.append(f"a full disk is not named: {why}")
    return wrong
