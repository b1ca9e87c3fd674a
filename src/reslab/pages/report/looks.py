"""Figures on where a network looks: mean heat map, worth of the maps, places that betray a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from reslab.errors import ReslabError
from reslab.evaluation.rows import PhotoRows
from reslab.explanation.faithfulness import STEPS, measure_worth
from reslab.explanation.heat_map import heat_maps
from reslab.explanation.occlusion import GRID, MAX_PHOTOS, MIN_PHOTOS, find_places
from reslab.explanation.sampling import spread_evenly

from .effort import Effort
from .subject import Subject, read_images

QUICK_PHOTOS = 40  # whose cells are covered, over all classes
QUICK_CLASSES = 8  # whose photos are covered, with the most photos
WORTH_PHOTOS = 24
FORWARDS_OF_PLACES = 2 * (1 + GRID**2)  # of a photo: covered and pasted
FORWARDS_OF_WORTH = 2 + 6 * (STEPS - 1) + 6  # of a photo: two curves of three maps, and three heat maps


def find_looks(
    subject: Subject, effort: Effort, per_photo: float, left_out: dict[str, str], say: Callable[[str], Any]
) -> dict[str, Any] | None:
    """Return {"photos", "layer", "heat", "worth", "places"}; None if the network or the time forbids it.

    "heat" is the mean of the heat maps by row and column. "worth" and "places" are None without time.

    Args:
        per_photo: seconds of the network for a photo.
        left_out: gets the reason for each missing part.
        say: called with a line of text before the work.
    """
    rows, network = subject.rows, subject.classifier.network
    chosen = _choose(rows, np.flatnonzero(subject.available), effort)
    say(f"where it looks, on up to {len(chosen)} photos")
    images, read = read_images(subject, chosen)
    if not read:
        left_out["looks"] = "photos"
        return None
    try:
        found = heat_maps(network, images)
        looks: dict[str, Any] = {"photos": len(read), "layer": found.layer}
        looks["heat"] = found.maps.mean(0).double().numpy().round(4).tolist()
        looks["places"] = _places(subject, images, read, effort, per_photo, left_out)
        count = effort.affordable(FORWARDS_OF_WORTH * per_photo, WORTH_PHOTOS, 5)
        looks["worth"] = None
        if count:
            spread = spread_evenly(len(read), count)
            part = replace(
                found, maps=found.maps[spread], classes=found.classes[spread], logits=found.logits[spread]
            )
            looks["worth"] = measure_worth(network, images[spread], part).as_json()
        else:
            left_out["worth"] = "time"
    except ReslabError:  # a network without maps, or too little memory
        left_out["looks"] = "network"
        return None
    return looks


def _choose(rows: PhotoRows, available: Any, effort: Effort) -> list[int]:
    """Return photos of each class, evenly over its available ones: at most MAX_PHOTOS of a class."""
    counts = np.bincount(rows.labels[available], minlength=len(rows.classes))
    classes = np.argsort(-counts, kind="stable")
    if not effort.thorough:
        classes = classes[:QUICK_CLASSES]
    each = MAX_PHOTOS if effort.thorough else max(MIN_PHOTOS, QUICK_PHOTOS // len(classes))
    chosen: list[int] = []
    for label in sorted(classes.tolist()):
        own = available[rows.labels[available] == label]
        chosen += own[spread_evenly(len(own), min(each, MAX_PHOTOS))].tolist()
    return chosen


def _places(
    subject: Subject,
    images: Tensor,
    read: Sequence[int],
    effort: Effort,
    per_photo: float,
    left_out: dict[str, str],
) -> list[dict[str, Any]] | None:
    """Return the place that each class needs most, with its mean falls; None without time."""
    rows = subject.rows
    labels = rows.labels[list(read)]
    classes = len(np.unique(labels))
    each = effort.affordable(FORWARDS_OF_PLACES * per_photo * classes, MAX_PHOTOS, MIN_PHOTOS)
    if not each:
        left_out["places"] = "time"
        return None
    kept = np.sort(np.concatenate([np.flatnonzero(labels == label)[:each] for label in np.unique(labels)]))
    places = find_places(subject.classifier.network, images[kept], labels[kept], rows.classes)
    return [place.as_json() for place in places]
