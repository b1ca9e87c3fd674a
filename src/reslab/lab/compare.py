"""compare(): train variants over paired seeds, judge the differences and write the report."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reslab import files, locks
from reslab.errors import RunError, UsageError
from reslab.networks.blocks import Block
from reslab.photos.folder.photos import Photos
from reslab.training.progress import say as print_to_stderr
from reslab.training.recipe import Recipe
from reslab.training.runs.start import duration

from .backends.choose import backend
from .cells import Cell, first_different_step
from .comparison import Comparison
from .judging import also_run, judge_cells, record
from .looks import look_levels
from .plan import Budget, Plan, shown
from .planning import make_plan
from .power import detectable
from .report import write_outputs
from .splits import LABELS
from .tuning import tuned_settings
from .variants import parse_variants

LOG = "log.txt"  # what the workers print
LEVEL = 0.05  # of significance, of all looks together
USUAL_SPREAD = 0.007  # of the differences of single seeds, where nothing was measured yet
MAX_NAME_LENGTH = 80

Say = Callable[[str], Any]


def compare(
    photos: Photos | Path | str,
    variants: Sequence[str | Block],
    *,
    network: str = "resnet18",
    recipe: Recipe | Path | str = "fast",
    seeds: int = 8,
    margin: float = 1.0,
    until_sure: int | None = None,
    budget: Budget = "epochs",
    tune: int = 0,
    on: str = "local",
    jobs: int | None = None,
    output: Path | str | None = None,
    progress: bool = True,
    say: Callable[[str], Any] | None = None,
) -> Comparison:
    """Train each variant with several seeds, and judge its difference to the first, the baseline.

    A seed gives all variants the same validation split, initial weights by tensor name, order and crops. The
    interval of a difference is for new seeds and new photos. Finished cells are never trained again: the
    same call continues an interrupted comparison, and with more seeds or variants it extends a finished one.

    Args:
        photos: Photos with a test split, or a folder or list file that `Photos` accepts.
        variants: at least two, the baseline first: names of blocks ("se"), of a block in a file
            ("my_block.py:MyBlock", or the imported class), of networks ("resnet34"), or settings of the
            recipe ("learning_rate=0.03").
        network: notation of the network that gets the blocks.
        recipe: a Recipe, the name of a preset, or a .json or .toml file.
        seeds: number of seeds; from 5 on there is a verdict.
        margin: difference in percentage points that does not matter.
        until_sure: look after each quarter of this number of seeds, and stop when every verdict is clear. It
            replaces `seeds`.
        budget: what all variants get as much of as the baseline: "epochs", "time", "flops" or "parameters".
        tune: number of learning rates to try for each variant, on validation photos; 0 for none.
        on: "local" for this machine, or "ray" for the nodes of a cluster.
        jobs: cells to train at a time; by default as many as cores on a CPU, else 1 (with Ray as many as
            GPUs).
        output: folder of the comparison; compare/<names> by default.
        progress: show a progress bar on a terminal.
        say: called with each line of text for people; prints to standard error by default.

    Returns:
        The comparison, with its table, figure and verdicts.

    Raises:
        UsageError: fewer than two variants, an invalid number, or no node has what a cell needs.
        PhotosError: the photos cannot be used, or there are no test photos.
        NetworkError: a network cannot be built, or a block has a problem.
        RecipeError: a setting is invalid.
        RunError: the folder holds another comparison or is in use, or files are damaged.
        KeyboardInterrupt: after Ctrl-C. The same call continues.
    """
    say = say or print_to_stderr
    names = [variant if isinstance(variant, str) else _notation(variant) for variant in variants]
    folder = files.user_path(output) if output else default_folder(names)
    plan = plan_comparison(
        photos, names, network=network, recipe=recipe, seeds=seeds, margin=margin, until_sure=until_sure,
        budget=budget, tune=tune, on=on, jobs=jobs, folder=folder, progress=progress, say=say,
    )  # fmt: skip
    return run_comparison(plan, folder, on=on, jobs=jobs, progress=progress, say=say)


def plan_comparison(
    photos: Photos | Path | str,
    names: Sequence[str],
    *,
    network: str,
    recipe: Recipe | Path | str,
    seeds: int,
    margin: float,
    until_sure: int | None,
    budget: Budget,
    tune: int,
    on: str = "local",
    jobs: int | None,
    folder: Path,
    progress: bool,
    say: Say,
) -> Plan:
    """Check and measure everything before the first cell, and write plan.json. Arguments as of `compare`."""
    _check_numbers(seeds, margin, until_sure, tune, jobs)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    variants = parse_variants(names, network)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locks.only_process(folder):
            return make_plan(
                photos, variants, network=network, recipe=recipe, seeds=seeds, margin=margin / 100,
                until_sure=until_sure, budget=budget, tune=tune, on=on,
                jobs=jobs or default_jobs(recipe.device, on), folder=folder, progress=progress, say=say,
            )  # fmt: skip
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def default_folder(names: Sequence[str]) -> Path:
    """Return compare/<names>, the same for the same variants, so that the same command continues."""
    text = "-vs-".join(re.sub(r"[^\w.=+-]+", "-", name) for name in names)
    return Path("compare") / text[:MAX_NAME_LENGTH].strip("-.")


def default_jobs(device: str, on: str = "local") -> int:
    """Return the number of cells to train at a time: as many as cores on a CPU, else as GPUs."""
    return backend(on).default_jobs(device)


def _check_numbers(seeds: int, margin: float, until_sure: int | None, tune: int, jobs: int | None) -> None:
    """Raise UsageError for a number out of its range."""
    for name, number, least in (("seeds", seeds, 1), ("tune", tune, 0), ("jobs", jobs or 1, 1)):
        if number < least:
            raise UsageError(f"{name} {number} is too small", "", f"give {least} or more")
    if not 0 <= margin < 100:
        raise UsageError(f"margin {margin:g} is not from 0 to 100", "it is in percentage points", "give 1.0")
    if until_sure is not None:
        look_levels(until_sure)
    if tune == 1:
        raise UsageError(
            "tune 1 tries one learning rate", "there is nothing to choose from", "give 3 or more"
        )


def _notation(block: Block) -> str:
    """Return the notation of a class or function that was imported from a file."""
    path, name = inspect.getsourcefile(block), getattr(block, "__name__", "")
    if path is None or not path.endswith(".py") or not name.isidentifier():
        raise UsageError(
            f"the block {name or block} is not in a file",
            "every cell trains in a process of its own, which has to import it",
            'write it to my_block.py and name it: "my_block.py:MyBlock"',
        )
    return f"{os.path.relpath(path)}:{name}"


def estimate(plan: Plan, folder: Path, jobs: int | None, on: str = "local") -> tuple[float, str]:
    """Return the estimated seconds of the cells that are left, and a text for people on cost and power."""
    jobs = jobs or default_jobs(plan.base_recipe["device"], on)
    seeds = range(plan.until_sure or plan.seeds)
    left = [cell for cell in plan.cells(folder, seeds) if not cell.is_finished]
    by_name = {v.variant.name: v.seconds for v in plan.variants}
    tuning = plan.tune * sum(by_name.values())
    total = (sum(by_name[cell.variant] for cell in left) + tuning) / min(jobs, max(1, len(left)))
    each = duration(float(np.mean(list(by_name.values()))))
    count = f"{len(left)} cells of about {each}, {min(jobs, max(1, len(left)))} at a time"
    most = "at most " if plan.until_sure else ""
    text = f"{count}: {most}{duration(total)}"
    if len(seeds) > 1:
        points = 100 * detectable(USUAL_SPREAD, len(seeds))
        text += (
            f"\n{len(seeds)} seeds show about {points:.1f} points, if the differences of single seeds have "
            f"the usual spread of {100 * USUAL_SPREAD:.1f}"
        )
    return total, text


def run_comparison(
    plan: Plan, folder: Path, *, on: str = "local", jobs: int | None = None, progress: bool, say: Say
) -> Comparison:
    """Train the cells of a plan that are not finished, judge, and write all outputs. As `compare`."""
    jobs = jobs or default_jobs(plan.base_recipe["device"], on)
    labels = np.load(folder / LABELS)
    looks = {plan.seeds: LEVEL}
    if plan.until_sure:
        count = len(plan.variants) - 1 + also_run(plan, folder)
        looks = look_levels(plan.until_sure, count, LEVEL)
    with locks.only_process(folder), _advice_to_continue(folder, say):
        train = partial(_train, plan, folder, on, jobs, progress, say)
        settings = tuned_settings(plan, folder, train, say)
        for seeds, level in looks.items():
            cells = plan.cells(folder, range(seeds), settings)
            train(cells)
            _check_shown(cells)
            comparison = judge_cells(plan, folder, cells, labels, level)
            record(plan, folder, comparison, level)
            if not {"undecided", None} & set(comparison.verdicts.values()):
                break
        write_outputs(comparison)
    return comparison


def load_comparison(folder: Path) -> tuple[Plan, Sequence[str]]:
    """Return the plan in a comparison's folder, and the names of its variants.

    Raises:
        RunError: the folder has no plan, or it is damaged.
    """
    plan = Plan.load(folder)
    return plan, [planned.variant.name for planned in plan.variants]


@contextmanager
def _advice_to_continue(folder: Path, say: Say) -> Iterator[None]:
    """Add to a KeyboardInterrupt inside the block a line to `say` on how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; to continue: reslab compare {shlex.quote(str(folder))}")
        raise


