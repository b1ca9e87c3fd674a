"""Count on how many photos the heat maps of a model beat a random map and the middle of the photo.

    python benchmarks/heat_maps.py runs/finetuned photos/test --layers layer4 layer3 --photos 100

The photos are taken evenly from each class. --random replaces the weights by random ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import reslab
from reslab.evaluation.inference import decode_ahead, stack, without_errors
from reslab.evaluation.photo_paths import LabeledPaths
from reslab.explanation.faithfulness import measure_worth
from reslab.explanation.heat_map import heat_maps
from reslab.randomness import torch_seeded


def even(paths: list[Path], count: int) -> list[Path]:
    """Return `count` of the paths, evenly over the list."""
    return [paths[i * len(paths) // count] for i in range(min(count, len(paths)))]


def main() -> None:
    """Print a line for each layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", nargs="+", default=["layer4", "layer3"])
    parser.add_argument("--photos", type=int, default=100, dest="count")
    parser.add_argument("--random", action="store_true", help="random weights in the same network")
    arguments = parser.parse_args()
    classifier = reslab.load(arguments.model)
    network = classifier.network
    if arguments.random and classifier.spec:
        with torch_seeded(0, "benchmark"):
            network = reslab.create_network(classifier.spec.name, num_classes=len(classifier.classes))
    found = LabeledPaths.of(arguments.folder, classifier.classes)
    paths, labels = [found.folder / path for path in found.paths], found.labels.tolist()
    chosen = [
        path
        for label in range(len(classifier.classes))
        for path in even(
            [p for p, own in zip(paths, labels, strict=True) if own == label],
            arguments.count // len(classifier.classes),
        )
    ]
    decoded = [item for batch in decode_ahead(chosen, classifier.preprocess, 64) for item in batch]
    images = classifier.preprocess.normalize(stack(without_errors(decoded)))
    for layer in arguments.layers:
        with torch.no_grad():
            found = heat_maps(network, images, layer=layer)
            worth = measure_worth(network, images, found)
        print(layer, tuple(found.maps.shape[1:]), worth.as_json(), flush=True)


if __name__ == "__main__":
    main()
