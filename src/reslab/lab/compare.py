"""compare(): train variants over paired seeds, judge the differences and write the report."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from reslab import files, locks
from reslab.errors import NetworkError, PhotosError, RunError, UsageError
from reslab.networks.blocks import Block
from reslab.networks.from_text import BLOCK_CLASSES, BLOCKS, FILE
from reslab.networks.resnet import FAMILY
from reslab.networks.user_code import MODULE_PREFIX
from reslab.photos.folder.photos import Photos
from reslab.text import printable
from reslab.training.progress import say as print_to_stderr
from reslab.training.recipe import Recipe

from .backends.choose import backend
from .cells import Cell, first_different_step
from .estimate import level_of_looks, unfinished_cells
from .judging import judge_cells, record
from .plan import PHOTOS, PLAN, Budget, Plan, PlannedVariant
from .planning import code_digest, make_plan
from .request import Request
from .results.comparison import Comparison
from .results.report import write_outputs
from .splits import LABELS, read_labels
from .tuning import tuned_settings, tuning_cells
from .variants import notation, parse_variants

LOG = "log.txt"  # what the workers print
MAX_NAME_LENGTH = 80
STOPPING = "stopping: finishing the current steps ..."
FIRST_FILES = {PHOTOS, LABELS}  # what an interrupted planning leaves

Say = Callable[[str], Any]


def compare(
    photos: Photos | Path | str,
    variants: Sequence[str | Block],
    *,
    network: str = "resnet18",
    recipe: Recipe | Path | str = "fast",
    seeds: int = 8,
    first_seed: int = 0,
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
        photos: a folder or list file that `Photos` accepts, with a test split; or Photos, whose validation
            split all seeds share.
        variants: at least two, the baseline first: names of blocks ("se"), of a block in a file
            ("my_block.py:MyBlock", or the imported class), of networks ("resnet34"), or settings of the
            recipe ("learning_rate=0.03").
        network: notation of the network that gets the blocks.
        recipe: a Recipe, the name of a preset, or a .json or .toml file.
        seeds: number of seeds; from 5 on there is a verdict.
        first_seed: first of them. With seeds that were not used before, a result can be confirmed.
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
        UsageError: fewer than two different variants, an invalid number, a folder that holds something else,
            or no node has what a cell needs.
        PhotosError: the photos cannot be used, or there are no test photos.
        NetworkError: a network cannot be built, or a block has a problem.
        RecipeError: a setting is invalid.
        RunError: the folder holds another comparison or is in use, or files are damaged.
        KeyboardInterrupt: after Ctrl-C. The same call continues.
    """
    _refuse_own_file()
    say = say or print_to_stderr
    names = [variant if isinstance(variant, str) else notation(variant) for variant in variants]
    folder = files.user_path(output) if output else default_folder(names)
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    request = Request(
        network=network,
        recipe=recipe,
        seeds=seeds,
        first_seed=first_seed,
        margin=margin,
        until_sure=until_sure,
        budget=budget,
        tune=tune,
        on=on,
        jobs=jobs,
        progress=progress,
    )
    return run_comparison(plan_comparison(photos, names, request, folder, say), folder, request, say)


def plan_comparison(
    photos: Photos | Path | str, names: Sequence[str], request: Request, folder: Path, say: Say
) -> Plan:
    """Check and measure everything before the first cell, and write plan.json. Errors are those of `compare`.

    A folder that did not exist is removed if that fails.
    """
    if not isinstance(photos, Photos):
        _check_source(files.user_path(photos))
    variants = parse_variants(names, request.network)
    is_new = _check_folder(folder)
    new_parents = [parent for parent in folder.parents if not parent.exists()]
    try:
        with _disk_errors():
            folder.mkdir(parents=True, exist_ok=True)
            with locks.only_process(folder):
                return make_plan(photos, variants, request, folder, say)
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another comparison may be there by now
                for parent in new_parents:
                    parent.rmdir()
        raise


def continue_plan(folder: Path, names: Sequence[str], request: Request, say: Say) -> Plan:
    """Return the plan of a stored comparison with other variants, numbers of seeds or margin.

    Photos and versions are checked unless all cells are there, so that a finished comparison can be shown
    after they have changed.

    Args:
        folder: of the comparison.
        names: variants, the baseline first; empty for the stored ones.
        request: that of the stored comparison, changed where the user wants.
        say: called with each line of text for people.
    """
    stored = Plan.load(folder)
    before = [planned.variant.name for planned in stored.variants]
    if list(names or before) == before:
        plan = replace(
            stored, seeds=request.seeds, until_sure=request.until_sure, margin=request.margin / 100
        )
        if not any(map(_has_changed, plan.variants)) and not any(unfinished_cells(plan, folder)):
            plan.save(folder)
            return plan
    return plan_comparison(Path(stored.photos), names or before, request, folder, say)


def _has_changed(planned: PlannedVariant) -> bool:
    """Return True if a user's file was edited; False if it is gone."""
    try:
        return code_digest(planned.variant.network) != planned.code
    except NetworkError:
        return False


