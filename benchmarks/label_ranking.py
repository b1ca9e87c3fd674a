"""Share of wrong labels among the first of a ranking, after 2 % of the labels of a folder were flipped.

    python benchmarks/label_ranking.py ../shared/data/cats-dogs --weights FILE --folder /tmp/labels

A part of the folder is copied. In each draw, 2 % of the labels of each class are changed to the next class.
For the first draws (--trainings) a network is trained on the changed labels. Its features rank the labels of
every draw: its own, which it was trained on, and the others. The figure is the fraction of the changed labels
among the first 4 %. Runs that exist in --folder are used again.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab import Classifier, train
from reslab.datasets.part import copy_part
from reslab.explanation.features import photo_features
from reslab.explanation.label_ranking import out_of_fold_probabilities
from reslab.training.recipe import Recipe

FLIPPED, LOOKED_AT = 0.02, 0.04  # fractions of all photos


def flips(by_class: list[list[str]], draw: int) -> list[NDArray[np.bool_]]:
    """Mask of the flipped photos of each class."""
    generator, masks = np.random.Generator(np.random.Philox(draw)), []
    for names in by_class:
        chosen = generator.choice(len(names), round(FLIPPED * len(names)), replace=False)
        masks.append(np.isin(np.arange(len(names)), chosen))
    return masks


def write_flipped(
    part: Path, folder: Path, by_class: list[list[str]], masks: list[NDArray[np.bool_]]
) -> None:
    """Copy the part with the flipped photos in the folder of the next class."""
    shutil.copytree(part, folder)
    classes = sorted(os.listdir(part / "train"))
    for label, (names, mask) in enumerate(zip(by_class, masks, strict=True)):
        for name in np.array(names)[mask]:
            other = classes[(label + 1) % len(classes)]
            (folder / "train" / classes[label] / name).rename(folder / "train" / other / f"flip-{name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--weights", help="pretrained weights of ResNet-18")
    parser.add_argument("--folder", type=Path, required=True, help="for the copies and the runs")
    parser.add_argument("--photos", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--trainings", type=int, default=2)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    part = given.folder / "part"
    if not part.exists():
        given.folder.mkdir(parents=True, exist_ok=True)
        copy_part(given.source, part, train=given.photos, test=given.photos // 10)
    classes = sorted(os.listdir(part / "train"))
    by_class = [sorted(os.listdir(part / "train" / name)) for name in classes]
    paths = [part / "train" / c / n for c, names in zip(classes, by_class, strict=True) for n in names]
    truth = np.repeat(np.arange(len(classes)), [len(names) for names in by_class])
    draws = [np.concatenate(flips(by_class, draw)) for draw in range(given.draws)]
    for trained in range(given.trainings):
        run = given.folder / f"run-{trained}"
        if not run.exists():
            folder = given.folder / f"flipped-{trained}"
            write_flipped(part, folder, by_class, flips(by_class, trained))
            settings = {"size": given.size, "resize": given.size, "epochs": given.epochs}
            recipe = Recipe.load("finetune").with_settings(**settings)
            train(folder, "resnet18", recipe, weights=given.weights, run=run)
        classifier = Classifier.load(run)
        accuracy = classifier.figures.get("test_accuracy")
        print(f"\n{run.name}, trained on the flipped labels of draw {trained}: test accuracy {accuracy}")
        features = photo_features(classifier, paths, progress=True)
        for draw, flipped in enumerate(draws):
            labels = np.where(flipped, (truth + 1) % len(classes), truth)
            probabilities = out_of_fold_probabilities(features, labels)
            own = probabilities[np.arange(len(labels)), labels]
            ranks = np.argsort(np.argsort(own, kind="stable"), kind="stable")[flipped]
            found = (ranks < LOOKED_AT * len(labels)).mean()
            right = (probabilities.argmax(axis=1) == truth)[~flipped].mean()
            print(f"draw {draw}: {found:.3f} of {flipped.sum()} labels; accuracy on the others {right:.3f}")


if __name__ == "__main__":
    main()
