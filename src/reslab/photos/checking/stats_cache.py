"""Statistics of photos on disk, by file content: a second check decodes only new photos."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from reslab.files import cache_path
from reslab.photos.decoding.decode import Truncated
from reslab.photos.decoding.levels import ValueRange

from .photo_stats import PhotoStats

log = logging.getLogger("reslab")
VERSION = 8  # of the fields of PhotoStats and of how they are measured
MAX_AGE_S = 60 * 24 * 3600  # after which the file of another version is removed
PHOTOS_PER_WRITE = 500
LOCK_TIMEOUT_S = 30.0  # while another process writes


def cache_key(digest: str, truncated: Truncated, value_range: ValueRange | None = None) -> str:
    """Return the key of a photo in StatsCache: its digest, and what else its statistics depend on.

    Args:
        digest: of the file, in hexadecimal.
        truncated: "keep" is part of the key.
        value_range: range of the folder's photos of more than 8 bits, which is part of the key.
    """
    key = digest if truncated == "refuse" else f"{digest} {truncated}"
    return key if value_range is None else f"{key} {value_range[0]!r} to {value_range[1]!r}"


class StatsCache:
    """{cache_key: PhotoStats} in SQLite, safe for threads and for several processes.

    It never raises for a bad file or disk, but logs a warning. A damaged file is removed and started again.
    If the disk cannot be used, the cache stays in memory.

    Args:
        folder: folder of the file; reslab's cache folder by default.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.lock, self.waiting = threading.Lock(), dict[str, PhotoStats]()
        self.path = _path(folder)
        self.connection = _open(self.path)
        self.closed = False

    @staticmethod
    def exists() -> bool:
        """Return whether reslab's cache folder has a cache of this version, from an earlier check."""
        return _path(None).is_file()

    def get(self, key: str) -> PhotoStats | None:
        """Return the statistics that were written for a key; None if they are missing or damaged."""
        with self.lock:
            if self.closed:
                return None
            try:
                query = "SELECT stats, thumbnail, pixels FROM photos WHERE key = ?"
                row = self.connection.execute(query, (key,)).fetchone()
                if row is None:
                    return None
                return PhotoStats(**json.loads(row[0]), thumbnail=row[1], pixels=row[2])
            except (sqlite3.Error, ValueError, TypeError) as error:
                self._recover(error)
                return None

    def put(self, key: str, stats: PhotoStats) -> None:
        """Store statistics; PHOTOS_PER_WRITE at a time are written, and `close` writes the rest."""
        with self.lock:
            self.waiting[key] = stats
            if not self.closed and len(self.waiting) >= PHOTOS_PER_WRITE:
                self._write()

    def close(self) -> None:
        """Write what waits and close the file. A thread that Ctrl-C left running may still get and put."""
        with self.lock:
            self._write()
            self.connection.close()
            self.closed = True

    def _write(self) -> None:
        """Write the waiting statistics and forget them, even if the write fails."""
        rows = []
        for key, stats in self.waiting.items():
            values = asdict(stats)
            thumbnail, pixels = values.pop("thumbnail"), values.pop("pixels")
            rows.append((key, json.dumps(values), thumbnail, pixels))
        self.waiting.clear()
        try:
            with self.connection:
                self.connection.executemany("INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._recover(error)

    def _recover(self, error: Exception) -> None:
        """Warn, and open a new connection.

        A damaged file is removed and started again. If the disk fails or is locked, the cache stays in
        memory from then on.
        """
        log.warning("the statistics cache failed: %s; the next check may decode all photos again", error)
        self.connection.close()
        if isinstance(error, sqlite3.OperationalError):
            self.connection = _connect(":memory:")
        else:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            self.connection = _open(self.path)


def _path(folder: Path | None) -> Path:
    import PIL

    return (folder or cache_path("stats")) / f"{VERSION}-pillow-{PIL.__version__}.sqlite"


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the cache file, and remove files of other versions that are older than MAX_AGE_S.

    A damaged file is replaced by a new one. If the disk cannot be used, the cache is in memory, with a
    warning.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in path.parent.iterdir():
            with suppress(OSError):  # another process removed its journal
                if other != path and other.stat().st_mtime < time.time() - MAX_AGE_S:
                    other.unlink()
        try:
            return _connect(str(path))
        except sqlite3.OperationalError:
            raise
        except (sqlite3.Error, ValueError):  # damaged; ValueError: SQLite quotes it, and it is not UTF-8
            path.unlink(missing_ok=True)
            return _connect(str(path))
    except (OSError, sqlite3.Error) as error:
        log.warning("no statistics cache: %s; the next check decodes all photos again", error)
        return _connect(":memory:")


def _connect(name: str) -> sqlite3.Connection:
    """Open a file, or ":memory:", and create its table. Raises sqlite3.Error or, if damaged, ValueError."""
    connection = sqlite3.connect(name, timeout=LOCK_TIMEOUT_S, check_same_thread=False)
    try:
        columns = "key TEXT PRIMARY KEY, stats TEXT, thumbnail BLOB, pixels BLOB"
        connection.execute(f"CREATE TABLE IF NOT EXISTS photos ({columns}) WITHOUT ROWID")
    except BaseException:
        connection.close()
        raise
    return connection
