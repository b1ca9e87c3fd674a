"""Accuracy, intervals, loss, calibration and temperature against torch, torchmetrics and formulas."""

import json
from collections.abc import Sequence
from math import isclose, sqrt

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_precision,
    multiclass_recall,
)

from reslab.evaluation.metrics import (
    Evaluation,
    accuracy_interval,
    calibration_error,
    evaluate_rows,
    fit_temperature,
)
from reslab.evaluation.probabilities import mean_loss, softmax
from reslab.evaluation.rows import PhotoRows


def drawn(photos: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits that favor the correct class, and labels of unequal frequency."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, photos, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    logits = generator.normal(0, 1.5, (photos, classes)).astype(np.float32)
    logits[np.arange(photos), labels] += 1
    return logits, labels.astype(np.int64)


def wilson(correct: int, total: int, z: float = 1.959963984540054) -> tuple[float, float]:
    share = correct / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return middle - half, middle + half


def evaluate_logits(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], temperature: float = 1.0
) -> Evaluation:
    return evaluate_rows(PhotoRows.from_logits(logits, labels, classes, temperature=temperature))


def evaluated(photos: int = 500, classes: int = 4, temperature: float = 1.0, seed: int = 0) -> Evaluation:
    names = [f"class {i}" for i in range(classes)]
    return evaluate_logits(*drawn(photos, classes, seed), names, temperature)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("seed", [0, 1])
def test_figures_equal_those_of_torchmetrics(classes: int, seed: int) -> None:
    logits, labels = drawn(311, classes, seed)
    found = evaluate_logits(logits, labels, [str(i) for i in range(classes)])
    x, y = torch.from_numpy(logits), torch.from_numpy(labels)
    assert found.photos == 311
    assert found.accuracy == pytest.approx(multiclass_accuracy(x, y, classes, average="micro").item())
    assert found.confusion == tuple(map(tuple, multiclass_confusion_matrix(x, y, classes).tolist()))
    precision = multiclass_precision(x, y, classes, average="none").tolist()
    recall = multiclass_recall(x, y, classes, average="none").tolist()
    assert [figures.precision for figures in found.per_class.values()] == pytest.approx(precision)
    assert [figures.recall for figures in found.per_class.values()] == pytest.approx(recall)
    assert [figures.photos for figures in found.per_class.values()] == np.bincount(labels).tolist()


@pytest.mark.parametrize("bins", [5, 15])
def test_calibration_error_equals_that_of_torchmetrics(bins: int) -> None:
    logits, labels = drawn(700, 3)
    expected = multiclass_calibration_error(torch.from_numpy(logits), torch.from_numpy(labels), 3, bins, "l1")
    assert calibration_error(softmax(logits), labels, bins) == pytest.approx(expected.item(), abs=1e-6)
    assert expected > 0.01


def test_calibration_error_is_1_for_confident_errors_and_0_for_confident_hits() -> None:
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration_error(sure, np.array([1, 1, 1, 1])) == 1
    assert calibration_error(sure, np.array([0, 0, 0, 0])) == 0


@pytest.mark.parametrize(
    ("correct", "total"), [(0, 1), (1, 1), (0, 40), (40, 40), (7, 8), (912, 1000), (1, 2)]
)
def test_the_interval_equals_wilsons_formula(correct: int, total: int) -> None:
    low, high = accuracy_interval(correct, total)
    assert (low, high) == pytest.approx(wilson(correct, total), abs=1e-9)
    assert 0 <= low <= correct / total <= high <= 1


def test_higher_confidence_widens_the_interval() -> None:
    assert accuracy_interval(70, 100, 0.99)[0] < accuracy_interval(70, 100)[0]
    assert accuracy_interval(70, 100, 0.99) == pytest.approx(wilson(70, 100, 2.5758293035489004))


def test_the_loss_equals_torchs_mean_cross_entropy() -> None:
    logits, labels = drawn(333, 5)
    expected = cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(labels)).item()
    assert mean_loss(logits, labels) == pytest.approx(expected, rel=1e-12)
    assert evaluate_logits(logits, labels, "abcde").loss == pytest.approx(expected, rel=1e-9)