def _train(
    plan: Plan, folder: Path, on: str, jobs: int, progress: bool, say: Say, cells: Sequence[Cell]
) -> None:
    """Train the cells that are not finished to their ends, with one bar over all their steps."""
    from tqdm.auto import tqdm

    cells = [cell for cell in cells if not cell.is_finished]
    if not cells:
        return
    steps = {v.variant.name: v.steps for v in plan.variants}
    total, done = sum(steps[cell.variant] for cell in cells), 0
    bar = tqdm(
        desc=f"{len(cells)} cells",
        total=total,
        unit="step",
        disable=None if progress else True,
        dynamic_ncols=True,
    )

    def tick() -> None:
        bar.update(sum(min(cell.steps_done, steps[cell.variant]) for cell in cells) - bar.n)

    tasks = backend(on).run_tasks("train", cells, jobs, folder / LOG, tick)
    with bar, closing(tasks) as finished:
        for cell, _ in finished:
            done += 1
            say(f"{cell.variant}, seed {cell.seed}: finished, {done} of {len(cells)}")
            tick()


def _check_shown(cells: Sequence[Cell]) -> None:
    """Raise RunError if cells of one seed that must have been shown the same images were not."""
    groups: dict[tuple[int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.seed, shown(cell)), []).append(cell)
    for group in groups.values():
        if (different := first_different_step(group)) is not None:
            cell, step = different
            raise RunError(
                f"seed {cell.seed}: {group[0].variant} and {cell.variant} were shown different images, "
                f"first in step {step + 1:,}",
                "their difference would not be the variant's alone",
                f"remove {cell.folder} and {group[0].folder}, and run the comparison again",
            )
