"""Kill a short training at a random instant and resume it: where it was killed, and what that cost."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rough_machine import KINDS, RoughMachine, kill, names, run_results, steps_done, wait_until

from reslab.files import UNFINISHED

RECIPE = {"epochs": 2, "size": 16, "resize": 18, "batch_size": 8, "precision": "fp32", "seed": 3}
EVERY_STEP = {"checkpoint_minutes": 1e-9}
SLOW = 4000  # microseconds for every 64 KiB: a checkpoint takes 0.2 s


@dataclass(frozen=True)
class Death:
    """A kill -9: where it happened, and the result after resuming."""

    place: str  # "in a write of checkpoint", "at the start", "between"
    interval: int  # steps from one checkpoint to the next
    repeated: int = 0  # steps done twice
    same: bool = False  # weights, optimizer, metrics and best epoch equal those of the uninterrupted run
    left: frozenset[str] = frozenset()  # files and folders that the uninterrupted run does not have


@dataclass(frozen=True)
class Calm:
    """The uninterrupted run that the others are compared with."""

    root: Path
    recipe: dict[str, Any]
    interval: int
    seconds: float
    writes: int

    @classmethod
    def of(cls, machine: RoughMachine, root: Path, recipe: dict[str, Any], interval: int) -> Calm:
        started = time.monotonic()
        code = machine.run(root, recipe)
        assert code == 0, machine.report()
        seconds = time.monotonic() - started
        return cls(root, recipe, interval, seconds, machine.page.counts[KINDS.index("write")])


def deaths(machine: RoughMachine, folder: Path, count: int, seed: int = 0) -> Iterator[Death]:
    """Kill `count` runs, every fourth inside a write. Every second run saves after each step.

    The other runs save only at the end of an epoch, so that a kill loses steps.
    """
    dice = random.Random(seed)
    steps = 3  # in an epoch of 22 photos
    calm = [
        Calm.of(machine, folder / "calm-steps", RECIPE | EVERY_STEP, 1),
        Calm.of(machine, folder / "calm-epochs", RECIPE, steps),
    ]
    numbers = itertools.count()
    for trial in range(count):
        death = None
        while death is None:  # a run may end before it is killed
            root = folder / f"killed{next(numbers)}"
            chosen = calm[trial % 2]
            death = (
                _in_a_write(machine, chosen, root, dice)
                if trial % 4 == 3 - trial // 4 % 2
                else _any_time(machine, chosen, root, dice)
            )
            if death is not None:
                death = _resumed(machine, chosen, root, death)
            shutil.rmtree(root)
            (folder / f"{root.name}.steps").unlink()
        yield death


def _any_time(machine: RoughMachine, calm: Calm, root: Path, dice: random.Random) -> Death | None:
    process = machine.start(root, calm.recipe)
    until = time.monotonic() + dice.uniform(0, calm.seconds)
    if wait_until(lambda: time.monotonic() >= until, process):
        kill(process)
    return Death(_place(machine, root), calm.interval) if machine.wait() == -9 else None


def _in_a_write(machine: RoughMachine, calm: Calm, root: Path, dice: random.Random) -> Death | None:
    """Kill a run during one of its writes, which are slow."""
    writing, number = 1 + KINDS.index("write"), dice.randrange(1, calm.writes + 1)
    process, counts = machine.start(root, calm.recipe, slow=SLOW), machine.page.counts
    if not wait_until(lambda: counts[writing - 1] >= number and machine.page.inside == writing, process):
        machine.wait()
        return None
    until = time.monotonic() + dice.uniform(0, 0.05)
    wait_until(lambda: time.monotonic() >= until, process)
    kill(process)
    if machine.wait() != -9 or machine.page.inside != writing:
        return None
    return Death(_place(machine, root), calm.interval)


def _place(machine: RoughMachine, root: Path) -> str:
    if machine.page.inside:
        name = Path(machine.page.path.decode()).name
        name = name.removeprefix(".").rsplit(".", 2)[0] if name.endswith(UNFINISHED) else name
        name = "a cache" if "cache" in Path(machine.page.path.decode()).relative_to(root).parts else name
        return f"in a {KINDS[machine.page.inside - 1]} of {name}"
    if not (root / "run" / "run.json").exists():
        return "before the run folder"
    return "after the last epoch" if _epochs(root) == RECIPE["epochs"] else "between two writes"


def _epochs(root: Path) -> int:
    path = root / "run" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def _resumed(machine: RoughMachine, calm: Calm, root: Path, death: Death) -> Death:
    code = machine.run(root, calm.recipe)
    assert code == 0, (death, machine.report())
    return replace(
        death,
        repeated=steps_done(root) - steps_done(calm.root),
        same=run_results(root / "run") == run_results(calm.root / "run"),
        left=frozenset(names(root) ^ names(calm.root)),
    )
