"""Tasks of workers as JSON, with the text of the user's files as they were when the cells were planned."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from reslab.errors import RunError
from reslab.lab.cells import Cell
from reslab.networks.from_text import parse_name
from reslab.networks.user_code import UserCode


def describer(kind: str) -> Callable[[Cell], dict[str, Any]]:
    """Return a function that describes the task on a cell, as `worker.perform` takes it.

    It takes the text of each user's file once, so that an edit does not reach the cells that wait.

    Args:
        kind: "train" or "measure".
    """
    code_of = cache(lambda network: parse_name(network).run_file())

    def describe(cell: Cell) -> dict[str, Any]:
        code = code_of(cell.network)
        if code is not None and code.digest != cell.code:
            raise RunError(
                f"{code.file} was changed after {cell.variant} was planned",
                "its cells would be of two different networks",
                "compare again: the changed one is then another variant",
            )
        described = code and asdict(code)
        return {"kind": kind, "cell": asdict(cell), "code": described, "folder": os.getcwd()}

    return describe


@contextmanager
def code_in_place(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the network's name, whose file is on this machine inside the block.

    The user's own file is used if it is here with the same text. Otherwise the text that came with the task
    is written to a temporary folder.
    """
    network, folder = task["cell"]["network"], Path(task["folder"])
    if task["code"] is None:
        yield network
        return
    code, name = UserCode(**task["code"]), parse_name(network)
    path = name.file
    assert path is not None
    if _has_sources((folder / path).parent, code.sources):
        with chdir(folder):
            yield network
        return
    with tempfile.TemporaryDirectory(prefix="reslab-") as temporary:
        if path.is_absolute():
            path = Path(temporary, path.name)
            network = ":".join(filter(None, [name.base, str(path), name.attribute]))
        # as many folders down as a relative path leads up, so that the network keeps its name
        below = Path(temporary, *["below"] * path.parts.count(".."))
        below.mkdir(parents=True, exist_ok=True)
        for file, text in code.sources.items():
            target = below / path.parent / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        with chdir(below):
            yield network


def _has_sources(folder: Path, sources: Mapping[str, str]) -> bool:
    """Return True if each file is in the folder with the same text."""
    try:
        return all((folder / file).read_text(encoding="utf-8") == text for file, text in sources.items())
    except (OSError, UnicodeDecodeError):
        return False
