"""Command that repeats a comparison: its photos, variants and every setting that was given."""

from __future__ import annotations

import shlex
from typing import Any

from .plan import Plan
from .request import Request


def repeat_command(plan: Plan) -> str:
    """Return the shell command that makes the same comparison in a new folder.

    Settings that have their default values are left out.
    """
    usual, given = Request(), Request.stored(plan)
    names = ("network", "first_seed", "margin", "budget", "tune")
    changed = {name: getattr(given, name) for name in names if getattr(given, name) != getattr(usual, name)}
    seeds = {"seeds": plan.seeds} if plan.until_sure is None else {"until_sure": plan.until_sure}
    settings = {name: plan.base_recipe[name] for name in plan.given}
    words = ["reslab", "compare", plan.photos, *(planned.variant.name for planned in plan.variants)]
    for name, value in (changed | seeds | settings).items():
        words += _flag(name, value)
    return shlex.join(words)


def _flag(name: str, value: Any) -> list[str]:
    """Return the words of a flag: --no-NAME for False, several values for a list, nothing for None."""
    dashed = name.replace("_", "-")
    if value is None or value == []:
        return []
    if isinstance(value, bool):
        return [f"--{dashed}" if value else f"--no-{dashed}"]
    return [f"--{dashed}", *map(_text, value if isinstance(value, list) else [value])]


def _text(value: Any) -> str:
    """Return a value as a flag takes it: 1.0 as 1."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)
