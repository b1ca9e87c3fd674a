"""The verbs `train` and `resume`."""

from __future__ import annotations

import json as json_
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.text import printable
from reslab.training.recipe import Recipe

from .arguments import Flag
from .output import show_curves, write_line
from .recipe_flags import recipe_flags
from .report import write_quick_report

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
    partial: Flag = False,
    run: Path | None = None,
    track: str | None = None,
    json: Flag = False,
    **settings: Any,
) -> None:
    """Train a network on a folder of photos, and measure it on its test photos.

    Example: reslab train photos --epochs 10 --size 128 --run runs/first

    Photos that cannot be read are named and skipped. The flags from --epochs
    on change settings of the recipe; in brackets are those of the recipe fast.

    FOLDER has one folder per class, or train/ and test/ (and val/) of these. It may
    also be a folder with names such as cat.0.jpg or with a table labels.csv, the
    table itself (file, label, perhaps split), a .zip or .tar file of all these, a
    Parquet file, or a list from check --fix. FILE#COLUMN names a column of labels.

    Networks: cifar_resnet20 and its family; resnet18:preactivation with another
    block of reslab's; cifar_resnet20:my_block.py:MyBlock with a block of your own;
    my_net.py:build for a whole network of your own, from a function with a
    parameter num_classes; torchvision:NAME; timm:NAME.

    A file of yours is run, and its text is kept with the run, to read. To resume,
    evaluate or predict, name it again: --network my_block.py:MyBlock

    Args:
        folder: photos with their classes, in one of the forms above
        network: resnet18, cifar_resnet20 or another of the family, torchvision:NAME, timm:NAME
        recipe: fast, finetune, paper, textbook, tutorial, or a .json or .toml file
        weights: imagenet, or a .safetensors or .pth file; FILE#ENTRY takes one entry of a checkpoint
        partial: load what fits, also from weights of another network
        run: a new folder for the run [runs/DATE-NETWORK]
        track: tensorboard or mlflow: send the figures of each epoch there, also when the run is resumed
        json: one JSON object per epoch, then the result, on standard output
    """
    start = time.monotonic()  # --time includes the import of torch
    changed = {name: value for name, value in settings.items() if value is not None}
    chosen = Recipe.load(recipe).with_settings(**changed)
    from reslab.training.runs.start import start_run

    say = _printer(json)
    options: dict[str, Any] = {"weights": weights, "partial": partial, "run": run, "track": track}
    new = start_run(folder, network, chosen, **options, progress=True, say=say, started=start, report=True)
    _train_to_the_end(new, json)


def resume(
    run: Path, /, *, photos: Path | None = None, network: str | None = None, json: Flag = False
) -> None:
    """Continue a run that was stopped or killed. The weights are the same as without the interruption.

    Example: reslab resume runs/first

    Example: reslab resume runs/first --photos /mnt/new/photos

    Photos that have moved, also to another computer, are matched by their content.
    The run records the new place, for evaluate and report, too.

    Args:
        run: the run folder
        photos: folder or archive that the photos have moved to
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object per epoch, then the result, on standard output
    """
    from reslab.training.runs.moved_photos import move_photos
    from reslab.training.runs.run import Run

    moved = Run(run)
    if photos is not None:
        move_photos(moved, photos, _printer(json))
    _train_to_the_end(moved, json, network)


def _train_to_the_end(run: Run, as_json: bool, network: str | None = None) -> None:
    """Train the remaining epochs of `run` and print each when it ends, then the files and next commands.

    A terminal also shows the curves. A run that ends here gets its report.

    Args:
        run: a new or stopped run. Its folder is written.
        as_json: print epochs and the result as JSON lines to standard output, and text to standard error.
        network: names the user's file again; not needed in the process that started the run.
    """
    from reslab.training.runs.resume import train_epochs

    say, was_finished = _printer(as_json), run.state == "finished"
    for epoch in train_epochs(run, network=network, progress=True, say=say):
        say(str(epoch))
        if as_json:
            write_line(json_.dumps(epoch.as_json()), sys.stdout)
    if was_finished:
        page = run.folder / "report.html"
        report = page if page.is_file() else None
    else:
        report = write_quick_report(run, say=say, network=network)
    if as_json:
        written = {} if report is None else {"report": str(report)}
        write_line(json_.dumps((run.result or {}) | written), sys.stdout)
        return
    show_curves(run)
    model, curves = (printable(str(run.folder / name)) for name in ("model.safetensors", "curves.png"))
    say(f"model:  {model}\ncurves: {curves}")
    if report is not None:
        say(f"report: {printable(str(report))}, a page about this training; open it in a browser")
    source = run.about.get("source") or run.about["photos"]
    folder, photos = (printable(shlex.quote(str(path))) for path in (run.folder, source))
    spec = run.spec
    own = "" if spec is None or spec.code is None else f" --network {printable(shlex.quote(spec.name))}"
    say(f"next:   reslab predict {folder} PHOTO...{own}   reslab evaluate {folder} {photos}{own}")


def _printer(as_json: bool) -> Callable[[str], None]:
    """Return `write_line` to standard error if `as_json`, else to standard output."""
    return lambda text: write_line(text, sys.stderr if as_json else sys.stdout)
