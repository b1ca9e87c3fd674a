"""Text of an evaluation: what it names, what it leaves out, and what it calls few or uncertain."""

from pathlib import Path

import numpy as np
import pytest

from reslab.evaluation.metrics import Evaluation, evaluate_rows
from reslab.evaluation.rows import PhotoRows
from reslab.evaluation.summary import few_photos_notes, summary


def evaluated(photos: int, scale: float = 1.0, classes: str = "ab", wrong: float = 0.2) -> Evaluation:
    """Return figures of a network that is sure by `scale` and wrong on a fraction of the photos."""
    labels = np.arange(photos) % len(classes)
    predicted = np.where(np.arange(photos) < wrong * photos, (labels + 1) % len(classes), labels)
    logits = scale * np.eye(len(classes), dtype=np.float32)[predicted]
    paths = [f"{classes[label]}/{i}.jpg" for i, label in enumerate(labels)]
    return evaluate_rows(PhotoRows.from_logits(logits, labels, classes, paths=paths))


def test_all_wrong_photos_are_named_up_to_ten() -> None:
    few, many = summary(evaluated(40)), summary(evaluated(400))
    assert "wrong photos: 8 of 40; --rows FILE.csv writes a row for every photo" in few
    assert sum(line.startswith(("a/", "b/")) for line in few.splitlines()) == 8
    assert "wrong photos: 80 of 400" in many
    assert sum(line.startswith(("a/", "b/")) for line in many.splitlines()) == 10
    assert "out.csv has a row for every photo" in summary(evaluated(40), Path("out.csv"))


def test_a_network_without_mistakes_has_no_confusions() -> None:
    text = summary(evaluated(40, wrong=0))
    assert "confusions" not in text
    assert "wrong photos: 0 of 40" in text


@pytest.mark.parametrize(("scale", "words"), [(6.0, "too high, by 0.19"), (0.1, "too low, by 0.27")])
def test_the_calibration_error_is_explained(scale: float, words: str) -> None:
    assert words in summary(evaluated(400, scale))
    assert "no more than chance" in summary(evaluated(400, float(np.log(4))))


def test_a_file_name_cannot_break_the_text() -> None:
    rows = PhotoRows.from_logits(
        np.array([[0, 1]], np.float32), np.array([0]), ["cat\x1b[31m", "dog\n"], paths=["a\nb.jpg"]
    )
    text = summary(evaluate_rows(rows))
    assert "\x1b" not in text
    assert "a\\nb.jpg" in text
    assert "cat\\x1b[31m taken for dog\\n" in text


def test_few_photos_of_a_class_are_called_few() -> None:
    assert few_photos_notes(evaluated(1000)) == []
    (all_few,) = few_photos_notes(evaluated(20))
    assert "accuracy" in all_few
    (classes,) = few_photos_notes(evaluated(600, classes="abcdefghijklmnopqrst", wrong=0.1))
    assert "recall of" in classes
    assert "more classes have as few" in classes
