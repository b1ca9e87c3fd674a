"""Stopwatch for steps and epochs that leaves out the time of the loop's caller."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Stopwatch:
    """Sum of the seconds between each start and stop; `with` starts and stops it, too.

    Attributes:
        seconds: the sum, without the time since a start that is not stopped yet.
        started: last start, on the clock of time.perf_counter().
    """

    seconds: float = 0.0
    started: float = field(default=0.0, repr=False)

    def start(self) -> None:
        self.started = time.perf_counter()

    def stop(self) -> None:
        self.seconds += time.perf_counter() - self.started

    def start_before_each(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, and start before each is fetched. The caller calls `stop` after using the item."""
        self.start()
        for item in items:
            yield item
            self.start()

    def __enter__(self) -> Stopwatch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
