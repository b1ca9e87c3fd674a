"""Untrusted input: text and JSON files, slow servers, and pydantic's errors as plain messages."""

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

MAX_TEXT_BYTES = 2**20  # of a settings file
SERVER_TIMEOUT_S = 60.0  # without a byte from the server


def read_text(path: Path) -> str:
    """Return the text of a small UTF-8 file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is larger than MAX_TEXT_BYTES, not UTF-8, or not a regular file.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait forever
        raise ValueError("it is not a regular file")
    if status.st_size > MAX_TEXT_BYTES:
        raise ValueError(f"it has {status.st_size:,} bytes, more than the limit of {MAX_TEXT_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is not UTF-8 text") from error


def read_json(text: bytes | str) -> Any:
    """Parse JSON, as UTF-8 if it is bytes. NaN and Infinity are accepted.

    Raises:
        ValueError: the text is invalid, nested too deeply, or an object has the same name twice. The message
            continues a sentence: "it is not valid JSON: line 1, column 2".
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique_names)
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start:,} is not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: line {error.lineno}, column {error.colno}") from error


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"it has {reprlib.repr(name)} twice")
        content[name] = value
    return content


@contextmanager
def server_timeout() -> Iterator[None]:
    """Limit the wait for a silent server to SERVER_TIMEOUT_S in downloads inside the block.

    torch's downloader has no limit of its own. The limit holds for all new sockets of the process until exit.

    Raises:
        ConnectionError: the server or the network failed in the block. Other exceptions pass through: an
            OSError then comes from the disk.
    """
    import http.client  # imported here since most readers of text download nothing
    import socket
    import ssl
    import urllib.error

    failures = urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SERVER_TIMEOUT_S)
    try:
        yield
    except failures as error:
        reason = str(error).strip("<>").removeprefix("urlopen error ")
        raise ConnectionError(reason or type(error).__name__) from error
    finally:
        socket.setdefaulttimeout(before)


def validation_messages(error: ValidationError) -> list[str]:
    """Return one message for each of pydantic's errors, such as "epochs: 'x' is not a whole number"."""
    return [_message(details) for details in error.errors(include_url=False)]


def first_messages(messages: list[str], count: int = 5) -> str:
    """Join the first `count` messages with "; ". If there are more, add "; and 7 more". "" for none."""
    more = f"; and {len(messages) - count:,} more" if len(messages) > count else ""
    return "; ".join(messages[:count]) + more


def _message(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    name = ".".join(str(part) for part in details["loc"])
    if kind == "value_error":  # raised by a validator of reslab, so it is a message already
        return f"{name}: {context['error']}" if name else str(context["error"])
    if kind == "missing":
        return f"{name} is missing"
    return f"{name}: {reprlib.repr(details['input'])} {_problem(kind, context)}"


def _problem(kind: str, context: dict[str, Any]) -> str:
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
    starts: dict[str | tuple[str, ...], str] = {
        "int": "is not a whole number",
        "finite": "is not a finite number",
        "float": "is not a number",
        "bool": "is not true or false",
        "string_too_long": "is too long",
        ("string", "is_instance"): "is not text",
        ("tuple", "list"): "is not a list",
        ("dict", "model", "dataclass"): "is not a table of names and values",
        "too_short": "has too few entries",
        "too_long": "has too many entries",
        ("extra", "unexpected"): "is not known",
    }
    return next((words for start, words in starts.items() if kind.startswith(start)), "is invalid")
