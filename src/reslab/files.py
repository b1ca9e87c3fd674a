"""Atomic, durable file writes, checksums in JSON, and the paths of users and caches."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import secrets
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

UNFINISHED = ".reslab-tmp"  # suffix of hidden files and folders that are still being written
BLOCK_BYTES = 4096  # of a file system, usually
MIN_FREE_DISK_BYTES = 2**30  # left free in the user's cache folder
UNFINISHED_MAX_AGE_S = 86_400.0  # older ones belong to a process that was killed


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` with ~ and ~user expanded. An unknown user's ~name stays as it is."""
    return Path(os.path.expanduser(path))


def cache_path(name: str) -> Path:
    """Return the path of `name` in reslab's cache folder, such as ~/.cache/reslab/pixels. Create nothing."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("reslab")) / name


def write(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Create or replace the file `path`, atomically and durably. Its folder must exist.

    A reader sees the old file or the new one. After an error the old file is unchanged, unless only the last
    step failed: syncing the folder.

    Args:
        path: file to write; a link is replaced, not followed.
        content: the whole content, or chunks of it, which are written one by one.

    Raises:
        OSError: names `path` and, on a full disk, the number of missing bytes.
    """
    chunks = iter([content] if isinstance(content, bytes) else content)
    size, unfinished = 0, _unfinished(path)
    try:
        with open(unfinished, "xb") as file:
            for chunk in chunks:
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(unfinished)
        if isinstance(error, OSError):
            raise write_error(error, path, size + sum(map(len, chunks))) from error
        raise


def write_error(error: OSError, path: Path, needed: int) -> OSError:
    """Return a new OSError with the number of `error`, `path`, and a reason.

    On a full disk or a full quota, the reason has the needed, free and missing bytes.

    Args:
        error: failure to write `path`.
        path: file that could not be written.
        needed: size of the whole file in bytes.
    """
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            missing = -(-needed // BLOCK_BYTES) * BLOCK_BYTES - free  # a file occupies whole blocks
            why += f": {needed:,} bytes are needed and {free:,} are free, "
            why += (
                f"{missing:,} are missing" if missing > 0 else "so a quota or the limit of files is reached"
            )
    return OSError(error.errno, why, str(path))


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented ASCII JSON, which keeps any file name intact. See `write`."""
    write(path, (json.dumps(value, indent=2) + "\n").encode())


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Replace `path` by one JSON object per line, without holding all rows in memory. See `write`."""
    write(path, ((json.dumps(row) + "\n").encode() for row in rows))


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Replace `path` by rows as CSV. Texts are in quotes, and file names that are not UTF-8 keep their bytes.

    Numbers are written with all their digits. See `write`.
    """
    buffer = io.StringIO(newline="")
    # a line break in a file name needs the quotes that this style sets around every text
    csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    write(path, buffer.getvalue().encode("utf-8", "surrogateescape"))


def add_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `value` with the entry "checksum" at its end: a CRC-32 in hexadecimal digits.

    `value` itself must not have this entry.
    """
    return value | {"checksum": _checksum(value)}


def verify_checksum(value: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of `value` without its entry "checksum". A value that has none is accepted.

    Raises:
        ValueError: the checksum does not match.
    """
    content = {name: item for name, item in value.items() if name != "checksum"}
    if value.get("checksum", _checksum(content)) != _checksum(content):
        raise ValueError("it was changed after it was written: its checksum differs")
    return content


def _checksum(value: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Create `folder` completely or not at all.

    Yield a new hidden folder next to it, which the block fills. On exit it is renamed to `folder`. If the
    block or the rename fails, it is removed. Missing parent folders are created, and unfinished folders and
    files in the parent that are older than a day are removed.

    Raises:
        OSError: `folder` exists and is not an empty folder, or cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder.parent, UNFINISHED_MAX_AGE_S)
    unfinished = _unfinished(folder)
    unfinished.mkdir()
    try:
        yield unfinished
        os.rename(unfinished, folder)
        try:
            sync_folder(folder.parent)
        except OSError:
            os.rename(folder, unfinished)
            raise
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def remove_leftovers(folder: Path, min_age_s: float = 0.0) -> None:
    """Remove unfinished files and folders that killed processes left in `folder`, not below it.

    Those that cannot be removed are left, without an error.

    Args:
        folder: other processes must not write into it (hold its lock), unless `min_age_s` spares their files.
        min_age_s: keep what changed within the last `min_age_s` seconds; 0 keeps nothing.
    """
    for path in folder.glob(f".*{UNFINISHED}"):
        with suppress(OSError):
            if min_age_s and time.time() - path.lstat().st_mtime < min_age_s:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _unfinished(path: Path) -> Path:
    """Return a random hidden path next to `path`, within the 255 bytes of a file name. Create nothing."""
    name = os.fsdecode(os.fsencode(path.name)[:200])
    return path.parent / f".{name}.{secrets.token_hex(8)}{UNFINISHED}"


def check_free_disk(folder: Path, needed: int) -> None:
    """Raise OSError if `needed` more bytes in `folder` would leave less than MIN_FREE_DISK_BYTES free."""
    free = shutil.disk_usage(folder).free
    if needed > free - MIN_FREE_DISK_BYTES:
        raise OSError(
            f"it needs {needed / 1e6:,.0f} MB more in {folder}, but {free / 1e6:,.0f} MB are free "
            f"and {MIN_FREE_DISK_BYTES / 1e6:,.0f} MB must stay free"
        )


def is_writable_folder(folder: Path) -> bool:
    """Return True if `folder` exists and files can be created in it, by its permissions."""
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def sync_folder(folder: Path) -> None:
    """Flush the entries of `folder` to disk, so that a rename in it survives a power cut. Raise OSError.

    Windows opens no folder, and NTFS keeps a journal of renames.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
