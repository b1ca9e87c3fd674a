"""Work on all cores, and worker processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    pass

from .hardware import cores

T = TypeVar("T")


R = TypeVar("R")


def on_all_cores(work: Callable[[T], R], items: Iterable[T]) -> Generator[R, None, None]:
    """`work` of every item, in order, in threads: enough in work for every core, few enough for any memory.

    What `work` raises is raised at its item; what is not begun by then, or when nobody asks on, is left.
    """
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(cores())
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > 8 * cores():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def own_number() -> int | None:
    """The number of this process, by which a process that it starts knows it; None if another starts them."""
    return None if multiprocessing.get_start_method() == "forkserver" else os.getpid()


def end_with_parent(parent: int | None) -> None:
    """From now on this process is killed when the one that started it dies, on Linux; `parent`: its number.

    If that is dead already, this is the end.
    """
    if sys.platform == "linux":
        import ctypes

        set_parent_death_signal = 1  # its number in prctl.h
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(set_parent_death_signal, int(signal.SIGKILL))
    if parent is not None and os.getppid() != parent:
        os._exit(1)
