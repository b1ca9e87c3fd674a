"""Figures of an evaluation against scikit-learn's, computed from the CSV file of the rows."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.nn.functional import cross_entropy

from reslab.evaluation.metrics import ClassFigures, Confusion, Evaluation, evaluate_rows
from reslab.evaluation.probabilities import mean_loss, softmax
from reslab.evaluation.rows import PhotoRows


def drawn(photos: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits that favor the correct class, and labels of unequal frequency."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, photos, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    logits = generator.normal(0, 1.5, (photos, classes)).astype(np.float32)
    logits[np.arange(photos), labels] += 1
    return logits, labels.astype(np.int64)


def of_logits(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], temperature: float = 1.0
) -> Evaluation:
    return evaluate_rows(PhotoRows.from_logits(logits, labels, classes, temperature=temperature))


def evaluated(photos: int = 500, classes: int = 4, temperature: float = 1.0, seed: int = 0) -> Evaluation:
    return of_logits(*drawn(photos, classes, seed), [f"class {i}" for i in range(classes)], temperature)


@pytest.mark.parametrize(("photos", "classes", "seed"), [(311, 2, 0), (40, 2, 1), (400, 3, 0), (311, 7, 1)])
def test_every_figure_equals_scikit_learns_on_the_csv_file(
    photos: int, classes: int, seed: int, tmp_path: Path
) -> None:
    found = evaluated(photos, classes, seed=seed)
    found.rows.write(tmp_path / "test.csv")
    with open(tmp_path / "test.csv", newline="") as file:
        header, *lines = csv.reader(file)
    names = header[4:]
    labels, predicted = ([line[column] for line in lines] for column in (1, 2))
    probabilities = np.array([line[4:] for line in lines], np.float64)

    def equal(value: object) -> object:
        return pytest.approx(value, abs=1e-9)

    assert (found.photos, list(found.classes)) == (len(lines), names)
    assert found.accuracy == equal(metrics.accuracy_score(labels, predicted))
    assert found.balanced_accuracy == equal(metrics.balanced_accuracy_score(labels, predicted))
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, predicted, labels=names))
    assert found.loss == equal(metrics.log_loss(labels, probabilities, labels=names))
    table = metrics.precision_recall_fscore_support(labels, predicted, labels=names)
    figures = [(f.precision, f.recall, f.f1, f.photos) for f in found.per_class.values()]
    assert np.array(figures) == equal(np.transpose(table))
    if classes == 2:
        assert found.roc_auc == equal(
            metrics.roc_auc_score(np.array(labels) == names[1], probabilities[:, 1])
        )
    else:
        assert found.roc_auc is None
    if classes >= 6:
        top5 = metrics.top_k_accuracy_score(labels, probabilities, k=5, labels=names)
        assert found.top5_accuracy == equal(top5)
    else:
        assert found.top5_accuracy is None
    for point in found.coverage:
        left = probabilities.max(axis=1) >= point.reject_below
        assert (point.photos, point.coverage) == (left.sum(), left.mean())
        assert point.accuracy == equal(metrics.accuracy_score(labels, predicted, sample_weight=left))


def test_the_auc_counts_ties_by_half() -> None:
    logits = np.array([[0, 1], [0, 1], [0, 1], [0, 2], [0, 0]], np.float32)
    assert of_logits(logits, np.array([0, 1, 1, 1, 0]), "ab").roc_auc == pytest.approx((0.5 * 2 + 1 + 3) / 6)


def test_the_auc_needs_photos_of_both_classes() -> None:
    assert of_logits(np.zeros((3, 2), np.float32), np.array([1, 1, 1]), "ab").roc_auc is None


def test_the_loss_equals_torchs_mean_cross_entropy() -> None:
    logits, labels = drawn(333, 5)
    expected = cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item()
    assert mean_loss(logits, labels) == pytest.approx(expected, rel=1e-12)
    assert of_logits(logits, labels, "abcde").loss == pytest.approx(expected, rel=1e-9)


def test_large_logits_do_not_overflow() -> None:
    logits, labels = np.array([[3e4, 0, -3e4], [0, 3e4, 0]], np.float32), np.array([2, 1])
    found = of_logits(logits, labels, "abc")
    assert found.loss == pytest.approx(cross_entropy(torch.tensor(logits), torch.tensor(labels)).item())
    assert np.array_equal(softmax(logits), [[1, 0, 0], [0, 1, 0]])


def test_a_class_without_photos_has_no_recall() -> None:
    logits = np.array([[2, 1, 0], [2, 1, 0], [1, 2, 0]], np.float32)
    found = of_logits(logits, np.array([0, 1, 1]), ["a", "b", "never"])
    assert found.per_class == {
        "a": ClassFigures(1, 0.5, 1.0, 2 / 3),
        "b": ClassFigures(2, 1.0, 0.5, 2 / 3),
        "never": ClassFigures(0, None, None, None),
    }
    assert found.balanced_accuracy == 0.75


def test_one_photo_and_one_class_have_figures() -> None:
    found = of_logits(np.zeros((1, 1), np.float32), np.array([0]), ["only"])
    assert (found.accuracy, found.balanced_accuracy, found.loss, found.calibration_error) == (1, 1, 0, 0)
    assert found.confusions() == []
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["per_class"]["only"]["f1"] == 1


def test_temperature_changes_probabilities_but_no_label() -> None:
    plain, cooled = evaluated(), evaluated(temperature=3.0)
    assert (plain.accuracy, plain.confusion) == (cooled.accuracy, cooled.confusion)
    logits, labels = drawn(500, 4)
    expected = cross_entropy(torch.from_numpy(logits) / 3, torch.from_numpy(labels)).item()
    assert cooled.loss == pytest.approx(expected, rel=1e-5)
    assert cooled.calibration_error != plain.calibration_error


def test_confusions_are_sorted_by_their_number() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
    found = of_logits(logits, np.array([0, 0, 0, 1, 0, 1]), ["cat", "dog", "fox"])
    assert found.confusions() == [Confusion("cat", "dog", 2), Confusion("dog", "fox", 1)]


def test_the_json_has_the_documented_fields() -> None:
    found = evaluated()
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert content["photos"] == 500
    assert content["classes"] == [f"class {i}" for i in range(4)] == list(content["per_class"])
    assert content["accuracy_low"] < content["accuracy"] < content["accuracy_high"]
    assert set(content["per_class"]["class 0"]) == {"photos", "precision", "recall", "f1"}
    assert content["per_class"]["class 2"]["photos"] == sum(content["confusion"][2])
    assert content["calibration_noise"] < content["calibration_noise_high"]
    assert content["coverage"][0] == {
        "reject_below": 0,
        "photos": 500,
        "coverage": 1,
        "accuracy": found.accuracy,
        "accuracy_low": found.accuracy_low,
        "accuracy_high": found.accuracy_high,
    }


def test_the_text_and_the_table_have_the_same_figures() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
    found = of_logits(logits, np.array([0, 0, 0, 1, 0, 1]), ["cat", "dog", "fox"])
    assert str(found) == "accuracy 0.500 [0.188, 0.812] over 6 photos"
    assert [line.split() for line in found.table().splitlines()] == [
        ["class", "photos", "precision", "recall", "F1"],
        ["-----", "------", "---------", "------", "-----"],
        ["cat", "4", "1.000", "0.500", "0.667"],
        ["dog", "2", "0.333", "0.500", "0.400"],
        ["fox", "0", "0.000", "-", "0.000"],
    ]
