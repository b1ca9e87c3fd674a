"""Explain photos: prediction, heat map and pictures of each, and the worth of the maps on a sample."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from reslab.errors import PhotosError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.inference import (
    Photo,
    batch_size_for,
    decode_ahead,
    stack,
    without_errors,
)
from reslab.evaluation.probabilities import softmax

from .faithfulness import Worth, measure_worth
from .heat_map import heat_maps, upsample
from .sampling import spread_evenly

MAX_MEASURED = 24  # photos whose maps are measured; each takes 54 passes
MAP_OPACITY = 0.6  # of the heat map over the gray photo
MAX_PNG_SIDE = 64  # smaller pictures are shown enlarged, so they are stored without loss
COLOR_STEPS = 256


@dataclass(frozen=True, eq=False)
class ExplainedPhoto:
    """Prediction for one photo, with the heat map of the predicted class.

    Attributes:
        path: of the photo; "photo 3" for bytes.
        label: the most probable class; None if the photo could not be read.
        probability: of that class, 0 to 1; None if the photo could not be read.
        runner_up: the second class; None if there is none.
        runner_up_probability: of that class; None if there is none.
        heat_map: float32 (h, w), 0 to 1, in the size of the layer's maps; None for an unread photo.
        picture: what the network gets, as JPEG or PNG; b"" if it could not be read or is not kept.
        overlay: the heat map in colors over the gray picture, as JPEG or PNG; b"" as for `picture`.
        worth: {"score", "random_score", "center_score", "beats_random", "beats_center", "judged"} of its map;
            None if it was not measured.
        error: why the photo could not be read; None if it could.
    """

    path: str
    label: str | None = None
    probability: float | None = None
    runner_up: str | None = None
    runner_up_probability: float | None = None
    heat_map: NDArray[np.float32] | None = field(default=None, repr=False)
    picture: bytes = field(default=b"", repr=False)
    overlay: bytes = field(default=b"", repr=False)
    worth: Mapping[str, Any] | None = None
    error: str | None = None

    @property
    def empty(self) -> bool:
        """True if the heat map is 0 everywhere."""
        return self.heat_map is not None and not self.heat_map.any()

    @property
    def problem(self) -> str:
        """The error without the path, for a line that begins with the path; "" if the photo could be read."""
        return (self.error or "").removeprefix(self.path).strip()

    @property
    def judgment(self) -> str:
        """Worth of the map in a few words; "" if it was not measured."""
        if self.empty:
            return "empty map: nothing in this layer speaks for the class"
        if self.worth is None:
            return ""
        if not self.worth["judged"]:
            return "cannot be judged: the order of the pixels hardly changes the prediction"
        if not self.worth["beats_random"]:
            return "no better than a random map"
        if not self.worth["beats_center"]:
            return "no better than pointing at the middle"
        return "better than a random map and the middle"

    def as_json(self) -> dict[str, Any]:
        """Return path, label, probability, runner_up, its probability and worth; or path and error."""
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        names = ("path", "label", "probability", "runner_up", "runner_up_probability")
        worth = None if self.worth is None else dict(self.worth)
        return {**{name: getattr(self, name) for name in names}, "empty": self.empty, "worth": worth}


@dataclass(frozen=True)
class Sample:
    """Photos whose heat maps were measured: the layer, the worth of all, and of each by its index."""

    layer: str
    worth: Worth
    by_index: Mapping[int, Mapping[str, Any]]


def measure_sample(classifier: Classifier, photos: Sequence[Photo], layer: str | None) -> Sample | None:
    """Measure the heat maps of at most MAX_MEASURED photos, evenly over the list. None if none can be read.

    Args:
        photos: paths, or contents of files.
        layer: name of the layer of the maps; None: the last one with maps.

    Raises:
        NetworkError: the layer is unknown or has no maps, or there is not enough memory.
    """
    chosen = spread_evenly(len(photos), MAX_MEASURED).tolist()
    images, indices = list[Tensor](), list[int]()
    for index, decoded in zip(chosen, _decode(classifier, [photos[i] for i in chosen]), strict=True):
        if not isinstance(decoded, PhotosError):
            images.append(decoded)
            indices.append(index)
    if not images:
        return None
    batch = classifier.preprocess.normalize(stack(images))  # (n, C, size, size)
    found = heat_maps(classifier.network, batch, layer=layer)
    worth = measure_worth(classifier.network, batch, found)
    rows = {
        "score": worth.scores,
        "random_score": worth.random_scores,
        "center_score": worth.center_scores,
        "beats_random": worth.beats_random,
        "beats_center": worth.beats_center,
        "judged": worth.judged,
    }
    by_index = {index: {name: row[i] for name, row in rows.items()} for i, index in enumerate(indices)}
    return Sample(found.layer, worth, by_index)


def explain_photos(
    classifier: Classifier, photos: Sequence[Photo], sample: Sample | None
) -> Iterator[ExplainedPhoto]:
    """Yield each photo with its prediction, heat map and pictures, in order; an unread one has its error.

    Args:
        photos: paths, or contents of files.
        sample: the layer of the maps, and the worth of some of the photos; None: the last layer with maps.

    Raises:
        NetworkError: the layer is unknown or has no maps, or there is not enough memory.
        ClassifierError: the logits are not one per class.
    """
    index = 0
    for decoded in decode_ahead(photos, classifier.preprocess, batch_size_for(classifier.preprocess.size)):
        layer = sample.layer if sample else None
        readable = _explain_batch(classifier, without_errors(decoded), layer)
        for item in decoded:
            photo = photos[index]
            name = f"photo {index}" if isinstance(photo, bytes) else str(photo)
            if isinstance(item, PhotosError):
                yield ExplainedPhoto(name, error=f"{item.what}: {item.why}" if item.why else item.what)
            else:
                worth = sample.by_index.get(index) if sample else None
                yield ExplainedPhoto(name, **next(readable), worth=worth)
            index += 1


def _explain_batch(
    classifier: Classifier, images: list[Tensor], layer: str | None
) -> Iterator[dict[str, Any]]:
    """Yield the fields of an ExplainedPhoto for each image uint8 (C, size, size)."""
    if not images:
        return
    pixels = stack(images)  # (N, C, size, size)
    found = heat_maps(classifier.network, classifier.preprocess.normalize(pixels), layer=layer)
    probabilities = softmax(classifier.checked(found.logits) / classifier.temperature)
    for image, heat, p in zip(pixels, found.maps, probabilities, strict=True):
        picture = as_picture(image)
        order = np.argsort(-p, kind="stable")
        names = [classifier.classes[i] for i in order[:2]] + [None]
        values = [float(p[i]) for i in order[:2]] + [None]
        yield {
            "label": names[0],
            "probability": values[0],
            "runner_up": names[1],
            "runner_up_probability": values[1],
            "heat_map": heat.numpy().copy(),
            "picture": encode(picture),
            "overlay": encode(overlay(picture, heat)),
        }


def _decode(classifier: Classifier, photos: Sequence[Photo]) -> Iterator[Tensor | PhotosError]:
    for decoded in decode_ahead(photos, classifier.preprocess, batch_size_for(classifier.preprocess.size)):
        yield from decoded


def as_picture(image: Tensor) -> Image.Image:
    """Return an image uint8 (C, H, W) as a PIL image, RGB or L."""
    return Image.fromarray(image.permute(1, 2, 0).squeeze(2).contiguous().numpy())


def overlay(picture: Image.Image, heat: Tensor) -> Image.Image:
    """Return the colors of a heat map over the picture in gray.

    Args:
        picture: of any mode and size.
        heat: (h, w), 0 to 1, which is enlarged to the picture.
    """
    gray = np.asarray(picture.convert("L"), np.float32)[..., None]  # (H, W, 1)
    large = upsample(heat[None], (picture.height, picture.width))[0]  # (H, W)
    steps = (large.clamp(0, 1) * (COLOR_STEPS - 1)).round().to(torch.int64).numpy()
    mixed = (1 - MAP_OPACITY) * gray + MAP_OPACITY * _colors()[steps]  # (H, W, 3)
    return Image.fromarray(mixed.round().astype(np.uint8))


def encode(image: Image.Image) -> bytes:
    """Return a PNG if the longer side is at most MAX_PNG_SIDE pixels, else a JPEG."""
    buffer = io.BytesIO()
    if max(image.size) <= MAX_PNG_SIDE:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


@cache
def _colors() -> NDArray[np.float32]:
    """Return the colors of viridis, (COLOR_STEPS, 3), 0 to 255: readable with color vision deficiency."""
    from matplotlib import colormaps

    return (colormaps["viridis"](np.linspace(0, 1, COLOR_STEPS))[:, :3] * 255).astype(np.float32)