def _check_source(source: Path) -> None:
    """Raise the error that helps most if photos, or a comparison to continue, do not exist.

    Raises:
        UsageError: a variant is in the place of the folder, or there are comparisons with other names.
        PhotosError: there is no such folder.
    """
    text = printable(str(source))
    if FILE.fullmatch(text) or (text in {*BLOCKS, *BLOCK_CLASSES, *FAMILY} and not os.path.lexists(source)):
        kind = "a network" if text in FAMILY else "a block"
        why = "the folder of photos comes first"
        raise UsageError(
            f"{text} is {kind}, not a folder", why, "reslab compare FOLDER basic my_block.py:MyBlock"
        )
    if os.path.lexists(source):
        return
    others = sorted(str(path.parent) for path in source.parent.glob(f"*/{PLAN}"))
    if others:
        raise UsageError(f"there is no folder {text}", "", f"there are: {printable(', '.join(others))}")
    do = "give the folder that holds one folder per class, or train/ and test/"
    raise PhotosError(f"there is no folder {text}", "", do)


def _check_folder(folder: Path) -> bool:
    """Return True if the folder does not exist yet. Raise UsageError if it holds something else."""
    if not os.path.lexists(folder):
        return True
    if not folder.is_dir():
        raise UsageError(f"{printable(str(folder))} is not a folder", "", "choose another --output")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    others = sorted(names - FIRST_FILES)
    if others and not (folder / PLAN).is_file():
        why = f"a comparison gets a folder of its own; this one has {printable(others[0])}"
        raise UsageError(f"{printable(str(folder))} holds other files", why, "choose another --output")
    return False


def default_folder(names: Sequence[str]) -> Path:
    """Return compare/<names>, the same for the same variants, so that the same command continues."""
    text = "-vs-".join(re.sub(r"[^\w.=+-]+", "-", name) for name in names)
    return Path("compare") / text[:MAX_NAME_LENGTH].strip("-.")


def _refuse_own_file() -> None:
    """Raise UsageError if a user's file that is run for its block calls `compare` itself."""
    frame = inspect.currentframe()
    while frame is not None:
        if str(frame.f_globals.get("__name__")).startswith(MODULE_PREFIX):
            raise UsageError(
                f"{frame.f_code.co_filename} calls compare whenever its block is needed",
                "every cell runs the file to get the block",
                'put the call below `if __name__ == "__main__":`, or the block into a file of its own',
            )
        frame = frame.f_back


def run_comparison(plan: Plan, folder: Path, request: Request, say: Say) -> Comparison:
    """Train the cells of a plan that are not finished, judge, and write all outputs. Errors as `compare`."""
    labels = read_labels(folder)
    with _disk_errors(), locks.only_process(folder), _advice_to_continue(folder, say):
        train = partial(_train, plan, folder, request, say)
        if plan.tune:
            train([*chain(*tuning_cells(plan, folder))])
        settings = tuned_settings(plan, folder, say)
        for seeds, level in level_of_looks(plan, folder).items():
            cells = plan.cells(folder, plan.first_seeds(seeds), settings)
            train(cells)
            _check_shown(plan, cells)
            comparison = judge_cells(plan, folder, cells, labels, level)
            record(plan, folder, comparison, level)
            if comparison.is_clear:
                break
        write_outputs(comparison)
    return comparison


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise RunError instead of an OSError of a file inside the block."""
    try:
        yield
    except OSError as error:
        if error.filename is None:  # of standard output
            raise
        what = f"{printable(str(error.filename))} cannot be written"
        do = "make room, or choose another --output"
        raise RunError(what, error.strerror or str(error), do) from error


@contextmanager
def _advice_to_continue(folder: Path, say: Say) -> Iterator[None]:
    """Add to a KeyboardInterrupt inside the block a line to `say` on how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; to continue: reslab compare {shlex.quote(str(folder))}")
        raise


def _train(plan: Plan, folder: Path, request: Request, say: Say, cells: Sequence[Cell]) -> None:
    """Train the cells that are not finished to their ends, with one bar over all their steps."""
    from tqdm.auto import tqdm

    # tuned variants may agree in all settings, and then share a cell
    cells = [*{cell.folder: cell for cell in cells if not cell.is_finished}.values()]
    if not cells:
        return
    steps = {v.variant.name: v.steps for v in plan.variants}
    total, done = sum(steps[cell.variant] for cell in cells), 0
    bar = tqdm(
        desc=f"{len(cells)} cells",
        total=total,
        unit="step",
        disable=None if request.progress else True,
        dynamic_ncols=True,
    )

    def tick() -> None:
        bar.update(sum(min(cell.steps_done, steps[cell.variant]) for cell in cells) - bar.n)

    tasks = backend(request.on).run_tasks(
        "train", cells, request.workers, folder / LOG, tick, partial(say, STOPPING)
    )
    with bar, closing(tasks) as finished:
        for cell, _ in finished:
            done += 1
            result = "finished" if cell.error is None else "failed"
            say(printable(f"{cell.variant}, seed {cell.seed}: {result}, {done} of {len(cells)}"))
            tick()


def _check_shown(plan: Plan, cells: Sequence[Cell]) -> None:
    """Raise RunError if cells of one seed that must have been shown the same images were not."""
    shown = {planned.variant.name: planned.shown for planned in plan.variants}
    groups: dict[tuple[int, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.seed, shown[cell.variant]), []).append(cell)
    for group in groups.values():
        if (different := first_different_step(group)) is not None:
            one, other, step = different
            raise RunError(
                f"seed {one.seed}: {one.variant} and {other.variant} were shown different images, "
                f"first in step {step + 1:,}",
                "their difference would not be the variant's alone",
                f"remove {one.folder} and {other.folder}, and run the comparison again",
            )
