"""Measured precision of a training, and the cache of such measurements on this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Annotated

from pydantic import Field, FiniteFloat, TypeAdapter

from reslab import files
from reslab.untrusted import read_text

MAX_THREADS = 1024
CACHE_FILE = "precision.json"


@dataclass(frozen=True)
class MeasuredPrecision:
    """Precision that a run computes in, and its timing. `str` is a line for people.

    Attributes:
        precision: its name, such as "bf16+channels_last".
        seconds_per_step: of the fastest timed step.
        images_per_second: of each timed precision by name, the fastest first.
        threads: CPU threads of torch when it was timed; 0 leaves torch's own number.
    """

    precision: str
    seconds_per_step: Annotated[FiniteFloat, Field(ge=0)]
    images_per_second: dict[str, float] = field(default_factory=dict)
    threads: Annotated[int, Field(ge=0, le=MAX_THREADS)] = 0

    def __str__(self) -> str:
        speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in self.images_per_second.items())
        text = f"precision {self.precision}"
        return text if len(self.images_per_second) < 2 else f"{text}, fastest of {speeds} images/s"


def load_measurement(key: str) -> MeasuredPrecision | None:
    """Return the cached measurement for `key`; None without one, or if the cache is not readable."""
    return _load().get(key)


def save_measurement(key: str, measured: MeasuredPrecision) -> None:
    """Add a measurement to the cache file. Without a writable cache folder nothing happens."""
    known = _load() | {key: measured}
    path = files.cache_path(CACHE_FILE)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.remove_leftovers(path.parent, files.UNFINISHED_MAX_AGE_S)
        files.write_json(path, {key: asdict(value) for key, value in known.items()})


def _load() -> dict[str, MeasuredPrecision]:
    """Return the measurements by key; {} if the file is missing, not readable or damaged."""
    with suppress(OSError, ValueError):
        text = read_text(files.cache_path(CACHE_FILE))
        return TypeAdapter(dict[str, MeasuredPrecision]).validate_json(text)
    return {}
