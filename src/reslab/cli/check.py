"""The verb `check`: find problems in a folder of photos."""

from __future__ import annotations

import json as json_
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from reslab.errors import UsageError

from .arguments import Flag
from .output import check_writable, tell


def check(
    folder: Path,
    /,
    *,
    fix: Path | None = None,
    report: Path | None = None,
    truncated: Literal["refuse", "keep"] = "refuse",
    model: Path | None = None,
    labels: Path | None = None,
    network: str | None = None,
    device: str = "auto",
    json: Flag = False,
) -> int:
    """Find problems in a folder of photos: bad files, duplicates, leaks between splits, classes, names.

    Example: reslab check photos --report check.html

    Example: reslab check photos --fix list.jsonl; reslab train list.jsonl

    Example: reslab check photos --model runs/first --labels labels.csv

    This reads every photo and changes none. A second check decodes only new photos.
    The exit code is 1 if a finding would spoil a training, else 0. With --fix it is
    1 if the list still has such a finding.

    The list leaves out photos that cannot be decoded, both sides of contradictions,
    leaked copies outside of test, and duplicates.

    With --model, the labels are ranked, too: those of photos that resemble another
    class come first. A wrong label is there, or an unusual photo.

    Args:
        folder: photos as train takes them: a folder, table, .zip, .tar or Parquet file, or a list from --fix
        fix: write a new file that lists the photos to use, for train and evaluate
        report: write a page that explains every finding, with photos; an existing one is replaced
        truncated: keep: use the part of a JPEG that is there, as train does with the same flag
        model: a run folder or a model file, whose network compares the photos for the ranking of labels
        labels: with --model, write the ranking of all labels as a CSV file
        network: your file again, which is run, for a model of your own network: my_block.py:MyBlock
        device: of the model: auto, cpu, cuda, mps
        json: one JSON object with every finding on standard output
    """
    from reslab.files import user_path
    from reslab.pages import check_report
    from reslab.pages.page import page_path
    from reslab.photos.checking.check import check as check_photos
    from reslab.photos.checking.fix import fix as write_fixed
    from reslab.photos.folder import list_file
    from reslab.text import printable

    if model is None and labels is not None:
        raise UsageError("--labels without --model", "the network of a model ranks labels", "add --model RUN")
    if labels is not None:
        labels = user_path(labels)
        check_writable("--labels", labels)
    classifier = None
    if model is not None:  # torch is imported only here
        from reslab.evaluation.classifier import Classifier

        classifier = Classifier.load(model, network=network, device=device)
    page = None if report is None else page_path(report, "--report check.html")
    if fix is not None:
        fix = user_path(fix)
        list_file.check_new(fix)
    checked = check_photos(folder, truncated=truncated)
    if page is not None:
        check_report.write(checked, page)
    fixed = None if fix is None else write_fixed(checked, fix)
    ranking = None
    if classifier is not None:
        from reslab.explanation.label_ranking import rank_photo_labels

        ranking = rank_photo_labels(classifier, folder, progress=True)
        if labels is not None:
            ranking.write(labels)
    say: Callable[[str], None] = tell if json else print
    if json:
        ranked = {} if ranking is None else {"labels_to_look_at": ranking.as_json()}
        print(json_.dumps(checked.as_json() | ranked), flush=True)
    else:
        print(f"{checked}\n" if ranking is None else f"{checked}\n\n{ranking}\n")
    if labels is not None:
        say(f"labels: {printable(str(labels))}")
    if page is not None:
        say(f"page: {printable(str(page))} ({page.stat().st_size / 1e6:.1f} MB), one file")
    if fixed is not None:
        say(f"list: {fixed}")
    spoils = checked.spoils_training if fixed is None else fixed.spoils_training
    source = printable(shlex.quote(str(folder if fix is None else fix)))
    source += " --truncated keep" if truncated == "keep" else ""
    if spoils and fixed is not None:
        say("next:  fix the findings that a list cannot fix, then check again")
    elif spoils and not json:
        say(f"next:  fix what spoils a training, or leave it out: reslab check {source} --fix LIST")
    elif not json or fixed is not None:
        say(f"next:  reslab train {source}")
    return int(spoils)
