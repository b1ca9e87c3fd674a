"""What was seen of each photo, by its content, in the user's cache folder: a second check decodes nothing."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from reslab.files import cache_path

from .photo_stats import SIDE, Look

log = logging.getLogger("reslab")
VERSION = 5  # of what a Look is made of
KEPT = 60 * 24 * 3600  # seconds after its last use that another version's file stays
BATCH = 500  # photos that are written at once
WAITS = 30.0  # seconds for another process that writes
FAULTS = (sqlite3.Error, UnicodeDecodeError)  # the latter where sqlite quotes damaged letters in its answer
# of sqlite's answers; ERROR is its word for another table
DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class LookCache:
    """{digest: Look} on disk, safe for threads and for several processes.

    A cache that is damaged is made anew, and one that cannot be written is a warning, never a failed check.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.lock, self.waiting = threading.Lock(), dict[str, Look]()
        self.folder = cache_folder() if folder is None else folder
        self.connection = _open(self.folder)

    @staticmethod
    def exists() -> bool:
        """Whether an earlier check left one."""
        return _path(cache_folder()).is_file()

    def get(self, digest: str) -> Look | None:
        with self.lock, suppress(*FAULTS):
            query = "SELECT facts, thumbnail, checksum FROM looks WHERE digest = ?"
            row = self.connection.execute(query, (digest,)).fetchone()
            if row is not None:
                return _read(digest, *row)
        return None

    def put(self, digest: str, seen: Look) -> None:
        with self.lock:
            self.waiting[digest] = seen
            if len(self.waiting) >= BATCH:
                self._write()

    def close(self) -> None:
        with self.lock:
            self._write()
            self.connection.close()

    def _write(self) -> None:
        rows = [(digest, *_pack(digest, seen)) for digest, seen in self.waiting.items()]
        self.waiting.clear()
        try:
            with self.connection:
                self.connection.executemany("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?)", rows)
        except FAULTS as error:
            log.warning("what was seen is not kept: %s; the next check looks at all photos again", error)
            self.connection.close()
            self.connection = _open(None)
            if _is_damage(error):
                with suppress(OSError):
                    _path(self.folder).unlink(missing_ok=True)


def cache_folder() -> Path:
    return cache_path("looks")


def _open(folder: Path | None) -> sqlite3.Connection:
    """The file of this version; in memory where `folder` is None or takes none."""
    if folder is None:
        return _with_table(":memory:")
    path = _path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for other in folder.iterdir():
            with suppress(OSError):  # another process's journal, which is gone by now
                if other != path and other.stat().st_mtime < time.time() - KEPT:
                    other.unlink()
        try:
            return _with_table(str(path))
        except FAULTS as error:
            if not _is_damage(error):
                raise
        path.unlink(missing_ok=True)  # it holds nothing that cannot be seen again
        return _with_table(str(path))
    except (OSError, *FAULTS) as error:
        log.warning("no cache: %s; the next check looks at all photos again", error)
        return _with_table(":memory:")


def _is_damage(error: Exception) -> bool:
    """Whether the file is at fault, and not the disk, another process or our own call."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # Python has found it, not sqlite: letters that are none, or a call of ours
        return not isinstance(error, sqlite3.ProgrammingError)
    return code & 0xFF in DAMAGED


def _path(folder: Path) -> Path:
    import PIL

    return folder / f"{VERSION}-pillow-{PIL.__version__}.sqlite"


def _with_table(name: str) -> sqlite3.Connection:
    connection = sqlite3.connect(name, timeout=WAITS, check_same_thread=False)
    try:
        columns = "digest TEXT PRIMARY KEY, facts TEXT, thumbnail BLOB, checksum BLOB"
        connection.execute(f"CREATE TABLE IF NOT EXISTS looks ({columns}) WITHOUT ROWID")
        connection.execute("SELECT digest, facts, thumbnail, checksum FROM looks LIMIT 1").fetchone()
    except FAULTS:
        connection.close()
        raise
    return connection


def _pack(digest: str, seen: Look) -> tuple[str, bytes, bytes]:
    facts = asdict(seen)
    thumbnail = facts.pop("thumbnail")
    text = json.dumps(facts)
    return text, thumbnail, _checksum(digest, text, thumbnail)


def _read(digest: str, facts: object, thumbnail: object, checksum: object) -> Look | None:
    """None for a row that is damaged, another photo's or of another make."""
    if not (isinstance(facts, str) and isinstance(thumbnail, bytes)):
        return None
    if checksum != _checksum(digest, facts, thumbnail) or len(thumbnail) not in (0, SIDE * SIDE):
        return None
    values = json.loads(facts)
    known = {field.name for field in fields(Look)} - {"thumbnail"}
    return Look(**values, thumbnail=thumbnail) if values.keys() == known else None


def _checksum(digest: str, facts: str, thumbnail: bytes) -> bytes:
    return hashlib.blake2b(digest.encode() + facts.encode() + thumbnail, digest_size=8).digest()
