"""The verb `compare`: variants over paired seeds, with a verdict; and the template and check of a block."""

from __future__ import annotations

import json as json_
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reslab.errors import UsageError
from reslab.files import user_path
from reslab.text import printable

from .arguments import Flag, Whole
from .output import announce, write_line
from .recipe_flags import recipe_flags

if TYPE_CHECKING:
    from reslab.training.recipe import Recipe

FAST_NETWORK = "cifar_resnet20"  # trains in minutes on a CPU
FAST_SIZE = 32  # pixels of the sides of its images


@recipe_flags
def compare(
    folder: Path | None = None,
    /,
    *variants: str,
    vary: str | None = None,
    network: str | None = None,
    recipe: str | None = None,
    seeds: Whole | None = None,
    first_seed: Whole | None = None,
    margin: float | None = None,
    until_sure: Whole | None = None,
    budget: Literal["epochs", "time", "flops", "parameters"] | None = None,
    tune: Whole | None = None,
    on: Literal["local", "ray"] | None = None,
    jobs: Whole | None = None,
    output: Path | None = None,
    ideas: Flag = False,
    new: Path | None = None,
    check: str | None = None,
    yes: Flag = False,
    json: Flag = False,
    **settings: Any,
) -> int | None:
    """Tell whether an idea is better than the baseline, or whether it was luck.

    Example: reslab compare --new my_block.py
             reslab compare photos basic my_block.py:MyBlock --network cifar_resnet20 --size 32
             reslab compare photos --vary learning_rate=0.03,0.06
             reslab compare --ideas photos
             reslab compare compare/NAME

    The first variant is the baseline. Each seed gives all variants the same
    photos to validate on, initial weights, order and crops. Finished trainings
    are kept: the same command continues, and more --seeds extend.

    Args:
        folder: photos as train takes them, or the folder of a comparison to continue or show
        variants: basic, se, my_block.py:MyBlock; resnet34, my_net.py:build; or settings: label_smoothing=0
        vary: values of one setting: learning_rate=0.03,0.06
        network: the network that gets the blocks [resnet18; with --ideas cifar_resnet20 at 32 pixels]
        recipe: fast, finetune, paper, textbook, tutorial, or a .json or .toml file [fast]
        seeds: trainings of each variant; from 5 on there is a verdict [8]
        first_seed: first of the seeds; unused ones confirm a result [0]
        margin: difference in points that does not matter [1.0]
        until_sure: look after each quarter of this number of seeds, and stop when all is clear
        budget: what all variants get as much of as the baseline [epochs; with --ideas time]
        tune: learning rates to try for each variant first, on validation photos
        on: local, or ray for the nodes of a cluster [local]
        jobs: trainings at a time [as many as cores]
        output: folder of the comparison [compare/NAMES]
        ideas: compare all ideas of the list, docs/ideas.md, instead of variants
        new: write a template for a block of your own to this file, and do nothing else
        check: test a block, such as my_block.py:MyBlock, and do nothing else
        yes: start without asking
        json: the result as JSON on standard output
    """
    if new is not None:
        _write_template(new)
        return None
    if check is not None:
        return _check(check, network or "resnet18", json)
    if folder is None:
        raise UsageError(
            "compare needs a folder of photos", "", "reslab compare FOLDER basic my_block.py:MyBlock"
        )
    from reslab.lab.compare import continue_plan, default_folder, plan_comparison, run_comparison
    from reslab.lab.estimate import estimate
    from reslab.lab.plan import PLAN, Plan
    from reslab.lab.request import Request
    from reslab.lab.variants import settings_as_variants
    from reslab.training.recipe import Recipe

    def say(text: str) -> None:
        write_line(text, sys.stderr if json else sys.stdout)

    changed = _given(**settings)
    if "seed" in changed:
        raise UsageError(f"--seed {changed['seed']} in a comparison", "it needs several", "use --seeds 8")
    fixed = _given(network=network, budget=budget, tune=tune, first_seed=first_seed)
    free = _given(seeds=seeds, margin=margin, until_sure=until_sure, on=on, jobs=jobs)
    source = user_path(folder)
    if ideas:
        chosen = Recipe.load(recipe or "fast").with_settings(**changed)
        _compare_ideas(source, variants, chosen, fixed | free, output, yes=yes, json=json, say=say)
        return None
    if vary is not None:
        variants = (*variants, *settings_as_variants(vary))
    with redirect_stdout(sys.stderr) if json else nullcontext():  # a user's file may print
        if (source / PLAN).is_file():
            if refused := [*_given(recipe=recipe, **fixed, **changed, output=output)]:
                what = f"--{refused[0].replace('_', '-')} for the comparison in {printable(str(source))}"
                do = "leave it out, or compare the photos with another --output"
                raise UsageError(what, "its photos and settings are fixed", do)
            if seeds is not None:
                free["until_sure"] = until_sure
            place, request = source, replace(Request.stored(Plan.load(source)), **free)
            plan = continue_plan(source, variants, request, say)
        else:
            place = user_path(output) if output else default_folder(variants)
            chosen = Recipe.load(recipe or "fast").with_settings(**changed)
            request = Request(recipe=chosen, **fixed, **free)
            plan = plan_comparison(source, variants, request, place, say)
        announce(
            estimate(plan, place, request), f"reslab compare {shlex.quote(str(place))}", yes=yes, say=say
        )
        comparison = run_comparison(plan, place, request, say)
    if json:
        write_line(json_.dumps(comparison.as_json()), sys.stdout)
        return None
    say("\n".join([comparison.table(width=shutil.get_terminal_size().columns), *comparison.notes]))
    say(f"report: {printable(str(place / 'report.html'))}")
    return None


def _given(**flags: Any) -> dict[str, Any]:
    """Return the flags that the user gave."""
    return {name: value for name, value in flags.items() if value is not None}


def _compare_ideas(
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
    """Compare all ideas of the list on one folder of photos: plan, ask, train and print.

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
    announce(estimate_ideas(planned), f"reslab compare --ideas {shlex.quote(str(photos))}", yes=yes, say=say)
    result = run_ideas(planned, say)
    if json:
        write_line(json_.dumps(result), sys.stdout)
        return
    say(f"\n{gains_table(load_ideas(), result)}")
    say(f"result: {printable(str(folder / RESULT))}, and a report.html in each folder")


def _write_template(path: Path) -> None:
    """Write the template of a block, and print the commands that come next."""
    from reslab.lab.block_checks.preflight import new_block_file

    new_block_file(path)
    name = printable(str(path))
    print(f"block:  {name}, class MyBlock; change the line marked in it")
    print(f"check:  reslab compare --check {name}:MyBlock --network {FAST_NETWORK}")
    print(f"next:   {_next_command(f'{name}:MyBlock', FAST_NETWORK)}")


def _next_command(block: str, network: str) -> str:
    """Return the command that compares a block in a network with its usual block."""
    size = f" --size {FAST_SIZE}" if network.startswith("cifar_") else ""
    return f"reslab compare FOLDER basic {shlex.quote(block)} --network {network}{size}"


def _check(block: str, network: str, as_json: bool) -> int:
    """Test a block and print the result. Return 0 if it passes, else 1."""
    from reslab.lab.block_checks.preflight import check_block

    result = check_block(block, network)
    print(json_.dumps(result.as_json()) if as_json else str(result))
    if result.passed and not as_json:
        print(f"  next:   {_next_command(block.removeprefix(f'{result.network}:'), result.network)}")
    return 0 if result.passed else 1
