"""One photo's way through a network: what every station makes of it, as a value and as a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from reslab.errors import UsageError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.metrics import soft_max
from reslab.files import user_path
from reslab.inspection.summary import anatomy
from reslab.inspection.tracer import place_of
from reslab.pages.page import page_path, render, sides, significant, write_page
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import table

from .input_picture import PhotoSeen, look
from .stations import Station, visit
from .subject import Subject, subject_of

MAPS = 8  # feature maps of a station that are shown
SCORES = 5


@dataclass(frozen=True)
class Score:
    """A class and its probability."""

    name: str
    probability: float


@dataclass(frozen=True)
class Walk:
    """What the page shows. `scores` has the most probable class first, and every class.

    `weights` says in a sentence where the weights come from, `meaningful` whether the scores stand for
    anything, `refused` why there are none.
    """

    network: str
    photo: PhotoSeen
    stations: tuple[Station, ...]
    scores: tuple[Score, ...]
    weights: str
    meaningful: bool
    refused: str = ""
    parameters: int = field(default=0, repr=False)

    @property
    def stages(self) -> dict[str, tuple[Station, ...]]:
        """{stage: its stations}, in order."""
        return {
            stage: tuple(station for station in self.stations if station.stage == stage)
            for stage in dict.fromkeys(station.stage for station in self.stations)
        }

    def html(self) -> str:
        """The page, self-contained."""
        from . import text as walk_text

        values = {"walk": self, "shown": SCORES, "text": walk_text}
        return render("walk.html.jinja", values, script="walk.js")

    def __str__(self) -> str:
        rows = []
        for station in self.stations:
            seen, total = station.receptive_field, station.sum
            norms = (total.shortcut_norm, total.added_norm) if total else ()
            rows.append(
                [
                    station.title,
                    station.kind or "-",
                    sides(station.shape),
                    "?"
                    if seen is None
                    else sides(seen.size if isinstance(seen.size, tuple) else [seen.size]),
                    *([significant(norm) for norm in norms] or ["-", "-"]),
                ]
            )
        head = ["station", "kind", "output", "sees", "shortcut", "block adds"]
        return table(head, rows, "lllrrr")


def walk(
    model: Classifier | nn.Module | Path | str,
    photo: Path | str | bytes,
    path: Path | str | None = None,
    *,
    weights: Path | str | None = None,
    preprocess: Preprocess | None = None,
) -> Walk:
    """Passes a photo through a network and writes what every stage makes of it as one page to `path`.

    `model` is a Classifier, a network, a run folder, a model file or a network's name (resnet18,
    torchvision:resnet50); `weights` ("imagenet" or a file) are for a name, which else has random ones;
    `preprocess` is for what has none of its own. The page needs no network access. The network comes back
    unchanged. Raises PhotosError, UsageError, NetworkError, ClassifierError, WeightsError.
    """
    page = None if path is None else page_path(Path(path), "-o walk.html")
    subject = subject_of(model, weights, preprocess)
    source = photo if isinstance(photo, bytes) else user_path(photo)
    seen, images = look(source, subject.preprocess)
    walked = _walk(subject, seen, images)
    if page is not None:
        write_page(page, walked.html())
    return walked


def _walk(subject: Subject, seen: PhotoSeen, images: Tensor) -> Walk:
    taken = anatomy(subject.network, tuple(images.shape), name=subject.name)
    device, dtype = place_of(subject.network)
    stations, output = visit(subject.network, images.to(device, dtype), taken, MAPS)
    if not stations:
        raise UsageError(
            f"{subject.name} has no feature maps to show",
            "none of its layers and blocks gives channels of pixels",
            "walk through a convolutional network",
        )
    scores, refused = _scores(output, subject)
    return Walk(
        network=subject.name,
        photo=seen,
        stations=stations,
        scores=scores,
        weights=subject.weights,
        meaningful=subject.meaningful and not refused,
        refused=refused,
        parameters=taken.parameters,
    )


def _scores(output: object, subject: Subject) -> tuple[tuple[Score, ...], str]:
    """Every class by its probability, or why there are none."""
    if not isinstance(output, Tensor) or output.dim() != 2:
        return (), "What leaves the network is no list of logits, so there are no probabilities."
    if not torch.isfinite(output).all():
        return (), "The logits are not finite: the training diverged. Train again with a lower learning rate."
    shares = soft_max(output.float().cpu().numpy() / subject.temperature)[0]
    names = subject.classes or tuple(f"class {i}" for i in range(len(shares)))
    if len(names) != len(shares):
        return (), f"The network gives {len(shares)} logits for {len(names)} classes."
    order = np.argsort(-shares, kind="stable")
    return tuple(Score(names[i], float(shares[i])) for i in order), ""
