"""Calibration error, its noise floor, and a temperature that few photos cannot spoil."""

from math import isclose, pi, sqrt

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from reslab.evaluation.calibration import calibration_error, calibration_noise, fit_temperature
from reslab.evaluation.probabilities import mean_loss, softmax


def calibrated(
    photos: int, classes: int = 3, spread: float = 1.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw logits, and labels that follow their softmax."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, spread, (photos, classes))
    labels = (generator.random((photos, 1)) > softmax(logits).cumsum(axis=1)).sum(axis=1)
    return logits, labels


@pytest.mark.parametrize("bins", [5, 15])
def test_the_error_equals_that_of_torchmetrics(bins: int) -> None:
    logits, labels = calibrated(700)
    expected = multiclass_calibration_error(
        torch.from_numpy(2 * logits), torch.from_numpy(labels), 3, bins, "l1"
    )
    assert calibration_error(softmax(2 * logits), labels, bins) == pytest.approx(expected.item(), abs=1e-6)
    assert expected > 0.01


def test_the_error_is_1_for_confident_mistakes_and_0_for_confident_hits() -> None:
    sure = np.array([[1.0, 0.0]] * 4)
    assert calibration_error(sure, np.array([1, 1, 1, 1])) == 1
    assert calibration_error(sure, np.array([0, 0, 0, 0])) == 0


def test_the_noise_floor_is_what_calibrated_networks_show() -> None:
    logits, _ = calibrated(200)
    probabilities = softmax(logits)
    mean, high = calibration_noise(probabilities)
    generator = np.random.default_rng(7)
    errors = []
    for _ in range(300):
        labels = (generator.random((200, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
        errors.append(calibration_error(probabilities, labels))
    assert mean == pytest.approx(np.mean(errors), rel=0.05)
    assert 0.91 < np.mean(np.array(errors) <= high) < 0.98


def test_the_noise_floor_of_one_confidence_has_a_formula() -> None:
    photos, confidence = 1000, 0.8
    mean, _ = calibration_noise(np.tile([confidence, 1 - confidence], (photos, 1)))
    deviation = sqrt(confidence * (1 - confidence) / photos)
    assert mean == pytest.approx(deviation * sqrt(2 / pi), rel=0.08)


def test_the_noise_floor_is_repeatable_and_0_for_certain_networks() -> None:
    probabilities = softmax(calibrated(50)[0])
    assert calibration_noise(probabilities) == calibration_noise(probabilities.copy())
    assert calibration_noise(np.array([[1.0, 0.0]] * 9)) == (0, 0)


@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5, 8.0])
def test_the_temperature_recovers_the_scale_of_calibrated_logits(scale: float) -> None:
    logits, labels = calibrated(20_000)
    found = fit_temperature((logits * scale).astype(np.float32), labels)
    assert isclose(found, scale, rel_tol=0.03)
    assert calibration_error(softmax(logits * scale / found), labels) < 0.02


@pytest.mark.parametrize("photos", [20, 50, 100, 300])
def test_few_photos_hardly_change_a_calibrated_network(photos: int) -> None:
    test, answers = calibrated(4000, classes=2, spread=4.0, seed=1)
    before = mean_loss(test, answers)
    losses = []
    for seed in range(60):
        logits, labels = calibrated(photos, classes=2, spread=4.0, seed=seed)
        losses.append(mean_loss(test / fit_temperature(logits, labels), answers))
    assert np.mean(losses) < 1.03 * before


@pytest.mark.parametrize("scale", [2.5, 0.5])
def test_100_photos_improve_a_network_that_is_too_sure_or_not_sure_enough(scale: float) -> None:
    test, answers = calibrated(4000, classes=2, spread=4.0, seed=1)
    before = mean_loss(scale * test, answers)
    draws = [calibrated(100, classes=2, spread=4.0, seed=seed) for seed in range(60)]
    temperatures = [fit_temperature(scale * logits, labels) for logits, labels in draws]
    after = np.array([mean_loss(scale * test / temperature, answers) for temperature in temperatures])
    assert np.mean(after < before) >= 0.95


@pytest.mark.parametrize("classes", [2, 100])
@pytest.mark.parametrize(("photos", "logit"), [(1, 0.5), (20, 4.0), (3000, 4.0)])
def test_photos_without_a_mistake_raise_the_probability_by_a_known_amount(
    photos: int, logit: float, classes: int
) -> None:
    labels = np.arange(photos) % classes
    logits = logit * np.eye(classes)[labels]
    found = fit_temperature(logits, labels)
    before, wrong = softmax(logits)[0, labels[0]], 1 / 8 / (classes - 1)
    expected = (photos + 50 * before + wrong) / (photos + 50 + classes * wrong)
    assert softmax(logits / found)[0, labels[0]] == pytest.approx(expected, abs=1e-4)


def test_one_class_has_a_temperature() -> None:
    assert 0.04 < fit_temperature(np.zeros((3, 1)), np.zeros(3, np.int64)) < 20.1
