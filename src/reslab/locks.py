"""Locks on run folders: one process at a time writes a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RunError
from .files import write_error
from .untrusted import read_text

OWNER = ".lock-owner"  # in a run folder: the name of the process that holds the lock
ORPHANED_WORKERS_S = 15.0  # workers of a killed process hold its lock until they notice


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Hold the lock of the run folder `folder` inside the block.

    Wait half a second for a process that holds it, or 15 s for the workers of one that has ended. This writes
    .lock and .lock-owner, which names this process. On exit .lock-owner is removed.

    Raises:
        RunError: another process holds the lock (the error names it), or `folder` cannot be written.
    """
    from filelock import FileLock, Timeout

    lock, owner = FileLock(folder / ".lock"), folder / OWNER
    try:
        try:
            lock.acquire(timeout=0.5)  # not 0: is_locked() holds it for a moment
        except Timeout:
            if process_exists(_read_owner(folder)):
                raise
            lock.acquire(timeout=ORPHANED_WORKERS_S)
        owner.unlink(missing_ok=True)  # a new file, since the old one may be a link to a file elsewhere
        with owner.open("x") as file:
            file.write(f"process {os.getpid()}\n")
    except Timeout:
        raise RunError(
            f"{folder} is in use by another process ({_read_owner(folder) or 'unknown'})",
            "two processes that write the same run would damage it",
            "wait for it, stop it, or give this run another folder",
        ) from None
    except OSError as error:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()
        raise RunError(
            f"nothing can be written into {folder}",
            str(write_error(error, owner, 64).strerror),
            "make room, or check its permissions",
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return True if a process holds the lock of `folder`, or if that cannot be found out. Create no file."""
    from filelock import FileLock, Timeout

    path = folder / ".lock"
    if not path.is_file() or path.is_symlink():  # reslab creates a regular file
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False


def process_exists(owner: str) -> bool:
    """Return True if the process in a text such as "process 123" exists, or if the text has no number.

    Always True on Windows, where os.kill(number, 0) ends the process instead of asking for it.
    """
    number = re.search(r"\d+", owner) if os.name != "nt" else None
    try:
        if number:
            os.kill(int(number[0]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # the process exists and belongs to another user
        return True
    return True


def _read_owner(folder: Path) -> str:
    with suppress(OSError, ValueError):
        return read_text(folder / OWNER)[:80].strip()
    return ""
