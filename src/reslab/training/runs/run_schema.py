"""Pydantic models of the JSON files in a run folder, and reading them: they may be damaged or untrusted."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    InstanceOf,
    ValidationError,
    model_validator,
)

from reslab.errors import RunError
from reslab.files import verify_checksum
from reslab.networks.user_code import UserCode
from reslab.training.timing.precision_cache import MAX_THREADS
from reslab.untrusted import first_messages, read_json, read_text, validation_messages

MAX_LINE_LENGTH = 2**16  # characters
MAX_IMAGE_SIZE = 2048  # pixels, as in a recipe
MAX_WIDTH_MULT = 16


def _without_null(text: str) -> str:
    if "\0" in text:
        raise ValueError("it contains a null character")
    return text


def _unique(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name appears twice")
    return names


# InstanceOf: pydantic's own str refuses the name of a file that is not UTF-8
Text = Annotated[InstanceOf[str], AfterValidator(_without_null)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
Fraction = Annotated[float, Field(ge=0, le=1)]
ImageSize = Annotated[int, Field(ge=1, le=MAX_IMAGE_SIZE)]


class Checked(BaseModel):
    """Base of the models: no conversions, no infinite numbers; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class CodeFields(Checked):
    """Fields of UserCode."""

    model_config = ConfigDict(extra="forbid")

    file: Text
    name: Text
    digest: Text
    sources: dict[Text, Text]

    @model_validator(mode="after")
    def _is_code(self) -> CodeFields:
        UserCode(self.file, self.name, self.digest, self.sources)
        return self


class SpecFields(Checked):
    """Fields of NetworkSpec."""

    model_config = ConfigDict(extra="forbid")

    name: Text
    num_classes: Count
    in_channels: Literal[1, 3]
    stem: Text | None = None
    width_mult: Annotated[float, Field(gt=0, le=MAX_WIDTH_MULT)] = 1.0
    code: CodeFields | None = None


class PrecisionFields(Checked):
    """Fields of MeasuredPrecision."""

    model_config = ConfigDict(extra="forbid")

    precision: Text
    seconds_per_step: Annotated[float, Field(ge=0)]
    images_per_second: dict[InstanceOf[str], float] = {}
    threads: Annotated[int, Field(ge=0, le=MAX_THREADS)] = 0


class RunInfo(Checked):
    """run.json."""

    network: Text
    spec: SpecFields | None
    classes: Annotated[list[Text], FailFast(), Field(min_length=1), AfterValidator(_unique)]
    photos: Text
    recipe: dict[InstanceOf[str], Any]
    measured: PrecisionFields
    started: Text
    source: Text | None = None
    weights: Text | None = None
    tracker: Text | None = None

    @model_validator(mode="after")
    def _spec_fits(self) -> RunInfo:
        if self.spec is not None and self.spec.num_classes != len(self.classes):
            raise ValueError(
                f"the network has {self.spec.num_classes:,} outputs for {len(self.classes):,} classes"
            )
        if self.spec is not None and self.spec.name != self.network:
            raise ValueError("network and spec have different names")
        return self


class EpochRow(Checked):
    """A line of metrics.jsonl: the fields of Epoch that Run reads."""

    epoch: Count
    epochs: Count
    size: ImageSize
    train_loss: float
    val_loss: float
    val_accuracy: Fraction
    seconds: Annotated[float, Field(ge=0)]


class ResultFields(Checked):
    """result.json: the fields that Run reads."""

    model: Text
    epochs: Count
    best_epoch: Count
    test_accuracy: Fraction | None


def read_object(path: Path, model: type[Checked]) -> dict[str, Any]:
    """Return the JSON object in a file as it is, without its checksum, after a check by `model`.

    Raises:
        RunError: the file is unreadable or its checksum is wrong, or a field is missing or invalid. The error
            names both.
    """
    try:
        return _checked(read_text(path), model)
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def read_lines(path: Path, model: type[Checked]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file with one in each line, as `read_object` returns them.

    Raises:
        RunError: the file is missing or unreadable, or a line is too long or invalid. The error names both.
    """
    number = 0
    try:
        if not os.path.isfile(path):  # opening a pipe would wait forever
            raise ValueError("it is not a regular file" if os.path.exists(path) else "it is missing")
        with path.open(encoding="utf-8", newline="\n") as file:
            while line := file.readline(MAX_LINE_LENGTH + 1):
                number += 1
                if len(line) > MAX_LINE_LENGTH:
                    raise ValueError(f"it has more than {MAX_LINE_LENGTH:,} characters")
                yield _checked(line, model)
    except UnicodeDecodeError as error:
        raise _unreadable(path, ValueError(f"after line {number:,} it is not UTF-8 text")) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        line_number = f"line {number:,}: " if number else ""
        raise _unreadable(path, ValueError(f"{line_number}{explain(error)}")) from error


def _checked(text: str, model: type[Checked]) -> dict[str, Any]:
    """Return the JSON object without its checksum. Raise ValueError if `model` or the checksum refuses it."""
    content = read_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object of names and values, got {reprlib.repr(content)}")
    model.model_validate(content)
    return verify_checksum(content)


def explain(error: Exception) -> str:
    """Return an error's message; of a pydantic error the first fields and their problems."""
    if isinstance(error, ValidationError):
        return first_messages(validation_messages(error))
    return getattr(error, "strerror", None) or str(error)


def _unreadable(path: Path, error: Exception) -> RunError:
    """Return the RunError for a file that cannot be read because of `error`."""
    do = "start a new run"
    if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
        do = "check its permissions and its disk, and try again"
    return RunError(f"{path} cannot be read", explain(error), do)
