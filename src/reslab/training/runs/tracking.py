"""Tracking of a run: the epochs go to its tracker, and a tracker that fails never stops the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from reslab.randomness import preserve_rng_state
from reslab.training.loop import Epoch
from reslab.training.progress import Say
from reslab.training.trackers import TRACKERS, TrackedRun, Tracker

from .run import Run


class Tracking:
    """Context manager that sends the epochs of a run to the tracker of its run.json, if that names one.

    After the first error of the tracker nothing is sent any more, and one line names the error. The global
    random numbers stay as they were.

    Args:
        run: the run, whose result is sent on exit if it exists then.
        epochs: its finished epochs.
        say: called with each line of text for people.
    """

    def __init__(self, run: Run, epochs: Sequence[Epoch], say: Say) -> None:
        self._run, self._epochs, self._say = run, epochs, say
        self._name: str | None = run.about.get("tracker")
        self._tracker: Tracker | None = None

    def __enter__(self) -> Tracking:
        if self._name is not None:
            self._attempt(self._start)
        return self

    def _start(self) -> None:
        assert self._name is not None
        about = self._run.about
        settings = {"network": about["network"], "classes": len(about["classes"])}
        rows = [epoch.as_json() for epoch in self._epochs]
        run = TrackedRun(self._run.folder, settings | self._run.recipe.as_json(), rows)
        self._tracker = TRACKERS[self._name](run)

    def log(self, epoch: Epoch) -> None:
        """Send the figures of an epoch."""
        if (tracker := self._tracker) is not None:
            self._attempt(lambda: tracker.log(epoch.as_json()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if (tracker := self._tracker) is not None:
            self._attempt(lambda: tracker.close(self._run.result))

    def _attempt(self, action: Callable[[], None]) -> None:
        """Call `action`. After an error, which becomes a warning, the tracker is not used any more."""
        try:
            with preserve_rng_state():
                action()
        except Exception as error:  # noqa: BLE001  # a tracker must not end a training
            self._tracker = None
            why = (str(error).splitlines() or [""])[0] or type(error).__name__
            self._say(f"WARNING: {self._name} failed, and the training continues without it: {why}")
