"""Whole-file, durable writes and locks: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import RunError


def write(path: Path, content: bytes) -> None:
    """Replaces `path` by `content`, atomically and durably: temporary name, fsync, rename, fsync the folder.

    Raises OSError if the disk is full or the folder cannot be written; the old file is then untouched and
    no temporary file stays behind.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, ASCII only, so that any file name survives the way there and back."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write(path, "".join(json.dumps(row) + "\n" for row in rows).encode())


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files that a killed process left in `folder`. Only call it under a lock."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            path.unlink()


def _umask() -> int:
    """This process's file mode mask. There is no way to read it without setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


@contextmanager
def only_process(folder: Path) -> Iterator[None]:
    """Holds a run folder for this process. The lock of a process that died is no obstacle.

    Raises RunError, naming the other process, if one works there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    owner = folder / ".lock-owner"
    try:
        lock.acquire(timeout=0.5)  # not 0: is_locked() holds it for a moment
    except Timeout:
        try:
            who = owner.read_text().strip()
        except OSError:
            who = "unknown"
        raise RunError(
            f"{folder} is in use by another process ({who})",
            "two processes that write one run folder would spoil each other's work",
            "wait for it, stop it, or give this run another folder",
        ) from None
    try:
        owner.write_text(f"process {os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a living process holds `folder`."""
    from filelock import FileLock, Timeout

    if not (folder / ".lock").exists():
        return False
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
