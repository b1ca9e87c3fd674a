"""Call N of a kind fails; then the training is resumed: what was said, and what that cost.

The method of SQLite's testers (sqlite.org/testing.html, section 3): for every N, until a pass is clean.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kill_trials import RECIPE
from rough_machine import KINDS, RoughMachine, bits, names

ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@dataclass(frozen=True)
class Fault:
    """One call that failed: "answered" by an error in words, or "borne", since it was of no weight."""

    kind: str
    number: int
    error: str
    outcome: str
    said: str
    wrong: tuple[str, ...]  # what must not be


def faults(machine: RoughMachine, folder: Path, every: int = 1) -> Iterator[Fault]:
    """Every call of every kind fails with every error; with `every` > 1 only each so many-th of all that."""
    calm, root, trial = folder / "calm", folder / "failing", 0
    assert machine.run(calm, RECIPE) == 0, machine.said()
    calls = dict(zip(KINDS, machine.page.counts, strict=True))
    for kind in KINDS:
        for error in ERRORS:
            for number in range(1, calls[kind] + 1):
                trial += 1
                if trial % every == 0 and (fault := _trial(machine, calm, root, kind, number, error)):
                    yield fault
                shutil.rmtree(root, ignore_errors=True)
            assert _trial(machine, calm, root, kind, 2 * calls[kind], error) is None  # a clean pass
            shutil.rmtree(root)


def _trial(machine: RoughMachine, calm: Path, root: Path, kind: str, number: int, error: int) -> Fault | None:
    """None if the run has not so many calls."""
    code = machine.run(root, RECIPE, fault=(kind, number, error))
    reached = machine.page.counts[KINDS.index(kind)] >= number
    report, wrong = machine.said(), []
    if not reached:
        return None
    said = "\n".join(report.get("error", []))
    if code == 2:
        wrong += _faults_of_the_answer(report["error"], root, kind, error)
    elif code != 0:
        wrong.append(report.get("traceback", f"exit code {code}"))
    elif (left := names(root) - names(calm)) and kind != "mkdir":
        wrong.append(f"left behind: {sorted(left)}")
    if code != 0 and (code := machine.run(root, RECIPE)) != 0:
        wrong.append(f"not resumed: {machine.said()}")
    elif bits(root / "run") != bits(calm / "run"):
        wrong.append("other bits")
    elif said and (left := names(root) - names(calm)):
        wrong.append(f"left behind: {sorted(left)}")
    outcome = "answered" if said else "borne"
    return Fault(kind, number, errno.errorcode[error], outcome, said, tuple(wrong))


def _faults_of_the_answer(answer: list[str], root: Path, kind: str, error: int) -> list[str]:
    what, why, do = answer
    wrong = []
    if str(root) not in what:
        wrong.append(f"no path in: {what}")
    if not why or not do:
        wrong.append(f"no why or no next step: {answer}")
    full = error == errno.ENOSPC and "written" in what  # a disk that is full can still be read
    if full and ("No space left" not in why or (kind == "write" and "bytes are" not in why)):
        wrong.append(f"a full disk is not called so: {why}")
    return wrong
