"""Text of an evaluation for a terminal: figures, confusions, wrong photos, calibration, coverage."""

from __future__ import annotations

from reslab.text import printable, table

from .coverage import Coverage
from .intervals import WIDE_INTERVAL, accuracy_interval, few_photos_note
from .mcnemar import McNemar
from .metrics import Evaluation
from .rows import PhotoRows

MAX_CONFUSIONS = 5
MAX_NAMED_PHOTOS = 10


def summary(evaluation: Evaluation) -> str:
    """Return the text of an evaluation: paragraphs, with the accuracy in the first line.

    Args:
        evaluation: figures of a classifier.
    """
    paragraphs = [
        _first_lines(evaluation),
        evaluation.table(),
        _confusions(evaluation),
        _mistakes(evaluation.rows),
        _calibration(evaluation),
        _coverage(evaluation),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _first_lines(evaluation: Evaluation) -> str:
    parts = [f"balanced accuracy {evaluation.balanced_accuracy:.3f}"]
    if evaluation.top5_accuracy is not None:
        parts.append(f"label among the first five {evaluation.top5_accuracy:.3f}")
    if evaluation.roc_auc is not None:
        parts.append(f"area under the ROC curve {evaluation.roc_auc:.3f}")
    return "\n".join([str(evaluation), "; ".join(parts), *few_photos_notes(evaluation)])


def few_photos_notes(evaluation: Evaluation) -> list[str]:
    """Return a line if the accuracy, or else the recall of a class, rests on few photos; [] if none does.

    For classes, the line names the one with the widest interval and counts the others.
    """
    if note := few_photos_note(evaluation.accuracy, evaluation.photos):
        return [note]
    widths = dict[str, float]()
    for name, figures in evaluation.per_class.items():
        if figures.recall is not None:
            low, high = accuracy_interval(figures.recall * figures.photos, figures.photos)
            widths[name] = high - low
    wide = [name for name, width in widths.items() if width > WIDE_INTERVAL]
    if not wide:
        return []
    widest = max(wide, key=lambda name: widths[name])
    figures = evaluation.per_class[widest]
    note = few_photos_note(figures.recall or 0.0, figures.photos, f"recall of {printable(widest)}")
    more = f" (and {len(wide) - 1} more classes)" if len(wide) > 2 else " (and one more class)"
    return [f"{note}{more if len(wide) > 1 else ''}"]


def _confusions(evaluation: Evaluation) -> str:
    lines = [
        f"  {pair.photos:,} of {evaluation.per_class[pair.label].photos:,} photos of {pair.label} "
        f"taken for {pair.predicted}"
        for pair in evaluation.confusions()[:MAX_CONFUSIONS]
    ]
    return "\n".join(["most frequent confusions", *map(printable, lines)]) if lines else ""


def _mistakes(rows: PhotoRows) -> str:
    if not len(rows.mistakes):
        return ""
    cells = [
        [
            rows.paths[i],
            rows.classes[rows.labels[i]],
            rows.classes[rows.predicted[i]],
            f"{rows.confidence[i]:.3f}",
        ]
        for i in rows.mistakes[:MAX_NAMED_PHOTOS].tolist()
    ]
    wrong = len(rows.mistakes)
    last = f"{wrong:,} of {len(rows):,} photos are wrong"
    if wrong > MAX_NAMED_PHOTOS:
        last = f"the surest {MAX_NAMED_PHOTOS} of {wrong:,} wrong photos"
    header = ["wrong photo, the surest first", "label", "predicted", "probability"]
    return f"{table(header, cells, 'lllr')}\n{last}; --rows FILE.csv writes a row for every photo"


def _calibration(evaluation: Evaluation) -> str:
    error, rows = evaluation.calibration_error, evaluation.rows
    gap = float(rows.confidence.mean()) - evaluation.accuracy
    if error <= evaluation.calibration_noise_high:
        verdict = "so the probabilities can be taken at their word"
    elif abs(gap) < error / 2:
        verdict = "so some probabilities are too high and others too low"
    else:
        verdict = f"so the probabilities are too {'high' if gap > 0 else 'low'}, by {abs(gap):.3f} on average"
    return (
        f"calibration error {error:.3f}; chance alone gives a perfect network "
        f"{evaluation.calibration_noise:.3f} on as many photos, and up to "
        f"{evaluation.calibration_noise_high:.3f}, {verdict}"
    )


def _coverage(evaluation: Evaluation) -> str:
    lines = list[str]()
    if evaluation.rejection:
        lines.append(rejection_line(evaluation.rejection))
    shown = [point for point in evaluation.coverage if point.accuracy is not None]
    cells = [
        [
            f"{point.reject_below:g}",
            f"{point.photos:,}",
            f"{point.coverage:.3f}",
            f"{point.accuracy:.3f}",
            f"[{point.accuracy_low:.3f}, {point.accuracy_high:.3f}]",
        ]
        for point in shown
    ]
    if len(cells) > 1:
        header = ["not sure below", "photos left", "coverage", "accuracy", "interval"]
        lines.append(table(header, cells, "rrrrl"))
    return "\n\n".join(lines)


def rejection_line(rejection: Coverage) -> str:
    """Return what rejecting the less sure answers leaves: coverage, and accuracy with its interval."""
    if rejection.accuracy is None:
        return f"not sure below {rejection.reject_below:g}: no photo is left"
    return (
        f"not sure below {rejection.reject_below:g}: {rejection.photos:,} photos are left, "
        f"coverage {rejection.coverage:.3f}, with accuracy {rejection.accuracy:.3f} "
        f"[{rejection.accuracy_low:.3f}, {rejection.accuracy_high:.3f}]"
    )


def mcnemar_summary(comparison: McNemar, first: str, second: str) -> str:
    """Return the text of a comparison: accuracies, counts, the test, and the photos that differ.

    Args:
        comparison: of two classifiers.
        first: name of the first one.
        second: name of the second one.
    """
    c = comparison
    accuracies = [(c.both_correct + only) / c.photos for only in (c.only_first, c.only_second)]
    lines = [
        printable(f"accuracy {accuracies[0]:.3f} of {first} and {accuracies[1]:.3f} of {second}"),
        f"difference {c.difference:+.3f} [{c.difference_low:+.3f}, {c.difference_high:+.3f}], "
        f"p {c.p_value:.3g} (McNemar's exact test)",
        f"only the first is right on {c.only_first:,} photos, only the second on {c.only_second:,}, "
        f"both on {c.both_correct:,}, neither on {c.both_wrong:,}",
        _verdict(c),
    ]
    rows = c.as_json()["differing"]
    if not rows:
        return "\n".join(lines)
    cells = [[row["path"], row["label"], row["predicted"], row["other"]] for row in rows[:MAX_NAMED_PHOTOS]]
    header = ["photo that they differ on", "label", "the first says", "the second says"]
    last = f"they differ on {len(rows):,} photos"
    if len(rows) > MAX_NAMED_PHOTOS:
        last += f", of which {MAX_NAMED_PHOTOS} are shown; --json lists all of them"
    return "\n".join([*lines, "", table(header, cells), last])


def _verdict(comparison: McNemar) -> str:
    if comparison.p_value >= 0.05:
        return "this does not show a difference on these photos"
    better = "first" if comparison.difference > 0 else "second"
    return f"the {better} is better on photos like these; another training may end differently"
