"""The verbs `evaluate` and `predict`."""

from __future__ import annotations

import csv
import json as json_
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from reslab.errors import UsageError
from reslab.text import printable, table

from .arguments import Flag, check_photo_names
from .output import check_writable, tell

if TYPE_CHECKING:
    from reslab.evaluation.classifier import Classifier, Prediction


def evaluate(
    model: Path,
    folder: Path,
    /,
    *,
    rows: Path | None = None,
    reject_below: float | None = None,
    save_model: Path | None = None,
    against: Path | None = None,
    corrupt: str | None = None,
    network: str | None = None,
    json: Flag = False,
    device: str = "auto",
) -> None:
    """Measure accuracy on a folder of classes: overall with a 95 % interval, by class, and where it is wrong.

    Example: reslab evaluate runs/first photos/test --rows rows.csv

    Photos that cannot be read are skipped, counted and named. For the folder that
    a run was trained on, this measures the run's own test split.

    Args:
        model: a run folder (its best model) or a model file
        folder: photos as train takes them; of those with test/, only these
        rows: write a CSV file with a row per photo: path, label, predicted, loss, probabilities
        reject_below: answer "not sure" where the best class has a lower probability, 0 to 1
        save_model: write the model with this threshold to a file, so that predict uses it
        against: a second run folder or model file, compared on the same photos
        corrupt: severities from 1 to 5, such as 3 or 1,3,5: also measure on photos corrupted in 15 ways
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object on standard output
        device: auto, cpu, cuda, mps
    """
    from reslab.evaluation.classifier import Classifier
    from reslab.evaluation.mcnemar import compare_rows
    from reslab.evaluation.summary import mcnemar_summary, summary
    from reslab.training.runs.train_overlap import evaluation_photos

    for flag, path in (("--rows", rows), ("--save-model", save_model)):
        if path:
            check_writable(flag, path)
    if save_model and reject_below is None:
        why = "the file is the model with a threshold"
        raise UsageError("--save-model without a threshold", why, "add --reject-below 0.9")
    severities = [] if corrupt is None else _severities(corrupt)
    classifier = Classifier.load(model, network=network, device=device)
    rival = Classifier.load(against, network=network, device=device) if against else None
    if rival and (missing := [name for name in classifier.classes if name not in rival.classes]):
        what = f"--against {against} does not know the class {printable(missing[0])}"
        raise UsageError(
            what, printable(f"it knows {', '.join(rival.classes)}"), "give a model of the same classes"
        )
    if reject_below is not None:
        classifier = replace(classifier, reject_below=reject_below)
    photos, notes = evaluation_photos(model, folder)
    for note in notes:
        tell(f"note: {note}")
    evaluation = classifier.evaluate(photos)
    result, text = evaluation.as_json(), summary(evaluation, rows)
    if rows:
        evaluation.rows.write(rows)
    if save_model:
        classifier.save(save_model)
        tell(f"model that is not sure below {classifier.reject_below:g}: {save_model}")
    if rival:
        comparison = compare_rows(evaluation.rows, rival.evaluate(photos).rows)
        result["against"] = {"model": str(against), **comparison.as_json()}
        text += "\n\n" + mcnemar_summary(comparison, str(model), str(against))
    if severities:
        from reslab.evaluation.robustness import evaluate_corrupted

        robustness = evaluate_corrupted(classifier, photos, severities)
        result["corruptions"] = robustness.as_json()
        text += f"\n\n{robustness.table()}\n{robustness}"
    print(json_.dumps(result) if json else text)


def _severities(text: str) -> list[int]:
    """Return the severities in text such as "1,3,5". Raise UsageError if one is not a number from 1 to 5."""
    numbers = text.split(",")
    if not set(numbers) <= set("12345"):
        raise UsageError(f"--corrupt {text}", "severities go from 1 to 5", "--corrupt 3, or --corrupt 1,3,5")
    return [int(number) for number in numbers]


def predict(
    model: Path,
    photos: Annotated[list[str], Parameter(negative=(), allow_leading_hyphen=True)],
    /,
    *,
    reject_below: float | None = None,
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
        reject_below: answer "not sure" where the best class has a lower probability, 0 to 1
        network: your file again, which is run, for a network of your own: my_block.py:MyBlock
        json: one JSON object per photo, with "sure": true or false if there is a threshold
        csv: comma-separated, with a column per class, and a column sure if there is a threshold
        device: auto, cpu, cuda, mps
    """
    from reslab.evaluation.classifier import Classifier
    from reslab.evaluation.intervals import few_test_photos_note
    from reslab.evaluation.photo_paths import expand_paths, unused_in

    check_photo_names("predict", photos, "-")
    if json and csv:
        raise UsageError("--json and --csv together", "the output has one format", "leave one of them out")
    classifier = Classifier.load(model, network=network, device=device)
    if reject_below is not None:
        classifier = replace(classifier, reject_below=reject_below)
    listed = _listed(photos)
    for unused in unused_in(listed):
        tell(f"note: {unused}")
    paths = expand_paths(listed)
    if not paths:
        raise UsageError(f"no photos in {', '.join(photos)}", "", "give files, folders or globs")
    if note := few_test_photos_note(classifier.figures):
        tell(f"note: {note}")
    predictions = classifier.predict_all(paths)
    if json:
        readable = _write_json(predictions)
    elif csv:
        readable = _write_csv(predictions, classifier)
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


def _write_csv(predictions: Iterable[Prediction], classifier: Classifier) -> int:
    readable, has_threshold = 0, classifier.reject_below > 0
    plain = csv.writer(sys.stdout, lineterminator="\n")
    quoted = csv.writer(sys.stdout, quoting=csv.QUOTE_ALL, lineterminator="\n")
    sure_column = ["sure"] if has_threshold else []
    plain.writerow(["path", "label", "probability", *sure_column, *classifier.classes, "error"])
    for p in predictions:
        by_class = [f"{p.probabilities[name]:.6f}" if p.probabilities else "" for name in classifier.classes]
        probability = "" if p.probability is None else f"{p.probability:.6f}"
        sure = ["" if p.sure is None else "true" if p.sure else "false"] if has_threshold else []
        writer = quoted if "\r" in p.path else plain  # with this lineterminator, \r alone is not quoted
        writer.writerow([p.path, p.label or "", probability, *sure, *by_class, p.error or ""])
        sys.stdout.flush()
        readable += p.error is None
    return readable


def _write_table(predictions: list[Prediction]) -> int:
    rows = []
    for p in predictions:
        if p.error is not None:
            rows.append([p.path, "-", "", p.error])
        else:
            ranked = sorted(p.probabilities.items(), key=lambda item: -item[1])
            label, others = (p.label or "", ranked[1:3]) if p.sure is not False else ("not sure", ranked[:3])
            then = ", ".join(f"{name} {probability:.3f}" for name, probability in others)
            rows.append([p.path, label, f"{p.probability:.3f}", then])
    print(table(["photo", "label", "probability", "then"], rows, "llrl"), flush=True)
    failed = sum(p.error is not None for p in predictions)
    if failed:
        tell(f"{failed} of {len(predictions)} could not be read")
    return len(predictions) - failed
