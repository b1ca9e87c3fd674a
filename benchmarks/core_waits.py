"""Seconds that the threads of this process waited for a core, for benchmarks on shared machines.

Linux counts them. For a process alone on a machine they hardly grow.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def waiting() -> float:
    """Return the sum over all threads, in seconds; 0 where the system does not count."""
    total = 0
    with suppress(OSError):
        for thread in os.listdir("/proc/self/task"):
            with suppress(OSError, ValueError, IndexError):  # the thread has ended
                total += int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1])
    return total / 1e9
