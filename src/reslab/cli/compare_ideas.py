"""The flag --ideas of `compare`: all ideas of the list on one folder of photos."""

from __future__ import annotations

import json as json_
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.errors import UsageError
from reslab.files import user_path
from reslab.text import printable

from .confirm import confirm
from .output import write_line

if TYPE_CHECKING:
    from reslab.training.recipe import Recipe


def compare_all_ideas(
    photos: Path,
    variants: Sequence[str],
    recipe: Recipe,
    flags: Mapping[str, Any],
    output: Path | None,
    *,
    yes: bool,
    json: bool,
    say: Callable[[str], Any],
) -> None:
    """Plan, ask, train and print.

    Args:
        photos: folder of photos.
        variants: as given; the list names them, so there must be none.
        recipe: of all comparisons.
        flags: other fields of the Request that were given.
        output: folder of the result.
        yes: start without asking.
        json: print the result as JSON.
        say: called with each line of text for people.
    """
    from reslab.lab.literature.compare_ideas import (
        NETWORK,
        RESULT,
        SIZE,
        estimate_ideas,
        plan_ideas,
        run_ideas,
    )
    from reslab.lab.literature.idea_gains import gains_table
    from reslab.lab.literature.ideas import load_ideas
    from reslab.lab.request import Request

    if variants:
        raise UsageError(
            f"--ideas with the variant {variants[0]}", "the list names the variants", "leave one of them out"
        )
    folder = user_path(output) if output else Path("compare") / f"ideas-{photos.stem}"
    if "network" not in flags and "size" not in recipe.model_fields_set:
        recipe = recipe.with_settings(size=SIZE)
    request = Request(recipe=recipe, **{"network": NETWORK, "budget": "time", **flags})
    planned = plan_ideas(photos, request, folder, say)
    seconds, text = estimate_ideas(planned)
    if seconds:
        say(text)
    if not yes:
        confirm(seconds, f"reslab compare --ideas {shlex.quote(str(photos))}")
    result = run_ideas(planned, say)
    if json:
        write_line(json_.dumps(result), sys.stdout)
        return
    say(f"\n{gains_table(load_ideas(), result)}")
    say(f"result: {printable(str(folder / RESULT))}, and a report.html in each folder")
