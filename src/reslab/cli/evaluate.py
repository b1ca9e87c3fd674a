"""JUDGE: evaluate, predict."""

from __future__ import annotations

import csv
import json as json_
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from reslab.errors import UsageError
from reslab.text import table

from .arguments import Flag
from .main import tell

if TYPE_CHECKING:
    from reslab.evaluation.classifier import Prediction


def evaluate(model: Path, folder: Path, /, *, json: Flag = False, device: str = "auto") -> None:
    """Accuracy with its 95 % interval and per class, on every photo of a folder of classes.

    Example: reslab evaluate runs/first photos/test

    Photos that cannot be read are left out, counted and named.

    Parameters
    ----------
    model
        a run folder (its best model) or a model file
    folder
        a folder of classes, one with test/, or a list from reslab check --fix; for what a run was trained on,
        its own test split
    json
        one JSON object on standard output
    device
        auto, cpu, cuda, mps
    """
    from reslab.evaluation.classifier import Classifier
    from reslab.training.runs.train_overlap import photos_for

    classifier = Classifier.load(model, device=device)
    photos, notes = photos_for(model, folder)
    for note in notes:
        tell(f"note: {note}")
    evaluation = classifier.evaluate(photos)
    if json:
        print(json_.dumps(evaluation.as_json()), flush=True)
    else:
        print(f"{evaluation}\n\n{evaluation.table()}", flush=True)


def predict(
    model: Path,
    photos: Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)],
    /,
    *,
    json: Flag = False,
    csv: Flag = False,
    device: str = "auto",
) -> int:
    """What is on these photos: files, folders, globs, or - for a list on standard input, one path a line.

    Example: reslab predict runs/first cat.jpg holiday/ 'more/*.png'

    A photo that cannot be read gets a row with the reason, and the rest go on.

    From 256 photos on, a CPU may compute in bf16: logits within 2 % of the
    largest one, labels always the network's own.

    Parameters
    ----------
    model
        a run folder (its best model) or a model file
    photos
        files, folders, globs, or -
    json
        one JSON object a photo
    csv
        comma-separated, with a column per class
    device
        auto, cpu, cuda, mps
    """
    from reslab.evaluation.classifier import Classifier, expand

    for pattern in photos:  # a hyphen alone is let through, and with it what was meant as a flag
        if pattern.startswith("-") and pattern != "-" and not os.path.lexists(pattern):
            raise UsageError(f"there is no flag and no photo {pattern}", "", "see reslab predict --help")
    if "" in photos:
        raise UsageError(
            "an empty name among the photos", "it would mean the whole of this folder", "give . for that"
        )
    if json and csv:
        raise UsageError("--json and --csv at once", "one output has one form", "leave one of them away")
    classifier = Classifier.load(model, device=device)
    paths = expand(_listed(photos))
    if not paths:
        raise UsageError(f"no photos in {', '.join(photos)}", "", "give files, folders or globs")
    predictions = classifier.predict_all(paths)
    if json:
        answered = _write_json(predictions)
    elif csv:
        answered = _write_csv(predictions, classifier.classes)
    else:
        answered = _write_table(list(predictions))
    return 0 if answered else 2


def _listed(patterns: list[str]) -> list[str]:
    """The patterns, with - replaced by the lines of standard input."""
    out = []
    for pattern in patterns:
        if pattern == "-":
            out += [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip()]
        else:
            out.append(pattern)
    return out


def _write_json(predictions: Iterable[Prediction]) -> int:
    """Each as its batch is done; how many photos were answered."""
    answered = 0
    for prediction in predictions:
        print(json_.dumps(prediction.as_json()), flush=True)
        answered += prediction.error is None
    return answered


def _write_csv(predictions: Iterable[Prediction], classes: tuple[str, ...]) -> int:
    answered = 0
    plain = csv.writer(sys.stdout, lineterminator="\n")
    quoted = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL, lineterminator="\n")
    plain.writerow(["path", "label", "probability", *classes, "error"])
    for p in predictions:
        shares = [f"{p.probabilities[name]:.6f}" if p.probabilities else "" for name in classes]
        probability = "" if p.probability is None else f"{p.probability:.6f}"
        writer = quoted if "\r" in p.path else plain  # the plain one leaves it bare
        writer.writerow([p.path, p.label or "", probability, *shares, p.error or ""])
        sys.stdout.flush()
        answered += p.error is None
    return answered


def _write_table(predictions: list[Prediction]) -> int:
    rows = []
    for p in predictions:
        if p.error is not None:
            rows.append([p.path, "-", "", p.error])
        else:
            others = sorted(p.probabilities.items(), key=lambda item: -item[1])[1:3]
            rows.append(
                [p.path, p.label or "", f"{p.probability:.3f}", ", ".join(f"{n} {s:.3f}" for n, s in others)]
            )
    print(table(["photo", "label", "probability", "then"], rows, "llrl"), flush=True)
    failed = sum(p.error is not None for p in predictions)
    if failed:
        tell(f"{failed} of {len(predictions)} could not be read")
    return len(predictions) - failed
