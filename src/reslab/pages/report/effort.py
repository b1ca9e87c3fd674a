"""Effort of a report: quick or thorough, and the time that it may take."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Effort:
    """Limits of the work for a report.

    Attributes:
        thorough: use all training photos, and add corruptions and suspicious labels.
        seconds: time for the whole report. A part that would take longer is made smaller or left out.
        started: time.monotonic() at the start of the work.
        progress: show bars on a terminal.
    """

    thorough: bool
    seconds: float
    started: float
    progress: bool = False

    def allows(self, seconds: float) -> bool:
        """Return True if a part of this estimated duration fits into the time."""
        return time.monotonic() - self.started + seconds < self.seconds

    def affordable(self, seconds: float, wanted: int, least: int) -> int:
        """Return the number of photos for which half of the time that is left suffices.

        Args:
            seconds: estimated duration for one photo.
            wanted: largest number.
            least: a smaller number becomes 0.
        """
        left = (self.seconds - (time.monotonic() - self.started)) / 2
        count = wanted if seconds * wanted <= left else max(0, int(left / seconds))
        return count if count >= least else 0
