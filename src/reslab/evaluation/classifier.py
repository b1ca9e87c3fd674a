"""Classifier: network, classes and preprocessing as one value and one file; save, load, predict, evaluate."""

from __future__ import annotations

import copy
import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from reslab.errors import ClassifierError, PhotosError
from reslab.evaluation.fast.parallel import answer_many, are_many
from reslab.files import user_path
from reslab.hardware import choose_device
from reslab.networks.registry import NetworkSpec
from reslab.photos.folder import list_file as listing
from reslab.photos.folder.layout import find_photos, find_splits, judged_alone
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import printable

from .inference import answer, answer_exactly
from .metrics import Evaluation, evaluate_logits, soft_max

if TYPE_CHECKING:
    from PIL import Image

NAMED = 100  # photos that an evaluation could not read and names


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one photo; `error` says why it says nothing."""

    path: str
    label: str | None = None
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict, repr=False)
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        shares = dict(self.probabilities)
        return {
            "path": self.path,
            "label": self.label,
            "probability": self.probability,
            "probabilities": shares,
        }


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network that knows its classes and its preprocessing.

    `spec` is None for a network of the user's own, which a file cannot rebuild; `temperature` divides the
    logits; `figures` are what was measured when it was made; `licence` is the data's, if known. The network
    given stays on its device and in its modes: if `device` is another, a copy goes there.
    """

    network: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    spec: NetworkSpec | None = None
    temperature: float = 1.0
    figures: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        device = choose_device(self.device)
        places = {tensor.device for tensor in (*self.network.parameters(), *self.network.buffers())}
        if any(p.type != device.type or device.index not in (None, p.index) for p in places):
            object.__setattr__(self, "network", copy.deepcopy(self.network).to(device))

    def __str__(self) -> str:
        name = self.spec.name if self.spec else type(self.network).__name__
        return f"Classifier({name}, {len(self.classes)} classes, {self.preprocess.size} pixels)"

    __repr__ = __str__

    def to(self, device: str) -> Classifier:
        """The same classifier on another device: auto, cpu, cuda, mps."""
        return replace(self, device=device)

    def save(self, path: Path | str) -> None:
        """Writes one .safetensors file, whole or not at all. Raises OSError if there is no room."""
        from .model_file import save

        save(self, Path(path))

    @staticmethod
    def load(path: Path | str, *, network: nn.Module | None = None, device: str = "auto") -> Classifier:
        """Reads a model file, or a run folder's best model. Raises ClassifierError naming what is wrong.

        `network` takes the weights if the file's network is the user's own.
        """
        from .model_file import load

        return load(Path(path), network, device)

    def logits(
        self, photos: Sequence[Path | str | bytes], *, rough: bool = False
    ) -> Iterator[tuple[int, np.ndarray | PhotosError]]:
        """(index of the photo, its logits or why it cannot be read), in order.

        Many photos on a CPU are answered by a quicker copy of the network where there is one: the logits are
        within 1e-4 of the largest, or if `rough` within 2e-2, and the most probable class is the network's.
        """
        device = choose_device(self.device)
        if device.type == "cpu" and are_many(len(photos)):
            answers = answer_many(self.network, photos, self.preprocess, rough)
        else:
            answers = answer_exactly(self.network, photos, self.preprocess, device)
        for index, row in enumerate(answers):
            yield index, row if isinstance(row, PhotosError) else self._checked(row[None])[0]

    def _checked(self, logits: torch.Tensor) -> np.ndarray:
        if logits.shape[1:] != (len(self.classes),):
            raise ClassifierError(
                f"the network gives {tuple(logits.shape[1:])} a photo for {len(self.classes)} classes",
                "every class has one logit",
                "name as many classes as the network has outputs",
            )
        if not logits.isfinite().all():
            raise ClassifierError(
                "the network gives logits that are not finite",
                "no class is the most probable among NaN; its training diverged",
                "train again with a lower learning rate",
            )
        return logits.numpy()

    def predict_all(self, photos: Sequence[Path | str | bytes]) -> Iterator[Prediction]:
        """One Prediction a photo, in order; a photo that cannot be read gets its reason and stops nothing.

        Every label is the network's own. Many photos on a CPU (from 256) are computed in bf16 where that is
        faster: the logits are within 2 % of the largest, where the two best are near each other the network's
        own. Of 2,000 cats and dogs a probability was 0.0008 off on average and never more than 0.015.
        """
        for index, logits in self.logits(photos, rough=True):
            photo = photos[index]
            name = f"photo {index}" if isinstance(photo, bytes) else str(photo)
            if isinstance(logits, PhotosError):
                yield Prediction(name, error=f"{logits.what}: {logits.why}" if logits.why else logits.what)
            else:
                yield self._prediction(name, logits)

    def _prediction(self, name: str, logits: np.ndarray) -> Prediction:
        probabilities = soft_max(logits[None] / self.temperature)[0]
        best = int(logits.argmax())
        shares = {c: float(p) for c, p in zip(self.classes, probabilities, strict=True)}
        return Prediction(name, self.classes[best], float(probabilities[best]), shares)

    def predict(self, photo: Path | str | bytes | Image.Image) -> Prediction:
        """One photo: a path, the bytes of a file, or a PIL image. Raises PhotosError if it cannot be read."""
        if not isinstance(photo, Path | str | bytes):
            pixels = self.preprocess.evaluation(self.preprocess.shrink(self._as_mode(photo)))
            images = self.preprocess.normalize(pixels[None])
            row = answer(self.network, images, choose_device(self.device))
            return self._prediction("image", self._checked(row)[0])
        _, logits = next(self.logits([photo]))
        if isinstance(logits, PhotosError):
            raise logits
        return self._prediction("photo" if isinstance(photo, bytes) else str(photo), logits)

    def _as_mode(self, image: Image.Image) -> Image.Image:
        import io

        from PIL import ImageOps

        from reslab.photos.decoding.decode import decode

        buffer = io.BytesIO()
        try:
            upright = ImageOps.exif_transpose(image)  # here, since PNG would lose the orientation
            if upright.mode in ("HSV", "YCbCr", "La", "RGBa", "RGBX"):  # modes that no file comes in
                upright = upright.convert("RGBA" if "a" in upright.mode else "RGB")
            lossless = "TIFF" if upright.mode in ("CMYK", "LAB", "F", "I", "PA") else "PNG"
            upright.save(buffer, format=lossless)  # and then one rule of decoding for all
        except (OSError, ValueError, SyntaxError) as error:
            raise PhotosError(
                "the image cannot be read as a photo", str(error), "remove or replace it"
            ) from error
        return decode(buffer.getvalue(), "RGB" if self.preprocess.channels == 3 else "L")

    def evaluate(self, photos: Photos | Path | str) -> Evaluation:
        """Accuracy with interval, per class, calibration, over every photo; labels by class name.

        `photos`: a folder of classes, a folder with test/, or Photos, of which the test split counts (val if
        there is none). Photos that cannot be read are left out, counted and named. Raises PhotosError if that
        is all of them, or for a class this classifier lacks.
        """
        paths, labels = labelled(photos, self.classes)
        rows, shown, unread = list[np.ndarray](), list[int](), list[tuple[str, str]]()
        for index, logits in self.logits(paths):
            if not isinstance(logits, PhotosError):
                rows.append(logits)
                shown.append(labels[index])
            elif len(unread) < NAMED:
                unread.append((str(paths[index]), logits.why or logits.what))
        if not rows:
            path, why = unread[0]
            what = f"none of {len(paths):,} photos can be read, the first is {printable(path)}"
            raise PhotosError(what, why, "point to other photos, or mend these")
        found = evaluate_logits(np.stack(rows), np.array(shown, np.int64), self.classes, self.temperature)
        return replace(found, unread=len(paths) - len(rows), unread_first=tuple(unread))


