"""report(): judge a trained classifier, and write a page, verdict.json and a model card."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from reslab.errors import UsageError
from reslab.pages.page import page_path, write_page
from reslab.training.progress import say as print_to_stderr
from reslab.training.runs.run import Run
from reslab.training.time_budget import MAX_REPORT_S

from . import card as model_card
from .effort import Effort
from .gather import gather
from .page import html
from .subject import Subject, find_subject
from .texts import LANGUAGES, load_texts

PAGE = "report.html"


@dataclass(frozen=True)
class Report:
    """Report that was written.

    `str` gives the sentences at the top of the page.

    Attributes:
        path: the page.
        verdict: every figure of the page, as in verdict.json.
        verdict_path: verdict.json.
        card_path: the model card; None if none was asked for.
        rows_path: the file that names every photo with its prediction.
        sentences: the result in plain language.
    """

    path: Path
    verdict: dict[str, Any] = field(repr=False)
    verdict_path: Path
    card_path: Path | None
    rows_path: Path
    sentences: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        return "\n".join(self.sentences)


def report(
    model: Run | Path | str,
    photos: Path | str | None = None,
    output: Path | str | None = None,
    *,
    thorough: bool = False,
    language: str = "en",
    card: bool = False,
    network: nn.Module | str | None = None,
    device: str = "auto",
    seconds: float | None = None,
    progress: bool = True,
    say: Callable[[str], Any] | None = None,
) -> Report:
    """Judge a trained classifier and write a page: how good it is, where it is wrong, where it looks.

    The page is one file that works offline. verdict.json next to it has every figure. The answers for a run's
    own test split are those of its training, from test.csv; other photos are evaluated.

    Args:
        model: a finished run, its folder, or a model file.
        photos: a folder of classes or a list; by default the run's own test split, or val if it has none.
        output: the page to write; by default report.html, in the run folder for the run's own photos, else in
            the current folder. With another name, such as first.html, the other files are called
            first-verdict.json and so on.
        thorough: search all training photos for the nearest ones, check every photo, and add corruptions and
            suspicious labels.
        language: "en" or "zh".
        card: also write card.md, a model card with the metadata that model hubs read.
        network: names the file again, "my_block.py:MyBlock", for a network of your own; or a module.
        device: auto, cpu, cuda or mps.
        seconds: time for the report, without the evaluation; by default a minute, and without a limit if
            `thorough`. Parts that would take longer are made smaller or left out, and the page names them.
        progress: show progress bars on a terminal.
        say: called with each line of text for people; prints to standard error by default.

    Returns:
        The paths of the written files, and the verdict.

    Raises:
        UsageError: the page cannot be written, the language is unknown, or a model file has no photos.
        RunError: the run is not finished, or damaged.
        ClassifierError: the model is damaged.
        NetworkError: the network is from a file of your own that `network` does not name.
        PhotosError: the photos cannot be used.
    """
    say = say or print_to_stderr
    if language not in LANGUAGES:
        do = f"choose one of {', '.join(LANGUAGES)}"
        raise UsageError(f"there is no report in the language '{language}'", "", do)
    if output is not None:
        output = page_path(Path(output), "-o report.html")
    subject = find_subject(model, photos, network=network, device=device, say=say)
    if output is None:
        folder = Path() if subject.run is None or subject.kind == "other" else subject.run.folder
        output = page_path(folder / PAGE, "-o report.html")
    limit = seconds if seconds is not None else math.inf if thorough else MAX_REPORT_S
    found = gather(subject, Effort(thorough, limit, time.monotonic(), progress), say)
    texts = load_texts(language)
    say("pictures")
    page = html(subject, found, texts)
    prefix = "" if output.name == PAGE else f"{output.stem}-"
    verdict_path = output.with_name(f"{prefix}verdict.json")
    write_page(verdict_path, json.dumps(found.verdict.as_json(), indent=2) + "\n")
    card_path = output.with_name(f"{prefix}card.md") if card else None
    if card_path is not None:
        write_page(card_path, model_card.markdown(found.verdict, subject.classifier.licence))
    rows_path = _rows(subject, output.with_name(f"{prefix}rows.csv"))
    write_page(output, page)
    sentences = (*texts.sentences(found.verdict), *texts.warnings(found.verdict))
    return Report(output, found.verdict.as_json(), verdict_path, card_path, rows_path, sentences)


def _rows(subject: Subject, path: Path) -> Path:
    """Return the file of the rows: the run's test.csv if it has them, else `path`, which is written."""
    if subject.rows_file is not None:
        return subject.rows_file
    try:
        subject.rows.write(path)
    except OSError as error:
        raise UsageError(f"{path} could not be written", error.strerror or "", "name another path") from error
    return path
