"""Ctrl-C and SIGTERM stop a run after the current step."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType


@dataclass
class StopRequest:
    """Request to stop the run: `received` is set to True by the first Ctrl-C or SIGTERM."""

    received: bool = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn the first Ctrl-C or SIGTERM inside the block into a request to stop, which is yielded.

    A line on standard error reports it. The second signal has its usual effect. Signals that are ignored, or
    that arrive while another thread than the main one is in the block, have their usual effect, too.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield request
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    unchanged = (None, signal.SIG_IGN)  # None: not set by Python. A shell ignores signals for background jobs
    before = {number: handler for number, handler in handlers.items() if handler not in unchanged}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        request.received = True
        restore()
        with suppress(RuntimeError, OSError):  # raised inside another print, or if the terminal is closed
            print("\nstopping after this step; repeat to stop at once", file=sys.stderr)

    for number in before:
        signal.signal(number, on_signal)
    try:
        yield request
    finally:
        restore()
