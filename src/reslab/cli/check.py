"""LOOK: check."""

from __future__ import annotations

import json as json_
from pathlib import Path

from .arguments import Flag


def check(folder: Path, /, *, json: Flag = False) -> int:
    """What is wrong with a folder of photos: files, copies, leaks between splits, classes, names.

    Example: reslab check photos

    Looks at every photo and changes none. A second check decodes only what is new. The exit code is 1 if a
    finding would spoil a training, else 0.

    Parameters
    ----------
    folder
        a folder with train/ (and val/, test/), or a folder of classes
    json
        one JSON object on standard output, every finding in it
    """
    from ..photos import faults
    from ..tables import printable

    checked = faults.check(folder)
    if json:
        print(json_.dumps(checked.as_json()), flush=True)
    else:
        after = "first mend what spoils a training, then" if checked.spoils_training else "next: "
        verb = "check" if checked.spoils_training else "train"
        print(f"{checked}\n\n{after} {printable(f'reslab {verb} {folder}')}", flush=True)
    return int(checked.spoils_training)
