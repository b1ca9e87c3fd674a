"""TRAIN: demo, train, resume, runs."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from reslab.errors import ReslabError, UsageError
from reslab.text import printable, table
from reslab.training.recipe import Recipe

from .arguments import Flag, whole_number
from .main import heard_or_not, tell


def _recipe_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives `command` a flag for every field of Recipe, made from the field itself."""
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    flags = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                field.annotation | None,  # type: ignore[operator]
                Parameter(
                    help=_help(name),
                    consume_multiple=True,
                    show_default=False,
                    converter=whole_number if field.annotation in (int, int | None) else None,
                ),
            ],
        )
        for name, field in Recipe.model_fields.items()
    ]
    command.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *flags]}
    return command


def _help(name: str) -> str:
    field = Recipe.model_fields[name]
    default = field.default
    shown = "" if default is None or default == () else f" [{default}]"
    return f"{field.description}{shown}"


@_recipe_flags
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
    """A folder of photos becomes a trained, measured network.

    Example: reslab train photos --epochs 10 --size 128 --run runs/first

    Photos that cannot be read are named and left out, in all splits. Every flag from --epochs on is a setting
    of the recipe and changes it; in brackets what recipe fast has.

    Parameters
    ----------
    folder
        train/ and test/ (and val/) with one folder per class, one folder of classes, or a list of photos from
        reslab check --fix
    network
        resnet18 ... resnet152, cifar_resnet20 ..., textbook_resnet18, or torchvision:NAME
    recipe
        fast, finetune, paper, textbook, tutorial, or a .json or .toml file
    weights
        imagenet, or a .safetensors or .pth file
    run
        where the run goes; must not exist yet [runs/DATE-NETWORK]
    json
        one JSON object an epoch, then the result, on standard output
    """
    began = time.monotonic()  # whoever gives a time means the importing of torch, too
    changed = {name: value for name, value in settings.items() if value is not None}
    chosen = Recipe.load(recipe).with_settings(**changed)
    from reslab.training.runs.run import Run
    from reslab.training.runs.start import begin

    say = speaker(json)
    begun = begin(folder, network, chosen, weights=weights, run=run, progress=True, say=say, began=began)
    _go_on(Run(begun.folder), json)


def resume(run: Path, /, *, json: Flag = False) -> None:
    """Go on with a run that was stopped or killed, to the same bits as if it had never been.

    Example: reslab resume runs/first

    Parameters
    ----------
    run
        its folder
    json
        one JSON object an epoch, then the result, on standard output
    """
    from reslab.training.runs.run import Run

    _go_on(Run(run), json)


def runs(folder: Path = Path("runs"), /, *, json: Flag = False) -> None:
    """Every run in a table: name, network, epochs, best accuracy, duration, state.

    Example: reslab runs

    Parameters
    ----------
    folder
        where the runs lie
    json
        one JSON object a run
    """
    from reslab.training.runs.run import find_runs

    if not os.path.isdir(folder):  # not Path's own, which fails where a folder above is closed to us
        raise UsageError(
            f"there is no folder {folder} that may be looked into",
            "runs go to runs/ unless told otherwise",
            "reslab runs DIR",
        )
    rows = [_summary(run) for run in find_runs(folder)]
    for row in rows:
        if json:
            print(_dumps(row))
        elif "error" in row:
            tell(f"note: {row['error']}")
    if json:
        return
    if not rows:
        print(f"no runs in {printable(str(folder))} yet; begin one: reslab train FOLDER")
        return
    header = ["run", "network", "epochs", "val accuracy", "test accuracy", "minutes", "state"]
    print(table(header, [_cells(row) for row in rows], "llrrrrl"))


def _summary(run: Any) -> dict[str, Any]:
    """A row of the table; of a run whose files are damaged, what is wrong with them."""
    try:
        return _figures(run)
    except ReslabError as error:
        return {"run": str(run.folder), "state": "broken", "error": f"{error.what}: {error.why}"}


def _figures(run: Any) -> dict[str, Any]:
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


def _cells(row: dict[str, Any]) -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    if "error" in row:
        return [row["run"], "-", "-", "-", "-", "-", row["state"]]
    epochs = f"{row['epochs_done']}/{row['epochs']}"
    minutes = f"{row['seconds'] / 60:.1f}"
    accuracies = [share(row["val_accuracy"]), share(row["test_accuracy"])]
    return [row["run"], row["network"], epochs, *accuracies, minutes, row["state"]]


def demo(*, folder: Path = Path("reslab-demo")) -> None:
    """The whole way on an embedded set of drawn cats and dogs: train, measure, predict, in a few minutes.

    Example: reslab demo

    Parameters
    ----------
    folder
        where the drawings and the runs go
    """
    from .demo import run_demo

    run_demo(folder)


def _go_on(run: Any, as_json: bool) -> None:
    """Trains to the end and prints every epoch as it is done; on a terminal the curves at the end."""
    from reslab.training.runs.resume import epochs_of

    say, answer = speaker(as_json), speaker(as_json=False)
    for epoch in epochs_of(run, progress=True, say=say):
        say(str(epoch))
        if as_json:
            answer(_dumps(epoch.as_json()))
    if as_json:
        answer(_dumps(run.result))
        return
    show_curves(run)
    model, curves = (printable(str(run.folder / name)) for name in ("model.safetensors", "curves.png"))
    say(f"model:  {model}\ncurves: {curves}")
    folder, photos = (printable(shlex.quote(str(path))) for path in (run.folder, run.about["photos"]))
    say(f"next:   reslab predict {folder} PHOTO...   reslab evaluate {folder} {photos}")


def show_curves(run: Any) -> None:
    """The curves as a drawing of letters, where there is a terminal to show it."""
    if not sys.stdout.isatty() or not run.rows:
        return
    from reslab.plots.canvas import Canvas

    history = run.history
    canvas = Canvas()
    with canvas:
        canvas.draw_plot([history["train_loss"], history["val_loss"]])
        canvas.draw_plot([history["val_accuracy"]])


def speaker(as_json: bool) -> Callable[[str], None]:
    """Where lines for people go: standard output, or standard error if that belongs to JSON."""
    from tqdm import tqdm

    def say(text: str) -> None:
        file = sys.stderr if as_json else sys.stdout
        with heard_or_not(file):  # a training is worth its files, also if nobody reads along any more
            tqdm.write(text, file=file)

    return say


def _dumps(value: Any) -> str:
    return json.dumps(value)
