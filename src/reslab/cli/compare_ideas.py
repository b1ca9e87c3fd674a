"""The flag --ideas of `compare`: all ideas of the list on one folder of photos."""

from __future__ import annotations

import json as json_
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.errors import UsageError
from reslab.files import user_path
from reslab.text import printable

from .confirm import confirm
from .output import write_line

if TYPE_CHECKING:
    from reslab.lab.plan import Budget
    from reslab.training.recipe import Recipe


def compare_all_ideas(
    photos: Path,
    variants: Sequence[str],
    *,
    network: str | None,
    recipe: Recipe,
    seeds: int,
    margin: float,
    until_sure: int | None,
    budget: Budget,
    tune: int,
    on: str,
    jobs: int | None,
    output: Path | None,
    yes: bool,
    json: bool,
    say: Callable[[str], Any],
) -> None:
    """Plan, ask, train and print. The arguments are those of the verb."""
    from reslab.lab.compare_ideas import RESULT, estimate_ideas, plan_ideas, run_ideas
    from reslab.lab.idea_gains import gains_table
    from reslab.lab.ideas import load_ideas

    if variants:
        raise UsageError(
            f"--ideas with the variant {variants[0]}", "the list names the variants", "leave one of them out"
        )
    folder = user_path(output) if output else Path("compare") / f"ideas-{photos.stem}"
    planned = plan_ideas(
        photos, network=network, recipe=recipe, seeds=seeds, margin=margin, until_sure=until_sure,
        budget=budget, tune=tune, on=on, jobs=jobs, folder=folder, progress=True, say=say,
    )  # fmt: skip
    seconds, text = estimate_ideas(planned, on, jobs)
    if seconds:
        say(text)
    if not yes:
        confirm(seconds, f"reslab compare --ideas {shlex.quote(str(photos))}")
    result = run_ideas(planned, on=on, jobs=jobs, progress=True, say=say)
    if json:
        write_line(json_.dumps(result), sys.stdout)
        return
    say(f"\n{gains_table(load_ideas(), result)}")
    say(f"result: {printable(str(folder / RESULT))}, and a report.html in each folder")
