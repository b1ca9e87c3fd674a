"""The verb `runs`: a table of runs with their network, recipe, size, seed and accuracy"""

from __future__ import annotations

import json as json_
import os
import shlex
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.errors import ReslabError, UsageError
from reslab.text import printable, table, text_width

from .arguments import Flag
from .output import tell

if TYPE_CHECKING:
    from reslab.training.runs.run import Run

ACCURACY = "test accuracy"
TITLES = ("run", "network", "recipe", "size", "seed", "epochs", "val", ACCURACY, "minutes", "state")
ALIGN = "lllrrrrlrl"
UNTELLING = ("minutes", "val", "epochs", "state")  # left out first where a terminal is too narrow
SETTINGS = ("recipe", "size", "seed")  # named below the table where all runs have the same
MIN_WIDTHS = {"network": 16, "recipe": 12}  # columns of the terminal, to which they may be cut
GAP = 2


def runs(folder: Path = Path("runs"), /, *, json: Flag = False) -> None:
    """List all runs in a table: network, recipe, size, seed, accuracy with its 95 % interval, state.

    Example: reslab runs

    The recipe is the nearest preset with the settings that differ from it. A
    narrow terminal gets fewer columns. What is equal for all runs is left out
    first and stands below the table.

    A run with damaged files has the state broken. Its error goes to standard
    error, or with --json into its object.

    The trainings of a comparison are shown by reslab compare compare/NAME.

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
    _add_batch_sizes(rows)
    for row in rows:
        if json:
            print(json_.dumps(row))
        elif "error" in row:
            tell(f"note: {row['error']}")
    if json:
        return
    if not rows:
        print(_nothing(folder))
        return
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(fitting_table([_cells(row) for row in rows], columns))


def _nothing(folder: Path) -> str:
    shown = shlex.quote(str(folder))
    if (folder / "plan.json").is_file():  # its name in reslab.lab.plan, which imports torch
        return printable(f"{folder} is a comparison; see it: reslab compare {shown}")
    return printable(f"no runs in {folder} yet; start one: reslab train FOLDER")


def _summary(run: Run) -> dict[str, Any]:
    """Return the figures of a run, as `runs --json` prints them; accuracies are None before they exist.

    For a run with damaged files they are "run", "state" ("broken") and "error".
    """
    from reslab.training.recipe_name import nearest_preset

    try:
        best, result, recipe, about = run.best, run.result, run.recipe, run.about
        preset, changed = nearest_preset(recipe)
        if about.get("weights"):
            changed = {"weights": Path(about["weights"]).name, **changed}
        return {
            "run": str(run.folder),
            "network": about["network"],
            "recipe": preset,
            "changed": changed,
            "size": recipe.size,
            "seed": recipe.seed,
            "epochs_done": len(run.rows),
            "epochs": run.epochs,
            "val_accuracy": best and best["val_accuracy"],
            "test_accuracy": result and result["test_accuracy"],
            "test_interval": result and result.get("test_interval"),
            "seconds": run.seconds,
            "state": run.state,
            "photos": about["photos"],
            "batch_size": recipe.batch_size,
        }
    except ReslabError as error:
        return {"run": str(run.folder), "state": "broken", "error": f"{error.what}: {error.why}"}


def _add_batch_sizes(rows: list[dict[str, Any]]) -> None:
    """Count the batch size as a change of the recipe where runs on the same photos have different ones."""
    sizes: dict[str, set[int]] = defaultdict(set)
    readable = [row for row in rows if "error" not in row]
    for row in readable:
        sizes[row["photos"]].add(row["batch_size"])
    for row in readable:
        if len(sizes[row["photos"]]) > 1:
            row["changed"]["batch_size"] = row["batch_size"]


def _cells(row: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a run by column title."""
    from reslab.training.recipe_name import recipe_name

    if "error" in row:
        return dict.fromkeys(TITLES, "-") | {"run": row["run"], "state": row["state"]}
    val, test, interval = row["val_accuracy"], row["test_accuracy"], row["test_interval"]
    accuracy = "-" if test is None else f"{test:.3f}"
    if interval:
        accuracy += f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return {
        "run": row["run"],
        "network": row["network"],
        "recipe": recipe_name(row["recipe"], row["changed"]),
        "size": str(row["size"]),
        "seed": str(row["seed"]),
        "epochs": f"{row['epochs_done']}/{row['epochs']}",
        "val": "-" if val is None else f"{val:.3f}",
        ACCURACY: accuracy,
        "minutes": f"{row['seconds'] / 60:.1f}",
        "state": row["state"],
    }


def fitting_table(rows: list[dict[str, str]], columns: int | None) -> str:
    """Return the table, and a line with what is equal for all runs if it is not in the table.

    Args:
        rows: texts by column title.
        columns: of the terminal; None for a file or a pipe, which gets everything.
    """
    rows = [{title: printable(text) for title, text in row.items()} for row in rows]
    known = [row for row in rows if row["state"] != "broken"]
    same = {t: known[0][t] for t in SETTINGS if len(known) > 1 and len({row[t] for row in known}) == 1}
    shown, below = list(TITLES), []
    telling = [title for title in SETTINGS[::-1] if title not in same]
    for title in (*UNTELLING, *same, *telling):
        # names and recipes are cut before one of the columns that tell ideas apart is left out
        if columns is None or _width(rows, shown, least=title in telling) <= columns:
            break
        shown.remove(title)
        if title in same:
            below.append(f"{title} {same[title]}")
    if "state" not in shown:  # it takes the place of the accuracy that is missing
        rows = [row | {ACCURACY: row["state"]} if row[ACCURACY] == "-" else row for row in rows]
    if columns is not None:
        for title, least in MIN_WIDTHS.items():
            if title in shown:
                widest = max(text_width(row[title]) for row in rows)
                room = max(least, widest - max(0, _width(rows, shown) - columns))
                rows = [row | {title: _cut(row[title], room, keep_end=title == "network")} for row in rows]
    align = "".join(ALIGN[TITLES.index(title)] for title in shown)
    text = table(shown, [[row[title] for title in shown] for row in rows], align)
    return f"{text}\n\nall of them: {', '.join(below)}" if below else text


def _width(rows: list[dict[str, str]], titles: list[str], *, least: bool = False) -> int:
    """Return the columns of the terminal that a table takes; with `least` after all possible cuts."""
    widths = []
    for title in titles:
        widest = max(map(text_width, (title, *(row[title] for row in rows))))
        widths.append(min(widest, MIN_WIDTHS.get(title, widest)) if least else widest)
    return sum(widths) + GAP * (len(titles) - 1)


def _cut(text: str, width: int, *, keep_end: bool) -> str:
    if len(text) <= width:
        return text
    return f"…{text[1 - width :]}" if keep_end else f"{text[: width - 1]}…"
