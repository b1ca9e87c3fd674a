"""Ctrl-C and SIGTERM stop a run after the present step."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any


@dataclass
class Stop:
    """Whether somebody asked the run to stop."""

    asked: bool = field(default=False)


@contextmanager
def stopping(say: Callable[[str], Any]) -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM asks to stop after the present step, the second stops at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    deaf = (None, signal.SIG_IGN)  # None: not Python's own; ignored: as a shell starts what is to go on alone
    before = {number: handler for number, handler in handlers.items() if handler not in deaf}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.asked = True
        for each, handler in before.items():
            signal.signal(each, handler)
        with suppress(RuntimeError, OSError):  # in the middle of another print; the terminal has gone
            print("\nstopping after this step; once more to stop at once", file=sys.stderr)

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
