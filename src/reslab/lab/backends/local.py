"""Local backend: worker processes on this machine, one cell at a time in each."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from reslab.hardware import choose_device, cores
from reslab.lab.cells import Cell, write_failure

from .tasks import describer
from .worker import error_of

MAX_LOST_WORKERS = 2  # for one cell, before the comparison stops
PAUSE_S = 0.2  # between two calls of `tick`
STOPPING_S = 60.0  # for a worker to finish its step and write a checkpoint


def default_jobs(device: str) -> int:
    """Return the number of cells to train at a time: as many as cores on a CPU, else 1."""
    return cores() if choose_device(device).type == "cpu" else 1


def run_tasks(
    kind: str,
    cells: Sequence[Cell],
    jobs: int,
    log: Path,
    tick: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
) -> Generator[tuple[Cell, Any], None, None]:
    """Perform a task on every cell in worker processes, and yield each cell with its result when it is done.

    A worker that dies is replaced and its cell continued. When the iterator is closed, or Ctrl-C is pressed,
    the workers finish their step, write a checkpoint and end.

    Args:
        kind: "train" or "measure".
        cells: the cells, in the order in which they start.
        jobs: number of worker processes.
        log: file that gets what the workers print.
        tick: called several times a second.
        stopping: called once before the workers finish their steps, unless all cells are done.

    Raises:
        ReslabError: of a worker; or RunError if workers keep dying.
    """
    waiting: queue.SimpleQueue[tuple[Cell, dict[str, Any]]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Cell, Any]] = queue.SimpleQueue()
    describe, workers, left = describer(kind), list[_Worker](), len(cells)
    for cell in cells:
        waiting.put((cell, describe(cell)))
    try:
        workers += (_Worker(waiting, done, log) for _ in range(min(jobs, len(cells))))
        while left:
            try:
                cell, result = done.get(timeout=PAUSE_S)
            except queue.Empty:
                tick()
                continue
            if isinstance(result, Exception):
                raise result
            left -= 1
            yield cell, result
    finally:
        for worker in workers:
            worker.stop()
        if left:
            stopping()
        for worker in workers:
            worker.join(STOPPING_S)
            worker.kill()


class _Worker(threading.Thread):
    """Thread with a worker process, which gets one cell after another and returns their results."""

    def __init__(
        self,
        waiting: queue.SimpleQueue[tuple[Cell, dict[str, Any]]],
        done: queue.SimpleQueue[tuple[Cell, Any]],
        log: Path,
    ) -> None:
        super().__init__(daemon=True)
        self.waiting, self.done, self.log = waiting, done, log
        self.stopped, self.lost = False, 0
        self.process = self._start_process()
        self.start()

    def run(self) -> None:
        with suppress(queue.Empty):
            while not self.stopped:
                cell, task = self.waiting.get_nowait()
                try:
                    self._perform_to_end(cell, task)
                except Exception as error:  # noqa: BLE001  # the main thread raises it
                    self.done.put((cell, error))
        with suppress(OSError):
            self.process.stdin.close()  # type: ignore[union-attr]

    def _perform_to_end(self, cell: Cell, task: dict[str, Any]) -> None:
        self.lost = 0
        while not self.stopped:
            if (reply := self._perform(cell, task)) is not None:
                self.done.put((cell, error_of(reply) if "error" in reply else reply["result"]))
                return

    def _perform(self, cell: Cell, task: dict[str, Any]) -> dict[str, Any] | None:
        """Return the reply of the process to a cell; None if the process died and was replaced."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        with suppress(OSError):
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline().decode()
        if line.endswith("\n"):
            reply: dict[str, Any] = json.loads(line)
            return reply
        code = self.process.wait()
        if self.stopped:
            return None
        self.process, self.lost = self._start_process(), self.lost + 1
        if self.lost <= MAX_LOST_WORKERS:
            return None
        how = f"ended with signal {-code}" if code < 0 else f"ended with code {code}"
        if task["kind"] == "train" and code in (-signal.SIGSEGV, -signal.SIGABRT):
            write_failure(cell, f"its process {how}, {self.lost} times")
            return {"result": None}
        what = f"the process that trains {cell.variant} with seed {cell.seed} {how}, {self.lost} times"
        why = "the usual reason is a lack of memory"
        return {"error": ["RunError", what, why, "run fewer cells at a time: --jobs 1"]}

    def _start_process(self) -> subprocess.Popen[bytes]:
        """Start a process in a group of its own, so that Ctrl-C in the terminal reaches only its parent."""
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "reslab.lab.backends.worker", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Ask the process to end after its step."""
        self.stopped = True
        with suppress(OSError):
            self.process.terminate()

    def kill(self) -> None:
        """End the process at once, if it still runs."""
        with suppress(OSError):
            self.process.kill()
        self.process.wait()
