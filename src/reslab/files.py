"""Whole-file, durable writes and locks: a reader sees the old file or the new one, never half of either."""

from __future__ import annotations

import errno
import itertools
import json
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

UNFINISHED = r"\..+\.([0-9a-f]{8})-(\d+)-([0-9a-f]{4})\d*(\.x\w+)?\.tmp"

DAY = 86_400.0  # seconds after which what another machine left unfinished is nobody's any more
NUMBERS = itertools.count()  # no two names are alike
THIS = secrets.token_hex(2)  # this process, by which it knows its own from those of a dead one of its number


def write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Replaces `path` by `content`, atomically and durably: temporary name, fsync, rename, fsync the folder.

    Raises OSError, which names `path` and on a full disk the bytes that are missing; no temporary file stays
    behind, and the old file is untouched, unless all that failed was the last, syncing the folder.
    """
    chunks, size, temporary = iter([content] if isinstance(content, bytes) else content), 0, None
    try:
        prefix = f"{_hidden(path.name)}.{_mark()}.x"
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
        with os.fdopen(descriptor, "wb") as file:
            for chunk in chunks:
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            raise not_written(error, path, size + sum(map(len, chunks))) from error
        raise


def not_written(error: OSError, path: Path, needed: int) -> OSError:
    """The same error with the path in it; on a full disk also how many of the `needed` bytes are missing."""
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            disk = os.statvfs(path.parent)
            free = disk.f_bavail * disk.f_frsize
            missing = -(-needed // disk.f_frsize) * disk.f_frsize - free  # a file takes whole blocks
            why += f": {needed:,} bytes are needed and {free:,} are free, "
            why += (
                f"{missing:,} are missing"
                if missing > 0
                else "so a quota or the number of files is at its end"
            )
    return OSError(error.errno, why, str(path))


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, ASCII only, so that any file name survives the way there and back."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line, written as the rows come: a million of them are never in memory together."""
    write(path, ((json.dumps(row) + "\n").encode() for row in rows))


def checked(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with a checksum of itself at its end."""
    return value | {"checksum": _checksum(value)}


def verified(value: dict[str, Any]) -> dict[str, Any]:
    """What was given to `checked`. Raises ValueError for another; what has no checksum is believed."""
    said = {name: item for name, item in value.items() if name != "checksum"}
    if value.get("checksum", _checksum(said)) != _checksum(said):
        raise ValueError("it is not as it was written: its checksum differs")
    return said


def _checksum(value: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder that appears whole or not at all: the block fills another one, which is then renamed.

    What killed processes left of the same folder is removed. Raises OSError if `folder` is there already and
    not empty, or cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = _hidden(folder.name)
    for orphan in orphans(folder.parent):
        if orphan.name.startswith(f"{hidden}.") and orphan.is_dir():
            shutil.rmtree(orphan, ignore_errors=True)
    making = folder.parent / f"{hidden}.{_mark()}.tmp"
    making.mkdir()
    try:
        yield making
        os.rename(making, folder)
        try:
            sync_folder(folder.parent)
        except OSError:
            os.rename(folder, making)  # as whole as it was made, and gone
            raise
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def may_write_into(folder: Path) -> bool:
    """Whether it is a folder in which files can be made; False as well where it may not be looked at."""
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def orphans(folder: Path) -> list[Path]:
    """What `write` and `whole_folder` left unfinished in `folder`, and whose processes are no more."""
    found = [(path, re.fullmatch(UNFINISHED, path.name)) for path in folder.glob(".*.tmp")]
    return [path for path, mark in found if mark and _is_nobodys(path, *mark.groups()[:3])]


def _is_nobodys(path: Path, place: str, process: str, token: str) -> bool:
    if place != _place():  # the numbers of processes elsewhere say nothing here
        with suppress(OSError):
            return time.time() - path.stat().st_mtime > DAY
        return False
    return token != THIS if process == str(os.getpid()) else not process_lives(process)


def _hidden(name: str) -> str:
    """How the name of what is not yet called `name` begins."""
    return "." + os.fsdecode(os.fsencode(name)[:200])  # of the 255 bytes of a name some are for its end


def _mark() -> str:
    """Whose an unfinished file or folder is: the part of its name that `orphans` reads."""
    return f"{_place()}-{os.getpid()}-{THIS}{next(NUMBERS)}"


@cache
def _place() -> str:
    """The machine or container within which a process has its number: others may write the same disk."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        numbers = ""
    return f"{zlib.crc32(f'{platform.node()} {numbers}'.encode()):08x}"


def sync_folder(folder: Path) -> None:
    """Makes a rename inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporary files in `folder`; under its lock, so that nobody writes there now."""
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            path.unlink()


def _umask() -> int:
    """This process's file mode mask. There is no way to read it without setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def process_lives(owner: str) -> bool:
    """Whether the process that the text names is there; True if it names none."""
    number = re.search(r"\d+", owner)
    try:
        if number:
            os.kill(int(number[0]), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is there, and another user's
        return True
    return True
