"""Text of an evaluation for a terminal: figures, confusions, wrong photos, calibration, coverage."""

from __future__ import annotations

from pathlib import Path

from reslab.text import printable, table

from .coverage import Coverage
from .intervals import WIDE_INTERVAL, few_photos_note, interval_width
from .mcnemar import McNemar
from .metrics import Evaluation
from .rows import PhotoRows

MAX_CONFUSIONS = 5
MAX_NAMED_PHOTOS = 10


def summary(evaluation: Evaluation, rows_file: Path | None = None) -> str:
    """Return the text of an evaluation: paragraphs, with the accuracy in the first line.

    Args:
        evaluation: figures of a classifier.
        rows_file: file that has its rows; None if they are not written.
    """
    paragraphs = [
        _first_lines(evaluation),
        evaluation.table(),
        _confusions(evaluation),
        _mistakes(evaluation.rows, rows_file),
        _calibration(evaluation),
        _coverage(evaluation),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def _first_lines(evaluation: Evaluation) -> str:
    parts = [f"balanced accuracy {evaluation.balanced_accuracy:.3f}"]
    if evaluation.top5_accuracy is not None:
        parts.append(f"top-5 accuracy {evaluation.top5_accuracy:.3f}")
    if evaluation.roc_auc is not None:
        parts.append(f"area under the ROC curve {evaluation.roc_auc:.3f}")
    notes = [*_guessing_note(evaluation), *few_photos_notes(evaluation)]
    return "\n".join([str(evaluation), "; ".join(parts), *notes])


def _guessing_note(evaluation: Evaluation) -> list[str]:
    """Return a line if the accuracy may be that of always answering the largest class; else []."""
    largest, share = evaluation.rows.most_frequent
    if evaluation.accuracy_low > share or share == 1:
        return []
    return [
        printable(f"not shown to be better than always answering {largest}, which is right for {share:.3f}")
    ]


def few_photos_notes(evaluation: Evaluation) -> list[str]:
    """Return a line if the accuracy, or else the recall of a class, rests on few photos; [] if none does.

    For classes, the line names the one with the widest interval and counts the others.
    """
    if note := few_photos_note(evaluation.accuracy, evaluation.photos):
        return [note]
    widths = {
        name: interval_width(figures.recall, figures.photos)
        for name, figures in evaluation.per_class.items()
        if figures.recall is not None
    }
    wide = [name for name, width in widths.items() if width > WIDE_INTERVAL]
    if not wide:
        return []
    widest = max(wide, key=lambda name: widths[name])
    figures = evaluation.per_class[widest]
    note = few_photos_note(figures.recall or 0.0, figures.photos, f"recall of {printable(widest)}")
    others = {1: "", 2: "; one more class has as few"}
    return [f"{note}{others.get(len(wide), f'; {len(wide) - 1} more classes have as few')}"]


def _confusions(evaluation: Evaluation) -> str:
    lines = [
        f"  {pair.photos:,} of {evaluation.per_class[pair.label].photos:,} photos of {pair.label} "
        f"taken for {pair.predicted}"
        for pair in evaluation.confusions()[:MAX_CONFUSIONS]
    ]
    return "\n".join(["most frequent confusions", *map(printable, lines)]) if lines else ""


def _mistakes(rows: PhotoRows, rows_file: Path | None) -> str:
    wrong = len(rows.mistakes)
    where = f"{rows_file} has" if rows_file else "--rows FILE.csv writes"
    last = f"wrong photos: {wrong:,} of {len(rows):,}; {where} a row for every photo"
    if not wrong:
        return last
    cells = [
        [
            rows.paths[i],
            rows.classes[rows.labels[i]],
            rows.classes[rows.predicted[i]],
            f"{rows.confidence[i]:.3f}",
        ]
        for i in rows.mistakes[:MAX_NAMED_PHOTOS].tolist()
    ]
    header = ["wrong photo, the surest first", "label", "predicted", "probability"]
    return f"{table(header, cells, 'lllr')}\n{printable(last)}"


def _calibration(evaluation: Evaluation) -> str:
    error, high = evaluation.calibration_error, evaluation.calibration_noise_high
    gap = float(evaluation.rows.confidence.mean()) - evaluation.accuracy
    text = f"calibration error {error:.3f}, {'more' if error > high else 'no more'} than chance"
    if error > high and abs(gap) > error / 2:
        text += f"; the probabilities are too {'high' if gap > 0 else 'low'}, by {abs(gap):.3f} on average"
    noise = f"{evaluation.calibration_noise:.3f} on as many photos, and rarely over {high:.3f}"
    return f"{text}\na perfectly calibrated network would show about {noise}"


def _coverage(evaluation: Evaluation) -> str:
    lines = list[str]()
    if evaluation.rejection:
        lines.append(_rejection_line(evaluation.rejection))
    cells = [
        [
            f"{point.reject_below:g}",
            f"{point.photos:,}",
            f"{point.coverage:.3f}",
            f"{point.accuracy:.3f}",
            f"[{point.accuracy_low:.3f}, {point.accuracy_high:.3f}]",
        ]
        for point in evaluation.coverage[1:]
    ]
    if cells:
        header = ["--reject-below", "photos left", "coverage", "accuracy", "interval"]
        lines.append(table(header, cells, "rrrrl"))
    return "\n\n".join(lines)


def _rejection_line(rejection: Coverage) -> str:
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
