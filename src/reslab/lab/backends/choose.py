"""Choice of the backend that performs the tasks of a comparison, by its name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from reslab.errors import UsageError, nearest
from reslab.lab.cells import Cell

from . import local

NAMES = ("local", "ray")


class Backend(Protocol):
    """Module that performs tasks: `local` or `ray`."""

    def default_jobs(self, device: str) -> int:
        """Return the number of cells to train at a time on a device of a recipe."""

    def run_tasks(
        self,
        kind: str,
        cells: Sequence[Cell],
        jobs: int,
        log: Path,
        tick: Callable[[], None] = ...,
        stopping: Callable[[], None] = ...,
    ) -> Generator[tuple[Cell, Any], None, None]:
        """Perform a task on every cell, and yield each cell with its result when it is done."""


def backend(name: str) -> Backend:
    """Return the backend of this name.

    Raises:
        UsageError: the name is unknown, or Ray is not installed.
    """
    if name == "local":
        return local
    if name != "ray":
        raise UsageError(f"a comparison cannot run on '{name}'", "", nearest(name, NAMES))
    if find_spec("ray") is None:
        raise UsageError("Ray is not installed", "--on ray needs it", 'pip install "reslab[ray]"')
    from . import ray

    return ray
