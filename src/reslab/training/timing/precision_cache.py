"""What a run computes with, as measured, and what is remembered of it for the next run on this machine."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from reslab import files
from reslab.networks.precision import PRECISIONS
from reslab.untrusted import read_text

MOST_THREADS = 1024  # that a run may ask for


@dataclass(frozen=True)
class MeasuredPrecision:
    """What a run computes with, and the measurement: images a second for each candidate that was timed.

    On a busy machine they are images per second of CPU time in one thread. `threads` is 0 where nobody knows.
    """

    precision: str
    seconds_per_step: float
    images_per_second: dict[str, float] = field(default_factory=dict)
    threads: int = 0
    busy: bool = False

    def __str__(self) -> str:
        text = f"precision {self.precision}"
        speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in self.images_per_second.items())
        if len(self.images_per_second) < 2:
            return text
        if not self.busy:
            return f"{text}: the fastest here of {speeds} images/s"
        computing = "one thread computes" if self.threads == 1 else f"{self.threads} threads compute"
        text += (
            f": the least work of {speeds} images per second of CPU time; other programs keep this machine"
        )
        return f"{text} busy, so {computing}, and the choice is not remembered"


def recall(key: str) -> MeasuredPrecision | None:
    """What was remembered under `key`; what a killed process was about to remember goes."""
    files.remove_leftovers(_memory().parent, files.UNFINISHED_MAX_AGE_S)
    return _known().get(key)


def remember(key: str, measured: MeasuredPrecision) -> None:
    """Where that cannot be written, it costs seconds the next time."""
    known = _known() | {key: measured}
    with suppress(OSError):
        _memory().parent.mkdir(parents=True, exist_ok=True)
        files.write_json(_memory(), {key: asdict(value) for key, value in known.items()})


def _memory() -> Path:
    return files.cache_path("precision.json")


def _known() -> dict[str, MeasuredPrecision]:
    with suppress(OSError, ValueError):
        content = TypeAdapter(dict[str, MeasuredPrecision]).validate_json(read_text(_memory()))
        return {key: value for key, value in content.items() if _is_sound(value)}
    return {}


def _is_sound(measured: MeasuredPrecision) -> bool:
    known = measured.precision in PRECISIONS and 0 <= measured.threads <= MOST_THREADS
    return known and 0 <= measured.seconds_per_step < math.inf