def labelled(photos: Photos | Path | str, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """Paths and labels: the index of each class's name in `classes`. Raises PhotosError for unknown ones."""
    if isinstance(photos, Photos):
        folder = photos.folder
        files: dict[str, list[str]] = {name: [] for name in photos.classes}
        for photo in photos.test or photos.val:
            files[photos.classes[photo.label]].append(photo.path)
    else:
        folder = user_path(photos)
        files = judged(folder)
    unknown = sorted(name for name, paths in files.items() if paths and name not in classes)
    if unknown:
        raise PhotosError(
            f"{folder} has photos of a class that this classifier does not know: {', '.join(unknown)}",
            f"it was trained on {', '.join(classes)}, and labels are matched by name",
            "rename the folders to these names, or leave the class out",
        )
    listed = [(folder / path, classes.index(name)) for name, paths in files.items() for path in paths]
    if not listed:
        raise PhotosError(
            f"{folder} has no photos to evaluate on", "", "point to a folder of classes, or test/"
        )
    return [path for path, _ in listed], [label for _, label in listed]


def judged(folder: Path) -> dict[str, list[str]]:
    """{class: [path relative to folder]} of what counts in a folder: its test split, else val, else all.

    Of a list of photos the paths are absolute, for they are relative to another folder.
    """
    if listing.is_list(folder):
        return listing.read(folder).judged()
    if split := judged_alone(folder):
        inside = judged(split)
        return {name: [f"{split.name}/{path}" for path in paths] for name, paths in inside.items()}
    found = find_splits(folder)
    of = next(found[name] for name in ("test", "val", "all", "train") if name in found)
    return {name: list(paths) for name, paths in of.items()}


def expand(patterns: Sequence[str]) -> list[Path]:
    """Files, folders (everything below) and globs -> photos, each once, in the order given.

    What does not exist stays in the list, so that it gets a row with the reason.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        # os.path and not Path: a line of a list may be too long for a name, or begin with ~ and be no user
        path = user_path(pattern)
        if os.path.isdir(path):
            found |= dict.fromkeys(find_photos(path))
        elif os.path.exists(path) or not glob.has_magic(pattern):
            found[path] = None
        else:
            matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
            files = [match for match in matches if match.is_file()]
            found |= dict.fromkeys(files or [p for m in matches for p in find_photos(m)] or [path])
    return list(found)
