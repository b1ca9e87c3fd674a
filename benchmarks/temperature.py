"""Compare rules that fit a temperature to few validation photos, by the loss on further photos.

python benchmarks/temperature.py               200 draws, about two minutes
python benchmarks/temperature.py --draws 50

The networks are calibrated, or have logits times 2.5 (too sure) or 0.5 (not sure enough). Gaussian ones
have two or ten classes and a known accuracy. Their labels follow the softmax of the logits exactly, so the
expected loss is computed without labels. "digits" is a small trained network on the 8 x 8 images that come
with scikit-learn. Its logits are divided by the temperature of all 1,497 images that it did not learn from.
Each draw takes its validation images from these, and the loss is over the others.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax

from reslab.evaluation.calibration import best_temperature, fit_temperature
from reslab.evaluation.probabilities import mean_loss, softmax

Draw = tuple[NDArray[np.float64], NDArray[np.int64], Callable[[NDArray[np.float64]], float]]
TEST_IMAGES = 2_000
CALIBRATED_SIZES, SCALED_SIZES = (20, 50, 100, 300), (100, 300)
SCALES = (2.5, 0.5)


def one_hot(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    return np.eye(classes)[labels]


def likelihood(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Guo et al. 2017: the temperature of the lowest loss."""
    return best_temperature(logits, one_hot(labels, logits.shape[1]))


def platt(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Platt 1999: the true class has the target (N + 1) / (N + 2), the others share the rest."""
    photos, classes = logits.shape
    targets = np.full(logits.shape, 1 / ((photos + 2) * (classes - 1)))
    targets[np.arange(photos), labels] = (photos + 1) / (photos + 2)
    return best_temperature(logits, targets)


RULES = {"likelihood": likelihood, "Platt's targets": platt, "reslab": fit_temperature}


@dataclass(frozen=True)
class Gaussian:
    """A network whose logits are those of Gaussian classes at equal distances, so that it is calibrated."""

    classes: int
    accuracy: float

    @property
    def name(self) -> str:
        return f"{self.classes} classes, accuracy {self.accuracy:g}"

    def draws(self, photos: int, draws: int, scale: float) -> Iterator[Draw]:
        generator = np.random.default_rng(0)
        unit = generator.normal(size=(20_000, self.classes))

        def accuracy(distance: float) -> float:
            return float((unit[:, 0] + distance > unit[:, 1:].max(axis=1)).mean())

        distance = brentq(lambda d: accuracy(d) - self.accuracy, 0.1, 8.0)

        def sample(count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
            labels = generator.integers(0, self.classes, count)
            return distance * (
                generator.normal(size=(count, self.classes)) + distance * one_hot(labels, self.classes)
            ), labels

        test, _ = sample(TEST_IMAGES)
        chances = softmax(test)

        def expected_loss(logits: NDArray[np.float64]) -> float:
            return float(-(chances * log_softmax(logits, axis=1)).sum(axis=1).mean())

        for _ in range(draws):
            logits, labels = sample(photos)
            yield scale * logits, labels, lambda temperature: expected_loss(scale * test / temperature)


class Digits:
    """A trained network, calibrated on all images that it did not learn from."""

    name = "digits, 10 classes"

    def __init__(self) -> None:
        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier

        images, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        images, labels = images[order] / 16, labels[order]
        network = MLPClassifier((32,), alpha=0, max_iter=300, random_state=0).fit(images[:300], labels[:300])
        hidden = np.maximum(images[300:] @ network.coefs_[0] + network.intercepts_[0], 0)
        logits = hidden @ network.coefs_[1] + network.intercepts_[1]
        self.labels = labels[300:]
        self.logits = logits / likelihood(logits, self.labels)
        self.name += f", accuracy {(logits.argmax(axis=1) == self.labels).mean():.2f}"

    def draws(self, photos: int, draws: int, scale: float) -> Iterator[Draw]:
        generator = np.random.default_rng(0)
        for _ in range(draws):
            order = generator.permutation(len(self.labels))
            val, test = order[:photos], order[photos:]
            yield (
                scale * self.logits[val],
                self.labels[val],
                lambda temperature, test=test: mean_loss(
                    scale * self.logits[test] / temperature, self.labels[test]
                ),
            )


def main() -> None:
    """Print a table of how much the loss rises on calibrated networks, and how often it falls on others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--draws", type=int, default=200)
    draws = parser.parse_args().draws
    networks = [*(Gaussian(k, a) for k in (2, 10) for a in (0.8, 0.9, 0.95, 0.97)), Digits()]
    sizes = [*(f"{n}" for n in CALIBRATED_SIZES), *(f"x {s:g}, {n}" for s in SCALES for n in SCALED_SIZES)]
    print(
        "mean rise of the loss in %, calibrated, by photos | draws with a lower loss in %, by scale, photos"
    )
    print("| network | rule | " + " | ".join(sizes) + " |")
    print("|---" * (len(sizes) + 2) + "|")
    for network in networks:
        cells: dict[str, list[str]] = {name: [] for name in RULES}
        for scale, photos in [(1.0, n) for n in CALIBRATED_SIZES] + [
            (s, n) for s in SCALES for n in SCALED_SIZES
        ]:
            rises: dict[str, list[float]] = {name: [] for name in RULES}
            for logits, labels, loss in network.draws(photos, draws, scale):
                before = loss(1.0)
                for name, rule in RULES.items():
                    rises[name].append(loss(rule(logits, labels)) / before - 1)
            for name, values in rises.items():
                figure = np.mean(values) if scale == 1 else np.mean(np.array(values) < 0)
                cells[name].append(f"{100 * figure:.1f}")
        for name, row in cells.items():
            print(f"| {network.name} | {name} | " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
