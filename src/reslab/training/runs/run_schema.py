"""The JSON of a run folder, each field checked as it is read: the folder may be damaged, or a stranger's."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from reslab.errors import RunError
from reslab.files import verify_checksum
from reslab.training.timing.precision_cache import MOST_THREADS
from reslab.untrusted import read_json, read_text

LONGEST_LINE = 2**16  # characters


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**1023 and math.isfinite(value)


def _are_names(value: Any) -> bool:
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return texts and 0 < len(value) == len(set(value))


def _is_spec(value: Any) -> bool:
    names = {"name", "num_classes", "in_channels", "stem"}
    return value is None or (
        isinstance(value, dict)
        and {"name", "num_classes", "in_channels"} <= value.keys() <= names
        and isinstance(value["name"], str)
        and _is_count(value["num_classes"])
        and _is_count(value["in_channels"])
        and value["in_channels"] in (1, 3)  # as photos have
        and isinstance(value.get("stem"), str | None)
    )


def _is_measured(value: Any) -> bool:
    names = {"precision", "seconds_per_step", "images_per_second", "threads", "busy"}
    return (
        isinstance(value, dict)
        and value.keys() <= names
        and isinstance(value.get("precision"), str)
        and _is_number(value.get("seconds_per_step"))
        and isinstance(value.get("images_per_second", {}), dict)
        and all(map(_is_number, value.get("images_per_second", {}).values()))
        and _is_count(threads := value.get("threads", 0))
        and threads <= MOST_THREADS
        and isinstance(value.get("busy", False), bool)
    )


TEXT = ("a text", lambda value: isinstance(value, str) and "\0" not in value)
COUNT = ("a whole number", _is_count)
NUMBER = ("a number", _is_number)
MAYBE_NUMBER = ("a number or null", lambda value: value is None or _is_number(value))
ANY = ("anything", lambda value: True)
Fields = Mapping[str, tuple[str, Callable[[Any], bool]]]

ABOUT: Fields = {
    "network": TEXT,
    "spec": ("the parts of a network", _is_spec),
    "classes": ("a list of names, each once", _are_names),
    "photos": TEXT,
    "recipe": ("names and values", lambda value: isinstance(value, dict)),
    "measured": ("a measurement", _is_measured),
    "started": TEXT,
}
PHOTO: Fields = dict.fromkeys(("path", "label", "split", "digest"), ANY)  # checked by Photos itself
ROW: Fields = {
    **dict.fromkeys(("epoch", "epochs", "size"), COUNT),
    **dict.fromkeys(("train_loss", "val_loss", "val_accuracy", "seconds"), NUMBER),
}
RESULT: Fields = {"model": TEXT, "epochs": COUNT, "best_epoch": COUNT, "test_accuracy": MAYBE_NUMBER}


def read_object(path: Path, fields: Fields) -> dict[str, Any]:
    """One JSON object with at least these fields. Raises RunError naming the file and the field."""
    try:
        return _checked(read_text(path), fields)
    except (OSError, ValueError) as error:
        raise _refusal(path, error) from error


def read_about(path: Path) -> dict[str, Any]:
    """run.json. Raises RunError naming the file and the field."""
    about = read_object(path, ABOUT)
    spec, classes = about["spec"], len(about["classes"])
    if spec is not None and spec["num_classes"] != classes:
        why = f"its network has {spec['num_classes']:,} logits for {classes:,} classes"
        raise _refusal(path, ValueError(why))
    if spec is not None and spec["name"] != about["network"]:
        raise _refusal(path, ValueError("it names two networks"))
    return about


def read_lines(path: Path, fields: Fields) -> Iterator[dict[str, Any]]:
    """One JSON object a line, read as they are asked for. Raises RunError naming the file and the line."""
    number = 0
    try:
        if not os.path.isfile(path):  # opening a pipe would wait for ever
            raise ValueError("it is no ordinary file" if os.path.exists(path) else "it is missing")
        with path.open(encoding="utf-8", newline="\n") as file:
            while line := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(line) > LONGEST_LINE:
                    raise ValueError(f"line {number:,} is too long")
                yield _checked(line, fields)
    except UnicodeDecodeError as error:
        raise _refusal(path, ValueError(f"after line {number:,} it is no UTF-8 text")) from error
    except OSError as error:
        raise _refusal(path, error) from error
    except ValueError as error:
        where = f"line {number:,}: " if number else ""
        raise _refusal(path, ValueError(f"{where}{error}")) from error


def _checked(text: str, fields: Fields) -> dict[str, Any]:
    content = read_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object of names and values, got {reprlib.repr(content)}")
    check_fields(content, fields)
    return verify_checksum(content)


def check_fields(content: Mapping[str, Any], fields: Fields) -> None:
    """Raises ValueError, naming the field, unless `content` has all of them and each is what it should be."""
    if missing := [name for name in fields if name not in content]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, (kind, fits) in fields.items():
        if not fits(content[name]):
            raise ValueError(f"{name} is {reprlib.repr(content[name])}, not {kind}")


def _refusal(path: Path, error: Exception) -> RunError:
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        why, do = error.strerror or str(error), "check its permissions and its disk, and try again"
        return RunError(f"{path} cannot be read", why, do)
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RunError(f"{path} cannot be read", why, "start a new run")
