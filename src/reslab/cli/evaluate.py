"""The verbs `evaluate` and `predict`."""

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
from .output import tell

if TYPE_CHECKING:
    from reslab.evaluation.classifier import Prediction


def evaluate(
    model: Path,
    folder: Path,
    /,
    *,
    network: str | None = None,
    json: Flag = False,
    device: str = "auto",
) -> None:
    """Measure accuracy on a folder of classes: overall with a 95 % interval, and by class.

    Example: reslab evaluate runs/first photos/test

    Photos that cannot be read are skipped, counted and named. For the folder that
    a run was trained on, this measures the run's own test split.

    Args:
        model: a run folder (its best model) or a model file
        folder: a folder of classes, one with test/, or a list from reslab check --fix
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object on standard output
        device: auto, cpu, cuda, mps
    """
    from reslab.evaluation.classifier import Classifier
    from reslab.training.runs.train_overlap import evaluation_photos

    classifier = Classifier.load(model, network=network, device=device)
    photos, notes = evaluation_photos(model, folder)
    for note in notes:
        tell(f"note: {note}")
    evaluation = classifier.evaluate(photos)
    print(json_.dumps(evaluation.as_json()) if json else f"{evaluation}\n\n{evaluation.table()}")


def predict(
    model: Path,
    photos: Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)],
    /,
    *,
    network: str | None = None,
    json: Flag = False,
    csv: Flag = False,
    device: str = "auto",
) -> int:
    """Classify photos: files, folders, globs, or - for a list on standard input, one path per line.

    Example: reslab predict runs/first cat.jpg holiday/ 'more/*.png'

    A photo that cannot be read gets a row with the reason. The exit code is 0 if
    at least one photo could be read, else 2.

    From 256 photos on, a CPU may compute in bf16: logits within 2 % of the
    largest one, labels always the network's own.

    Args:
        model: a run folder (its best model) or a model file
        photos: files, folders, globs, or -
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object per photo
        csv: comma-separated, with a column per class
        device: auto, cpu, cuda, mps
    """
    from reslab.evaluation.classifier import Classifier
    from reslab.evaluation.photo_paths import expand_paths

    for pattern in photos:  # allow_leading_hyphen lets - through, and mistyped flags with it
        if pattern.startswith("-") and pattern != "-" and not os.path.lexists(pattern):
            raise UsageError(f"there is no flag and no photo {pattern}", "", "see reslab predict --help")
    if "" in photos:
        raise UsageError(
            "an empty name among the photos", "it would mean this whole folder", "give . for this folder"
        )
    if json and csv:
        raise UsageError("--json and --csv together", "the output has one format", "leave one of them out")
    classifier = Classifier.load(model, network=network, device=device)
    paths = expand_paths(_listed(photos))
    if not paths:
        raise UsageError(f"no photos in {', '.join(photos)}", "", "give files, folders or globs")
    predictions = classifier.predict_all(paths)
    if json:
        readable = _write_json(predictions)
    elif csv:
        readable = _write_csv(predictions, classifier.classes)
    else:
        readable = _write_table(list(predictions))
    return 0 if readable else 2


def _listed(patterns: list[str]) -> list[str]:
    """Return the patterns with each - replaced by the lines of standard input that are not blank."""
    out = []
    for pattern in patterns:
        if pattern == "-":
            out += [os.fsdecode(line.rstrip(b"\r\n")) for line in sys.stdin.buffer if line.strip()]
        else:
            out.append(pattern)
    return out


def _write_json(predictions: Iterable[Prediction]) -> int:
    """Print one JSON object per line, each when its batch is done. Return the number of readable photos."""
    readable = 0
    for prediction in predictions:
        print(json_.dumps(prediction.as_json()), flush=True)
        readable += prediction.error is None
    return readable


def _write_csv(predictions: Iterable[Prediction], classes: tuple[str, ...]) -> int:
    readable = 0
    plain = csv.writer(sys.stdout, lineterminator="\n")
    quoted = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL, lineterminator="\n")
    plain.writerow(["path", "label", "probability", *classes, "error"])
    for p in predictions:
        by_class = [f"{p.probabilities[name]:.6f}" if p.probabilities else "" for name in classes]
        probability = "" if p.probability is None else f"{p.probability:.6f}"
        writer = quoted if "\r" in p.path else plain  # with this lineterminator, \r alone is not quoted
        writer.writerow([p.path, p.label or "", probability, *by_class, p.error or ""])
        sys.stdout.flush()
        readable += p.error is None
    return readable


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
