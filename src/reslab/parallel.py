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

    At most eight results per core are computed ahead, which bounds the memory. An exception of `work` is
    raised when its item's turn comes. Then, or when the generator is closed, work that has not started is
    cancelled, and running work is waited for.
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
    """Return this process's id, which multiprocessing workers see as their parent's.

    Return None if a fork server starts them: it is their parent then.
    """
    return None if multiprocessing.get_start_method() == "forkserver" else os.getpid()


def end_with_parent(parent: int | None) -> None:
    """Let Linux kill this process when its parent dies; for worker processes.

    Exit at once, with code 1, if the parent is dead already. Other systems have only this second part.

    Args:
        parent: process id of the parent from `parent_id_for_workers`; with None only the first part applies.
    """
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # from prctl.h
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
    if parent is not None and os.getppid() != parent:
        os._exit(1)
