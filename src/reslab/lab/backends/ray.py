"""Ray backend: a task for each cell, on the nodes of a cluster or on this machine."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from reslab.errors import RunError
from reslab.lab.cells import Cell
from reslab.photos.folder.digests import digest

from . import tasks
from .ray_cluster import check_demand, connect, count_jobs, demand_of
from .ray_node import perform_on_node, versions
from .worker import error_of

MAX_LOST_WORKERS = 2  # for one cell, before the comparison stops
PAUSE_S = 0.2  # between two calls of `tick`
STOPPING_S = 60.0  # for a worker to finish its step and write a checkpoint


def default_jobs(device: str) -> int:
    """Return the number of cells to train at a time: one for each core of the nodes, or for each GPU."""
    return count_jobs(demand_of(device))


def run_tasks(
    kind: str,
    cells: Sequence[Cell],
    jobs: int,
    log: Path,
    tick: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
) -> Generator[tuple[Cell, Any], None, None]:
    """Perform a task on every cell as a Ray task, and yield each cell with its result when it is done.

    The cell of a worker that dies is continued by another. When the iterator is closed, or Ctrl-C is pressed,
    the workers finish their step, write a checkpoint and end.

    Args:
        kind: "train" or "measure".
        cells: the cells, in the order in which they start.
        jobs: number of tasks at a time.
        log: file that gets what the workers print, on nodes that have its folder.
        tick: called several times a second.
        stopping: called once before the workers finish their steps, unless all cells are done.

    Raises:
        UsageError: no node has what a cell needs.
        ReslabError: of a worker; or RunError if workers keep dying, or the cluster cannot be reached.
    """
    demand = demand_of(cells[0].recipe["device"])
    check_demand(demand)
    ray = connect()
    options = ray.remote(num_cpus=demand["CPU"], num_gpus=demand.get("GPU", 0), max_retries=MAX_LOST_WORKERS)
    remote, describe = options(perform_on_node), describer(kind, log)
    waiting, running = deque(cells), dict[Any, Cell]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                cell = waiting.popleft()
                running[remote.remote(describe(cell))] = cell
            for ref in ray.wait(list(running), timeout=PAUSE_S)[0]:
                cell = running.pop(ref)
                yield cell, _result(ray, ref, cell)
            tick()
    finally:
        if running:
            stopping()
        _cancel(ray, list(running))


def describer(kind: str, log: Path) -> Callable[[Cell], str]:
    """Return a function that describes the task on a cell as JSON, with all that a node needs or checks."""
    digest_of, described = cache(digest), tasks.describer(kind)

    def describe(cell: Cell) -> str:
        lists = {path: digest_of(path) for path in (cell.photos, cell.test)}
        added = {"lists": lists, "versions": versions(), "log": os.path.abspath(log)}
        return json.dumps(described(cell) | added)

    return describe


def _result(ray: Any, ref: Any, cell: Cell) -> Any:
    """Return the result of a finished task, or raise its error."""
    try:
        reply = json.loads(ray.get(ref))
    except ray.exceptions.RayTaskError as error:  # Ray could not call the function on the node
        why = str(error).strip().rpartition("\n")[2]
        do = "install the same reslab on every node"
        raise RunError("a node cannot perform the task of a cell", why, do) from error
    except ray.exceptions.RayError as error:
        raise RunError(
            f"the process of {cell.variant} with seed {cell.seed} ended {MAX_LOST_WORKERS + 1} times",
            f"{str(error).partition('. ')[0]}; the usual reason is a lack of memory",
            "run fewer cells at a time: --jobs 1",
        ) from error
    if "error" in reply:
        raise error_of(reply)
    return reply["result"]


def _cancel(ray: Any, running: list[Any]) -> None:
    """Let the running tasks finish their step and write a checkpoint; end those that do not."""
    if not running:
        return
    for ref in running:
        ray.cancel(ref)
    try:
        _, running = ray.wait(running, num_returns=len(running), timeout=STOPPING_S)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)
