"""Locks on run folders: one process writes a run at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import RunError
from .files import not_written, process_lives

OWNER = ".lock-owner"  # in a run folder, the process that holds it


ORPHANS = 15.0  # seconds in which the workers of a killed process notice it, and let go of its lock


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process. The lock of a process that died is no obstacle.

    Raises RunError, naming the other process, if one works there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    owner = folder / OWNER
    try:
        try:
            lock.acquire(timeout=0.5)  # not 0: is_locked() holds it for a moment
        except Timeout:
            if process_lives(_content(owner)):
                raise
            lock.acquire(timeout=ORPHANS)
        owner.unlink(missing_ok=True)  # not written into: it may be a pipe, or a link to a file outside
        with owner.open("x") as file:
            file.write(f"process {os.getpid()}\n")
    except Timeout:
        raise RunError(
            f"{folder} is in use by another process ({_content(owner) or 'unknown'})",
            "two processes that write one run folder would spoil each other's work",
            "wait for it, stop it, or give this run another folder",
        ) from None
    except OSError as error:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()
        raise RunError(
            f"nothing can be written into {folder}",
            str(not_written(error, owner, 64).strerror),
            "make room, or check its permissions",
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def remove_dead_owner(folder: Path) -> None:
    """Removes the name of the process that held `folder`, if it was killed before it could."""
    owner = folder / OWNER
    if not process_lives(_content(owner)):
        with suppress(OSError):
            owner.unlink(missing_ok=True)


def _content(path: Path) -> str:
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for ever
            return ""
        with path.open(errors="replace") as file:
            return file.read(80).strip()
    except OSError:
        return ""


def is_locked(folder: Path) -> bool:
    """Whether a living process holds `folder`."""
    from filelock import FileLock, Timeout

    if not (folder / ".lock").is_file() or (folder / ".lock").is_symlink():  # none that reslab made
        return False
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
