"""Question before something long: on a terminal it asks, in a pipe it wants --yes."""

from __future__ import annotations

import sys

from reslab.errors import UsageError

ASK_FROM_S = 600.0  # a longer comparison is started only after a yes


def confirm(seconds: float, command: str) -> None:
    """Ask on a terminal whether to start something long.

    Args:
        seconds: estimated duration; a short one needs no answer.
        command: shell command that starts it later.

    Raises:
        UsageError: the answer is no, or there is no terminal.
    """
    if seconds <= ASK_FROM_S:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"this comparison takes {seconds / 60:.0f} minutes",
            f"over {ASK_FROM_S / 60:.0f} minutes it starts only after a yes",
            "add --yes",
        )
    print("start? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("not started", "", f"start it later: {command}")
