"""What can go wrong, as a tree. Every error is an answer: what happened, why, and what to do next.

ReslabError
|-- PhotosError        a folder of photos or one photo cannot be used
|-- NetworkError       a network cannot be built or does not fit its input
|-- WeightsError       a weights file cannot be read or does not fit
|-- RecipeError        a setting is unknown, out of range or contradicts another
|-- TrainingError      a training cannot go on (loss not finite, out of memory)
|-- RunError           a run folder exists already, is incomplete or in use
|-- ClassifierError    a model file cannot be read or does not fit what is asked of it
|-- DownloadError      something could not be fetched
`-- UsageError         a command or a call was given something it does not take
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReslabError(Exception):
    """An error that carries its own explanation. The shell prints it without a traceback and exits 2."""

    def __init__(self, what: str, why: str = "", do: str = "") -> None:
        super().__init__(what, why, do)  # three arguments, so that it survives pickling between processes
        self.what, self.why, self.do = what, why, do

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why: {self.why}")
        if self.do:
            lines.append(f"  do:  {self.do}")
        return "\n".join(lines)


class PhotosError(ReslabError):
    """A folder of photos or one photo cannot be used."""


class NetworkError(ReslabError):
    """A network cannot be built or does not fit its input."""


class WeightsError(ReslabError):
    """A weights file cannot be read or does not fit the network."""


class RecipeError(ReslabError):
    """A setting is unknown, out of range or contradicts another."""


class TrainingError(ReslabError):
    """A training cannot go on."""


class RunError(ReslabError):
    """A run folder exists already, is incomplete or in use."""


class ClassifierError(ReslabError):
    """A model file cannot be read or does not fit what is asked of it."""


class DownloadError(ReslabError):
    """Something could not be fetched."""


class UsageError(ReslabError):
    """A command or a call was given something it does not take."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Words that point from a mistyped name to the valid one: "did you mean 'fast'? Known: ..." """
    known = sorted(valid)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}known: {', '.join(known)}"
