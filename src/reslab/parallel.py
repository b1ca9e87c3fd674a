"""Threads on all cores, and worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from .hardware import cores

T = TypeVar("T")
R = TypeVar("R")


def on_all_cores(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """Yield `work(item)` in the order of `items`, computed in one thread per core.

    At most eight items per core are in flight, which bounds the memory. An exception of `work` is raised at
    its item. Work that has not started by then, or when the generator is closed, is cancelled.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        for item in items:
            pending.append(pool.submit(work, item))
            if len(pending) > 8 * cores():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def parent_id_for_workers() -> int | None:
    """Return the process id that workers find as their parent's, or None if a fork server starts them."""
    return None if multiprocessing.get_start_method() == "forkserver" else os.getpid()


def end_with_parent(parent: int | None) -> None:
    """Let Linux kill this process when its parent dies. Exit at once if the parent is dead already.

    Args:
        parent: process id of the parent; see `parent_id_for_workers`.
    """
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # from prctl.h
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
    if parent is not None and os.getppid() != parent:
        os._exit(1)
