"""Draw walk.png, the picture of the README: a photo on its way through a trained ResNet-18.

    python docs/pictures/walk.py RUN PHOTO

The run: `reslab train cats-dogs --recipe finetune --weights FILE`, with the data and the weights of
benchmarks/RESULTS.md. The photo: Chelsea the cat by Stefan van der Walt (CC0), which scikit-image ships as
skimage/data/chelsea.png.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Rectangle
from PIL import Image

import reslab
from reslab.pages.walk.stations import Station

STATIONS = ("conv1", "layer1.1", "layer2.1", "layer3.1", "layer4.1")
SIZE = 224  # pixels
MAPS = 3  # of each station, the most active ones
SHORTCUT, BLOCK = "#33689c", "#b85a1c"


def main(run: Path, photo: Path) -> None:
    """Walk the photo through the run's model and draw the picture."""
    classifier = reslab.Classifier.load(run)
    walk = reslab.walk(replace(classifier, preprocess=classifier.preprocess.at(SIZE)), photo)
    stations = [next(s for s in walk.stations if s.title.startswith(name)) for name in STATIONS]
    figure = plt.figure(figsize=(12, 4.6), dpi=110)
    grid = figure.add_gridspec(MAPS + 1, len(stations) + 2, height_ratios=[1] * MAPS + [0.4])
    grid.update(left=0.005, right=0.995, top=0.89, bottom=0.01, wspace=0.06, hspace=0.05)
    axes = figure.add_subplot(grid[:MAPS, :2])
    show(axes, walk.photo.image)
    best = walk.scores[0]
    axes.set_title(f"{best.name}, probability {best.probability:.3f}", fontsize=13, loc="left")
    for column, station in enumerate(stations, 2):
        draw_station(figure, grid, column, station)
    figure.savefig(Path(__file__).with_name("walk.png"))


def draw_station(figure: Figure, grid: GridSpec, column: int, station: Station) -> None:
    """Draw a station's most active maps in a column, and the norms of its shortcut and its block."""
    for row, feature_map in enumerate(station.maps.maps[:MAPS]):
        axes = figure.add_subplot(grid[row, column])
        show(axes, feature_map.png)
        if row == 0:
            field = np.max(station.receptive_field.size)
            axes.set_title(f"{station.title.split(',')[0]}\nreceptive field {field}", fontsize=11, loc="left")
    axes = figure.add_subplot(grid[MAPS, column])
    axes.axis("off")
    if station.sum is None:
        return
    terms = (("shortcut", station.sum.shortcut_norm, SHORTCUT), ("block", station.sum.added_norm, BLOCK))
    largest = max(norm for _, norm, _ in terms)
    for place, (name, norm, color) in enumerate(terms):
        axes.add_patch(Rectangle((0.38, 0.52 - 0.42 * place), 0.29 * norm / largest, 0.26, color=color))
        axes.text(0, 0.55 - 0.42 * place, name, fontsize=10)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)


def show(axes: Axes, image: bytes) -> None:
    """Show an encoded image without axes."""
    axes.imshow(Image.open(io.BytesIO(image)), interpolation="nearest")
    axes.set_anchor("NW")
    axes.axis("off")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