def test_large_logits_do_not_overflow() -> None:
    logits, labels = np.array([[3e4, 0, -3e4], [0, 3e4, 0]], np.float32), np.array([2, 1])
    found = evaluate_logits(logits, labels, "abc")
    assert found.loss == pytest.approx(cross_entropy(torch.tensor(logits), torch.tensor(labels)).item())
    assert np.array_equal(softmax(logits), [[1, 0, 0], [0, 1, 0]])


def test_a_class_without_photos_has_no_precision_and_recall() -> None:
    logits = np.array([[2, 1, 0], [2, 1, 0], [1, 2, 0]], np.float32)
    figures = evaluate_logits(logits, np.array([0, 1, 1]), ["a", "b", "never"]).per_class
    assert (figures["never"].photos, figures["never"].precision, figures["never"].recall) == (0, None, None)
    assert (figures["a"].precision, figures["a"].recall) == (0.5, 1.0)
    assert (figures["b"].precision, figures["b"].recall) == (1.0, 0.5)


def test_temperature_changes_probabilities_but_no_label() -> None:
    plain, cooled = evaluated(), evaluated(temperature=3.0)
    assert (plain.accuracy, plain.confusion) == (cooled.accuracy, cooled.confusion)
    logits, labels = drawn(500, 4)
    expected = cross_entropy(torch.from_numpy(logits) / 3, torch.from_numpy(labels)).item()
    assert cooled.loss == pytest.approx(expected, rel=1e-5)
    assert cooled.calibration_error != plain.calibration_error


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 8.0])
def test_fit_temperature_recovers_the_scale_of_calibrated_logits(scale: float) -> None:
    generator = np.random.default_rng(5)
    logits = generator.normal(0, 1.5, (20_000, 3))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (generator.random((20_000, 1)) > chances.cumsum(1)).sum(1)  # distributed as softmax(logits)
    found = fit_temperature((logits * scale).astype(np.float32), labels)
    assert isclose(found, scale, rel_tol=0.03)
    assert calibration_error(softmax(logits * scale / found), labels) < 0.02


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize("photos", [2, 20, 2000])
def test_the_probability_of_all_correct_photos_is_limited_by_their_number(photos: int, classes: int) -> None:
    labels = np.arange(photos) % classes
    logits = 4.0 * np.eye(classes)[labels]
    found = fit_temperature(logits, labels)
    assert isclose(softmax(logits / found)[0, labels[0]], (photos + 1) / (photos + 2), rel_tol=1e-3)
    assert 19 < fit_temperature(-logits, labels) < 20.1


def test_fit_temperature_accepts_one_class() -> None:
    assert 0.04 < fit_temperature(np.zeros((3, 1)), np.zeros(3, np.int64)) < 20.1


def test_the_json_has_the_documented_fields() -> None:
    found = evaluated()
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert content["photos"] == 500
    assert content["classes"] == [f"class {i}" for i in range(4)] == list(content["per_class"])
    assert content["accuracy_low"] < content["accuracy"] < content["accuracy_high"]
    assert set(content["per_class"]["class 0"]) == {"photos", "precision", "recall"}
    assert content["per_class"]["class 2"]["photos"] == sum(content["confusion"][2])


def test_the_text_and_the_table_have_the_same_figures() -> None:
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 1, 2]]
    found = evaluate_logits(logits, np.array([0, 0, 0, 1, 0, 1]), ["cat", "dog", "fox"])
    low, high = wilson(3, 6)
    assert str(found) == f"accuracy 0.500 [{low:.3f}, {high:.3f}] over 6 photos"
    assert [line.split() for line in found.table().splitlines()[2:]] == [
        ["cat", "4", "1.000", "0.500", "dog", "(2)"],
        ["dog", "2", "0.333", "0.500", "fox", "(1)"],
        ["fox", "0", "0.000", "-"],
    ]
