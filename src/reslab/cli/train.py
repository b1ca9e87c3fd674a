"""The verbs `train`, `resume` and `runs`."""

from __future__ import annotations

import json as json_
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.errors import ReslabError, UsageError
from reslab.text import printable, table
from reslab.training.recipe import Recipe

from .arguments import Flag
from .output import show_curves, tell, write_line
from .recipe_flags import recipe_flags

if TYPE_CHECKING:
    from reslab.training.runs.run import Run


@recipe_flags
def train(
    folder: Path,
    /,
    *,
    network: str = "resnet18",
    recipe: str = "fast",
    weights: str | None = None,
    run: Path | None = None,
    json: Flag = False,
    **settings: Any,
) -> None:
    """Train a network on a folder of photos, and measure it on its test photos.

    Example: reslab train photos --epochs 10 --size 128 --run runs/first

    Photos that cannot be read are named and skipped. The flags from --epochs
    on change settings of the recipe; in brackets are those of the recipe fast.

    Networks: cifar_resnet20 and its family; resnet18:preactivation with another
    block of reslab's; cifar_resnet20:my_block.py:MyBlock with a block of your own;
    my_net.py:build for a whole network of your own, from a function with a
    parameter num_classes; torchvision:NAME; timm:NAME.

    A file of yours is run, and its text is kept with the run, to read. To resume,
    evaluate or predict, name it again: --network my_block.py:MyBlock

    Args:
        folder: one folder per class, or train/ and test/ (and val/) of these, or a list from check --fix
        network: resnet18, cifar_resnet20 or another of the family, torchvision:NAME, timm:NAME
        recipe: fast, finetune, paper, textbook, tutorial, or a .json or .toml file
        weights: imagenet, or a .safetensors or .pth file
        run: a new folder for the run [runs/DATE-NETWORK]
        json: one JSON object per epoch, then the result, on standard output
    """
    start = time.monotonic()  # --time includes the import of torch
    changed = {name: value for name, value in settings.items() if value is not None}
    chosen = Recipe.load(recipe).with_settings(**changed)
    from reslab.training.runs.start import start_run

    say = _printer(json)
    new = start_run(folder, network, chosen, weights=weights, run=run, progress=True, say=say, started=start)
    _train_to_the_end(new, json)


def resume(run: Path, /, *, network: str | None = None, json: Flag = False) -> None:
    """Continue a run that was stopped or killed. The weights are the same as without the interruption.

    Example: reslab resume runs/first

    Args:
        run: the run folder
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object per epoch, then the result, on standard output
    """
    from reslab.training.runs.run import Run

    _train_to_the_end(Run(run), json, network)


def runs(folder: Path = Path("runs"), /, *, json: Flag = False) -> None:
    """List all runs in a table: name, network, epochs, best accuracy, duration, state.

    Example: reslab runs

    A run with damaged files has the state broken. Its error goes to standard
    error, or with --json into its object.

    Args:
        folder: the folder that holds the runs
        json: one JSON object per run
    """
    from reslab.training.runs.run import find_runs

    if not os.path.isdir(folder):  # Path.is_dir may raise for a closed folder
        raise UsageError(
            f"there is no readable folder {folder}", "runs go to runs/ by default", "reslab runs FOLDER"
        )
    rows = [_summary(run) for run in find_runs(folder)]
    for row in rows:
        if json:
            print(json_.dumps(row))
        elif "error" in row:
            tell(f"note: {row['error']}")
    if json:
        return
    if not rows:
        print(f"no runs in {printable(str(folder))} yet; start one: reslab train FOLDER")
        return
    header = ["run", "network", "epochs", "val accuracy", "test accuracy", "minutes", "state"]
    print(table(header, [_cells(row) for row in rows], "llrrrrl"))


def _summary(run: Run) -> dict[str, Any]:
    """Return the figures of a run, as `runs --json` prints them; accuracies are None before they exist.

    For a run with damaged files they are "run", "state" ("broken") and "error".
    """
    try:
        best, result = run.best, run.result
        return {
            "run": str(run.folder),
            "network": run.about["network"],
            "epochs_done": len(run.rows),
            "epochs": run.epochs,
            "val_accuracy": best and best["val_accuracy"],
            "test_accuracy": result and result["test_accuracy"],
            "seconds": run.seconds,
            "state": run.state,
        }
    except ReslabError as error:
        return {"run": str(run.folder), "state": "broken", "error": f"{error.what}: {error.why}"}


def _cells(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["run"], "-", "-", "-", "-", "-", row["state"]]
    epochs = f"{row['epochs_done']}/{row['epochs']}"
    minutes = f"{row['seconds'] / 60:.1f}"
    accuracies = (row["val_accuracy"], row["test_accuracy"])
    cells = ["-" if value is None else f"{value:.3f}" for value in accuracies]
    return [row["run"], row["network"], epochs, *cells, minutes, row["state"]]


def _train_to_the_end(run: Run, as_json: bool, network: str | None = None) -> None:
    """Train the remaining epochs of `run` and print each when it ends, then the files and next commands.

    A terminal also shows the curves.

    Args:
        run: a new or stopped run. Its folder is written.
        as_json: print epochs and the result as JSON lines to standard output, and text to standard error.
        network: names the user's file again; not needed in the process that started the run.
    """
    from reslab.training.runs.resume import train_epochs

    say = _printer(as_json)
    for epoch in train_epochs(run, network=network, progress=True, say=say):
        say(str(epoch))
        if as_json:
            write_line(json_.dumps(epoch.as_json()), sys.stdout)
    if as_json:
        write_line(json_.dumps(run.result), sys.stdout)
        return
    show_curves(run)
    model, curves = (printable(str(run.folder / name)) for name in ("model.safetensors", "curves.png"))
    say(f"model:  {model}\ncurves: {curves}")
    folder, photos = (printable(shlex.quote(str(path))) for path in (run.folder, run.about["photos"]))
    spec = run.spec
    own = "" if spec is None or spec.code is None else f" --network {printable(shlex.quote(spec.name))}"
    say(f"next:   reslab predict {folder} PHOTO...{own}   reslab evaluate {folder} {photos}{own}")


def _printer(as_json: bool) -> Callable[[str], None]:
    """Return `write_line` to standard error if `as_json`, else to standard output."""
    return lambda text: write_line(text, sys.stderr if as_json else sys.stdout)
