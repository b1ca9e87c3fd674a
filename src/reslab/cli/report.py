"""The verb `report`: a page that judges a trained classifier, with verdict.json and a model card."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from reslab.errors import ReslabError
from reslab.text import printable

from .arguments import Flag
from .output import tell

if TYPE_CHECKING:
    from reslab.training.runs.run import Run


def report(
    model: Path,
    folder: Path | None = None,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    thorough: Flag = False,
    lang: Literal["en", "zh"] = "en",
    card: Flag = False,
    network: str | None = None,
    json: Flag = False,
    device: str = "auto",
) -> None:
    """Judge a trained classifier, on a page: how good it is, where it is wrong, where it looks.

    Example: reslab report runs/first

    Example: reslab report runs/first --thorough --card -o first.html

    Training writes the quick report by itself. It is one file that works offline.
    Next to it, verdict.json has every figure of the page.

    Args:
        model: a finished run, or a model file
        folder: photos as train takes them [the run's own test split]
        output: the page; an existing one is replaced [report.html in the run folder]
        thorough: search all training photos, check all photos, add corruptions and suspicious labels
        lang: language of the page: en or zh
        card: also write card.md, a model card with the metadata that model hubs read
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: verdict.json on standard output, too
        device: auto, cpu, cuda, mps
    """
    from reslab.pages.report.report import report as write_report

    made = write_report(
        model,
        folder,
        output,
        thorough=thorough,
        language=lang,
        card=card,
        network=network,
        device=device,
        say=tell,
    )
    if json:
        print(made.verdict_path.read_text(encoding="utf-8"), end="")
        return
    print(f"{made}\n")
    megabytes = os.path.getsize(made.path) / 1e6
    print(f"page: {printable(str(made.path))} ({megabytes:.1f} MB), one file; open it in a browser")
    print(f"figures: {printable(str(made.verdict_path))}")
    print(f"photos: {printable(str(made.rows_path))}, a row for each photo")
    if made.card_path is not None:
        print(f"card: {printable(str(made.card_path))}")
    if not thorough:
        words = [str(word) for word in (model, folder) if word is not None]
        own = "" if network is None else f" --network {shlex.quote(network)}"
        print(f"next: reslab report {printable(shlex.join(words))}{own} --thorough")


def write_quick_report(run: Run, *, say: Callable[[str], Any], network: str | None) -> Path | None:
    """Write the quick report of a run that has just ended, and return its path.

    An error becomes one line of warning, and the result is None. The run stays finished.

    Args:
        say: called with each line of text for people.
        network: names the user's file again; not needed in the process that started the run.
    """
    from reslab.pages.report.report import report as write_report
    from reslab.training.time_budget import report_seconds

    say("writing the report; Ctrl-C leaves it out")
    try:
        seconds = report_seconds(run.recipe)
        return write_report(run, network=network, seconds=seconds, say=lambda text: None).path
    except KeyboardInterrupt:
        say("no report; the run is finished")
        return None
    except Exception as error:  # noqa: BLE001  a mistake in a page must not look like a failed training
        why = (
            f"{error.what}: {error.why}"
            if isinstance(error, ReslabError)
            else f"{type(error).__name__}: {error}"
        )
        folder = shlex.quote(str(run.folder))
        say(f"WARNING: no report: {printable(why)}; try reslab report {folder}")
        return None
