"""What strangers wrote or serve: text and JSON read with care, silence ended, what is wrong in our words."""

from __future__ import annotations

import json
import os
import reprlib
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

LARGEST_TEXT = 2**20  # bytes of a file of settings
PATIENCE = 60.0  # seconds of silence after which a server is given up


def read_text(path: Path) -> str:
    """The text of a small file. Raises OSError, or ValueError for one too large, no text or no file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise ValueError("it is no ordinary file")
    if status.st_size > LARGEST_TEXT:
        raise ValueError(f"it has {status.st_size:,} bytes, and {LARGEST_TEXT:,} are read at most")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is no UTF-8 text") from error


def read_json(text: bytes | str) -> Any:
    """JSON, in which no object says a name twice. Raises ValueError in words for people, whatever it is."""
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_each_once)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is no UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON, from line {error.lineno}, column {error.colno} on") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = sorted(name for name, _ in pairs)
        twice = next(name for name, after in zip(names, names[1:], strict=False) if name == after)
        raise ValueError(f"it says {reprlib.repr(twice)} twice")
    return content


@contextmanager
def patient() -> Iterator[None]:
    """A server that falls silent is an error after a while; torch's downloader would wait for ever.

    Raises ConnectionError, in words, for whatever a server or the way to it does wrong. What else is an
    OSError is one of the disk.
    """
    import http.client  # all four only here: most who read text fetch nothing
    import socket
    import ssl
    import urllib.error

    failures = urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    except failures as error:
        reason = str(error).strip("<>").removeprefix("urlopen error ")
        raise ConnectionError(reason or type(error).__name__) from error
    finally:
        socket.setdefaulttimeout(before)


def faults(error: ValidationError) -> list[str]:
    """pydantic's complaints, each as "epochs: 'x' is no whole number"."""
    return [_fault(said) for said in error.errors(include_url=False)]


def shown(faults: list[str], most: int = 5) -> str:
    """The first of them as one text: a file may hold a million."""
    more = f"; and {len(faults) - most:,} more" if len(faults) > most else ""
    return "; ".join(faults[:most]) + more


def _fault(said: ErrorDetails) -> str:
    kind, context = said["type"], said.get("ctx", {})
    name = ".".join(str(part) for part in said["loc"])
    if kind == "value_error":  # our own words already
        return f"{name}: {context['error']}" if name else str(context["error"])
    if kind == "missing":
        return f"{name} is missing"
    return f"{name}: {reprlib.repr(said['input'])} {_wrong(kind, context)}"


def _wrong(kind: str, context: dict[str, Any]) -> str:
    limits = {
        "greater_than_equal": ("is less than", "ge"),
        "greater_than": ("is not more than", "gt"),
        "less_than_equal": ("is more than", "le"),
        "less_than": ("is not less than", "lt"),
    }
    if kind in limits:
        words, limit = limits[kind]
        return f"{words} {context[limit]:g}"
    if kind == "literal_error":
        return f"is not {context['expected']}"
    starts = {
        "int": "is no whole number",
        "finite": "is no finite number",
        "float": "is no number",
        "bool": "is neither true nor false",
        "string_too_long": "is too long",
        "string": "is no text",
        "is_instance": "is no text",
        "tuple": "is no list",
        "list": "is no list",
        "dict": "is no table of names and values",
        "model": "is no table of names and values",
        "dataclass": "is no table of names and values",
        "too_short": "has too few entries",
        "too_long": "has too many entries",
        "extra": "is not known",
        "unexpected": "is not known",
    }
    return next((words for start, words in starts.items() if kind.startswith(start)), "is not what it can be")
