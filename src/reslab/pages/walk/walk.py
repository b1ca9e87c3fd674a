"""`walk`: one photo through a network, with what every stage makes of it, as a value and as a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reslab.errors import UsageError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.probabilities import softmax
from reslab.files import user_path
from reslab.inspection.summary import anatomy
from reslab.inspection.tracer import device_and_dtype
from reslab.pages.page import notebook_frame, page_path, render, sides, significant, write_page
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import table

from . import text
from .input_picture import InputPhoto, read_photo
from .prediction_map import PredictionMap, find_prediction_map
from .stations import Station, find_stations
from .subject import Subject, load_subject

MAX_MAPS = 8  # feature maps of a station
MAX_SCORES = 5  # classes on the page


@dataclass(frozen=True)
class Score:
    """Name of a class and its probability, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class Walk:
    """One photo in one network, as `walk` returns it.

    `str` is a table of the stations. A notebook shows the page.

    Args:
        network: name of the network; of a module its class.
        photo: the photo, and the part of it that the network gets.
        stations: the blocks, and the plain layers before and after them, in order. Each has its most active
            feature maps, its receptive field and the norms of its residual sum.
        scores: all classes, the most probable first; () if there are no probabilities.
        weights: sentences on where the weights come from.
        meaningful: True if no weight is known to be random, and there are scores.
        refused: a sentence why `scores` is (); "" with scores.
        heat_map: of the predicted class, from the last stage; None if it would mean nothing or cannot be
            computed.
        heat_map_note: a sentence why a network with meaningful scores has no heat map; else "".
    """

    network: str
    photo: InputPhoto
    stations: tuple[Station, ...]
    scores: tuple[Score, ...]
    weights: str
    meaningful: bool
    refused: str = ""
    heat_map: PredictionMap | None = None
    heat_map_note: str = ""

    @property
    def stages(self) -> dict[str, tuple[Station, ...]]:
        """Stations of each stage by its name (stem, layer1, ..., head), in order."""
        return {
            stage: tuple(station for station in self.stations if station.stage == stage)
            for stage in dict.fromkeys(station.stage for station in self.stations)
        }

    def html(self) -> str:
        """Return the page as the text of an HTML file that loads nothing else."""
        return render(
            "walk.html.jinja", {"walk": self, "max_scores": MAX_SCORES, "text": text}, script="walk.js"
        )

    def __str__(self) -> str:
        rows = []
        for s in self.stations:
            norms = [significant(s.sum.shortcut_norm), significant(s.sum.added_norm)] if s.sum else ["-", "-"]
            rows.append([s.title, s.kind or "-", sides(s.shape), text.field_size(s), *norms])
        head = ["station", "kind", "output", "receptive field", "shortcut", "block adds"]
        return table(head, rows, "lllrrr")

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return notebook_frame(self.html(), f"a photo in {self.network}")


def walk(
    model: Classifier | nn.Module | Path | str,
    photo: Path | str | bytes,
    path: Path | str | None = None,
    *,
    weights: Path | str | None = None,
    preprocess: Preprocess | None = None,
    network: nn.Module | str | None = None,
) -> Walk:
    """Run one photo through a network and show what every stage makes of it.

    The page ends with the heat map of the predicted class from the last stage, by Grad-CAM (Selvaraju et al.
    2017). A network with random weights has none.

    Args:
        model: a Classifier, a network, a run folder (its best model), a model file, or a network's name such
            as "resnet18", "timm:resnet18" or "cifar_resnet20:my_block.py:MyBlock". A network keeps its modes,
            hooks and gradients.
        photo: path or content of an image file.
        path: write the page to this .html file; an existing one is replaced. The page works offline.
        weights: for a network's name: "imagenet", or a .safetensors or .pth file. Random by default.
        preprocess: for a network or its name; by default as for ImageNet, at 224 pixels, or 32 for networks
            with a small stem. A Classifier has its own.
        network: for a run or a model file of a network of your own, as `reslab.load` takes it.

    Returns:
        The stations with at most 8 feature maps each, and the probabilities of all classes.

    Raises:
        PhotosError: the photo cannot be read.
        UsageError: the arguments do not fit each other, the network has no feature maps, or `path` cannot be
            written.
        NetworkError: the network is unknown, or a photo does not pass through it.
        ClassifierError: the model file cannot be read.
        WeightsError: the weights cannot be read or do not fit.
        DownloadError: the ImageNet weights cannot be downloaded.
    """
    page = None if path is None else page_path(Path(path), "-o walk.html")
    subject = load_subject(model, weights, preprocess, network)
    source = photo if isinstance(photo, bytes) else user_path(photo)
    input_photo, images = read_photo(source, subject.preprocess)
    summary = anatomy(subject.network, tuple(images.shape), name=subject.name)
    device, dtype = device_and_dtype(subject.network)
    stations, output = find_stations(subject.network, images.to(device, dtype), summary, MAX_MAPS)
    if not stations:
        raise UsageError(
            f"{subject.name} has no feature maps to show",
            "none of its layers and blocks returns (C, H, W)",
            "choose a convolutional network",
        )
    scores, refused = _scores(output, subject)
    meaningful = subject.meaningful and not refused
    heat_map, note = None, ""
    if meaningful:
        names = _class_names(subject, len(scores))
        heat_map, note = find_prediction_map(subject.network, images, input_photo, names)
    walked = Walk(
        network=subject.name,
        photo=input_photo,
        stations=stations,
        scores=scores,
        weights=subject.weights,
        meaningful=meaningful,
        refused=refused,
        heat_map=heat_map,
        heat_map_note=note,
    )
    if page is not None:
        write_page(page, walked.html())
    return walked


def _class_names(subject: Subject, count: int) -> tuple[str, ...]:
    """Return the names of the classes; "class 0" and so on if they are unknown."""
    return subject.classes or tuple(f"class {i}" for i in range(count))


def _scores(output: object, subject: Subject) -> tuple[tuple[Score, ...], str]:
    """Return all classes, the most probable first, and ""; or () and a sentence with the reason."""
    if not isinstance(output, Tensor) or output.dim() != 2:
        return (), "The network's output is not (N, num_classes), so there are no probabilities."
    if not torch.isfinite(output).all():
        return (), "The logits are not finite: the training diverged. Train again with a lower learning rate."
    probabilities = softmax(output.float().cpu().numpy() / subject.temperature)[0]  # (num_classes,)
    names = _class_names(subject, len(probabilities))
    if len(names) != len(probabilities):
        return (), f"The network gives {len(probabilities)} logits for {len(names)} classes."
    order = np.argsort(-probabilities, kind="stable")
    return tuple(Score(names[i], float(probabilities[i])) for i in order), ""
