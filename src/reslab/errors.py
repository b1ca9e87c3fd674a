"""Error classes. Each error has up to three parts: what failed, why, and what to do next.

ReslabError
|-- PhotosError        a folder of photos or one photo cannot be used
|-- NetworkError       a network cannot be built or does not fit its input
|-- WeightsError       a weights file cannot be read or does not fit
|-- RecipeError        a setting is unknown, out of range or contradicts another
|-- TrainingError      a training cannot continue (loss not finite, out of memory)
|-- RunError           a run folder exists already, is incomplete or in use
|-- ClassifierError    a model file cannot be read or does not fit its use
|-- DownloadError      a download failed
`-- UsageError         a command or a call has an invalid argument
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReslabError(Exception):
    """Base class of all errors that reslab raises on purpose. Empty parts are left out of its text.

    The command line prints it without a traceback and exits with code 2. A notebook shows its text alone.

    Args:
        what: what failed, with its value.
        why: the reason, with numbers, or "".
        do: one command or call that helps, or "".
    """

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)  # all arguments, so that the error can be pickled
        self.what, self.why, self.do = what, why, do

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.do:
            lines.append(f"  do:  {self.do}")
        return "\n".join(lines)

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of a traceback of 50 lines."""
        return f"{type(self).__name__}: {self}".split("\n")


class PhotosError(ReslabError):
    """A folder of photos or one photo cannot be used."""


class NetworkError(ReslabError):
    """A network cannot be built or does not fit its input."""


class CodeNeededError(NetworkError):
    """A network is from a user's file, which is run only if the user names it again.

    Args:
        what: what failed, with its value.
        why: the reason.
        do: one call that helps.
        network: text that names the file, for `network=` or `--network`.
    """

    def __init__(self, what: str, why: str = "", do: str = "", network: str = "") -> None:
        super().__init__(what, why, do)
        self.network = network


class WeightsError(ReslabError):
    """A weights file cannot be read or does not fit the network."""


class RecipeError(ReslabError):
    """A setting is unknown, out of range or contradicts another."""


class TrainingError(ReslabError):
    """A training cannot continue: the loss is not finite, or memory is exhausted."""


class DivergedError(TrainingError):
    """A training cannot continue because the loss is not finite."""


class RunError(ReslabError):
    """A run folder exists already, is incomplete or in use."""


class ClassifierError(ReslabError):
    """A model file cannot be read or does not fit its use."""


class DownloadError(ReslabError):
    """A download failed."""


class UsageError(ReslabError):
    """A command or a call has an invalid argument."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a hint for a mistyped name: "did you mean 'fast'? known: fast, paper".

    Without a similar name in `valid` it is only "known: fast, paper". The names are sorted.
    """
    known = sorted(valid)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(known)}"
