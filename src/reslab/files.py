"""Whole-file, durable writes and locks: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import RunError

ORPHANS = 15.0  # seconds in which the workers of a killed process notice it, and let go of its lock


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


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder that appears whole or not at all: the block fills another one, which is then renamed.

    Raises OSError if `folder` is there already and not empty, or cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.parent / f".{folder.name}.{os.getpid()}.tmp"
    shutil.rmtree(making, ignore_errors=True)  # of a killed process that had our number
    making.mkdir()
    try:
        yield making
        os.rename(making, folder)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    sync_folder(folder.parent)


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
        try:
            lock.acquire(timeout=0.5)  # not 0: is_locked() holds it for a moment
        except Timeout:
            if _lives(owner):
                raise
            lock.acquire(timeout=ORPHANS)
        owner.write_text(f"process {os.getpid()}\n")
    except Timeout:
        raise RunError(
            f"{folder} is in use by another process ({_content(owner) or 'unknown'})",
            "two processes that write one run folder would spoil each other's work",
            "wait for it, stop it, or give this run another folder",
        ) from None
    except OSError as error:
        lock.release()
        raise RunError(
            f"nothing can be written into {folder}",
            error.strerror or str(error),
            "make room, or check its permissions",
        ) from error
    try:
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _lives(owner: Path) -> bool:
    """Whether the process that the file names is there; True if it names none."""
    number = re.search(r"\d+", _content(owner))
    try:
        if number:
            os.kill(int(number[0]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is there, and another user's
        return True
    return True


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


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
