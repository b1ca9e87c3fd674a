"""Worker process: reads tasks as JSON lines from its standard input and writes their results as JSON lines.

    python -m reslab.lab.backends.worker PARENT

It computes with one thread. It ends when its standard input closes, and on Linux when its parent dies.
The output of a user's block goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from reslab import errors
from reslab.errors import ReslabError, RunError
from reslab.parallel import end_with_parent


def perform(task: dict[str, Any]) -> Any:
    """Perform a task and return its result as a JSON value.

    Args:
        task: {"kind": "train" or "measure", "cell": fields of the Cell, "code": fields of the UserCode or
            None, "folder": folder that the user's file is relative to}.

    Returns:
        None for "train", whose results are files; the fields of CellCost for "measure".
    """
    from reslab.lab.cells import Cell, run_cell
    from reslab.lab.costs import measure_cost

    from .tasks import code_in_place

    with code_in_place(task) as network:
        cell = Cell(**{**task["cell"], "network": network})
        return asdict(measure_cost(cell)) if task["kind"] == "measure" else run_cell(cell)


def reply(task: dict[str, Any], work: Callable[[dict[str, Any]], Any] = perform) -> dict[str, Any]:
    """Return {"result": work(task)}, or {"error": [class, what, why, do]} if it failed."""
    try:
        return {"result": work(task)}
    except ReslabError as error:
        return {"error": [type(error).__name__, error.what, error.why, error.do]}
    except Exception as error:  # noqa: BLE001  # the parent raises it again
        traceback.print_exc()
        return {"error": ["ReslabError", f"{type(error).__name__}: {error}", "", ""]}


def error_of(reply: dict[str, Any]) -> ReslabError:
    """Return the error in a reply."""
    name, what, why, do = reply["error"]
    error: ReslabError = getattr(errors, name, RunError)(what, why, do)
    return error


def main() -> None:
    """Perform the tasks from standard input one after another. Exit with 130 after Ctrl-C or SIGTERM."""
    end_with_parent(int(sys.argv[1]))
    import torch

    torch.set_num_threads(1)
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # so that a print of the user's code does not end up between the results
    try:
        for line in sys.stdin:
            print(json.dumps(reply(json.loads(line))), file=results, flush=True)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
