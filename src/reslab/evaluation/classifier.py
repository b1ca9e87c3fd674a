"""Classifier: a network with its classes and preprocessing; load, predict, evaluate, save."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import torch
from torch import nn

from reslab.errors import ClassifierError, PhotosError, UsageError
from reslab.evaluation.fast.parallel import is_worthwhile, predict_in_parallel
from reslab.files import user_path
from reslab.hardware import choose_device
from reslab.networks.registry import NetworkSpec
from reslab.photos.decoding.decode import decode
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.data_range import note_on_values
from reslab.photos.loading.preprocess import Preprocess
from reslab.text import printable

from .arrays import image_of
from .coverage import coverage_at
from .inference import predict_batch, predict_exactly
from .metrics import Evaluation, evaluate_rows
from .model_file import MAX_TEMPERATURE, MIN_TEMPERATURE, Header, find_model, read_model, save_model
from .model_network import load_network
from .photo_paths import LabeledPaths
from .probabilities import softmax
from .rows import PhotoRows

if TYPE_CHECKING:
    from PIL import Image

log = logging.getLogger("reslab")
MAX_LOGIT = 1e30  # divided by the smallest temperature it is still finite
MAX_NAMED_UNREAD = 100  # photos that an Evaluation names because they could not be read


def load(path: Path | str, *, network: nn.Module | str | None = None, device: str = "auto") -> Classifier:
    """Load a classifier from a model file, or the best model of a run folder.

    Nothing in the file is executed. A file that is damaged, or does not fit its network, is refused.

    Args:
        path: a model.safetensors that reslab wrote, or a run folder.
        network: for a network of your own: a module, which gets the weights in place; or a text that names
            its file again, "my_block.py:MyBlock", which is run and has to be unchanged. With None the
            network is built by the file's header; one of your own is then known only in the process that
            trained it.
        device: auto, cpu, cuda, cuda:1 or mps.

    Returns:
        A classifier. Its network is in eval mode, or the given one with its own modes.

    Raises:
        ClassifierError: the file is missing, damaged, or needs `network`; or its weights do not fit.
        NetworkError: the network is from a file of your own, which `network` does not name, or which has
            changed; the error shows how.
        RecipeError: the device does not exist.
    """
    path = find_model(user_path(path))
    model = read_model(path)
    header = model.header
    return Classifier(
        load_network(path, model, network),
        header.classes,
        header.preprocess,
        header.network,
        header.temperature,
        header.figures,
        header.licence,
        device,
        header.reject_below,
    )


@dataclass(frozen=True)
class Prediction:
    """Prediction for one photo.

    Attributes:
        path: of the photo; "image" for a PIL image, "photo" for bytes ("photo 3" in a sequence).
        label: name of the most probable class; None if the photo could not be read.
        probability: of that class, 0 to 1; None if the photo could not be read.
        probabilities: of every class, by name; empty if the photo could not be read.
        sure: False if the probability is under the classifier's `reject_below`, which stands for the answer
            "not sure"; None if the classifier has no such threshold.
        error: why the photo could not be read; None if it could.
    """

    path: str
    label: str | None = None
    probability: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict, repr=False)
    sure: bool | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return a dict of path, label, probability and probabilities; for an unread photo path and error.

        "sure" is in it if the classifier has a threshold.
        """
        if self.error is not None:
            return {"path": self.path, "error": self.error}
        absent = ("error", "sure") if self.sure is None else ("error",)
        return {name: value for name, value in vars(self).items() if name not in absent}


@dataclass(frozen=True, eq=False)
class Classifier:
    """A network with its classes and its preprocessing, as one value and one file.

    The given network is used as it is, or copied if it is not on `device`. Predictions use eval mode and
    leave its modes as they were.

    Attributes:
        network: images (N, C, size, size), normalized -> logits (N, num_classes).
        classes: class names, in the order of the logits.
        preprocess: from a photo to the network's input.
        spec: how to build the network again; None for a network of your own.
        temperature: divides the logits before the softmax (Guo et al. 2017, section 4.2); 0.01 to 100.
        figures: measured when the classifier was trained, such as "val_accuracy" and "test_accuracy".
        licence: of the training data; None if unknown.
        device: auto, cpu, cuda, cuda:1 or mps; where `network` computes.
        reject_below: photos whose best class has a lower probability are "not sure"; 0 for no threshold.

    Raises:
        RecipeError: the device does not exist.
        UsageError: `reject_below` is not between 0 and 1, or `temperature` not between 0.01 and 100.
    """

    network: nn.Module
    classes: tuple[str, ...]
    preprocess: Preprocess
    spec: NetworkSpec | None = None
    temperature: float = 1.0
    figures: Mapping[str, Any] = field(default_factory=dict)
    licence: str | None = None
    device: str = "cpu"
    reject_below: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.reject_below <= 1:
            raise UsageError(
                f"photos cannot be rejected below a probability of {self.reject_below}",
                "a probability lies between 0 and 1",
                "give one such as 0.9",
            )
        if not MIN_TEMPERATURE <= self.temperature <= MAX_TEMPERATURE:
            raise UsageError(
                f"logits cannot be divided by a temperature of {self.temperature}",
                f"it lies between {MIN_TEMPERATURE} and {MAX_TEMPERATURE}; 1 leaves the logits as they are",
                "give one such as 1.5, or leave it out",
            )
        device = choose_device(self.device)
        devices = {tensor.device for tensor in (*self.network.parameters(), *self.network.buffers())}
        if any(d.type != device.type or device.index not in (None, d.index) for d in devices):
            object.__setattr__(self, "network", copy.deepcopy(self.network).to(device))

    def __str__(self) -> str:
        name = self.spec.name if self.spec else type(self.network).__name__
        return f"Classifier({name}, {len(self.classes)} classes, {self.preprocess.size} pixels)"

    __repr__ = __str__

    @staticmethod
    def load(path: Path | str, *, network: nn.Module | str | None = None, device: str = "auto") -> Classifier:
        """Load a model file or the best model of a run folder: the same as `reslab.load`."""
        return load(path, network=network, device=device)

    def save(self, path: Path | str) -> None:
        """Write one .safetensors file: weights, and a header with everything else.

        An existing file is replaced completely or not at all.

        Args:
            path: file to write, in a folder that exists.

        Raises:
            OSError: the file cannot be written, for example because the disk is full.
        """
        header = Header(
            network=self.spec,
            network_class=type(self.network).__name__,
            classes=self.classes,
            preprocess=self.preprocess,
            temperature=self.temperature,
            figures=dict(self.figures),
            licence=self.licence,
            reject_below=self.reject_below,
        )
        save_model(user_path(path), header, self.network)

    def to(self, device: str) -> Classifier:
        """Return a new classifier on `device`. The network is copied if it has to move, else shared.

        Args:
            device: auto, cpu, cuda, cuda:1 or mps.

        Raises:
            RecipeError: the device does not exist.
        """
        return replace(self, device=device)

    def logits(
        self, photos: Sequence[Path | str | bytes], *, approximate: bool = False
    ) -> Iterator[tuple[int, np.ndarray | PhotosError]]:
        """Yield (index in `photos`, logits of the photo as float32 (num_classes,)) in order.

        The temperature is not applied. A photo that cannot be read gives its PhotosError in place of the
        logits. From 256 photos on, a CPU may use a faster copy of the network. Its logits differ by at most
        1e-4 of the largest one, and no label differs.

        Args:
            photos: paths, or contents of files as bytes.
            approximate: allow bf16 for that copy, with a difference of at most 2e-2.

        Raises:
            ClassifierError: the logits are not finite, or not one per class; or there is not enough memory.
        """
        device = choose_device(self.device)
        paths = [str(photo) for photo in photos if not isinstance(photo, bytes)]
        if note := note_on_values(paths, self.preprocess.value_range):
            log.warning(note)
        if device.type == "cpu" and is_worthwhile(len(photos)):
            rows = predict_in_parallel(self.network, photos, self.preprocess, approximate)
        else:
            rows = predict_exactly(self.network, photos, self.preprocess, device)
        for index, row in enumerate(rows):
            yield index, row if isinstance(row, PhotosError) else self.checked(row[None])[0]

    def checked(self, logits: torch.Tensor) -> np.ndarray:
        """Return logits (N, num_classes) on the CPU as an array.

        Raises:
            ClassifierError: there is not one for each class, or one is not finite or above MAX_LOGIT.
        """
        if logits.shape[1:] != (len(self.classes),):
            raise ClassifierError(
                f"the network gives {tuple(logits.shape[1:])} per photo for {len(self.classes)} classes",
                "every class needs one logit",
                "name as many classes as the network has outputs",
            )
        if not (logits.abs() <= MAX_LOGIT).all():
            raise ClassifierError(
                "the network gives logits that are not finite",
                "its training diverged, and NaN has no most probable class",
                "train again with a lower learning rate",
            )
        return logits.numpy()

    def predict_all(self, photos: Sequence[Path | str | bytes]) -> Iterator[Prediction]:
        """Yield one Prediction per photo, in order.

        For a photo that cannot be read, it has `error` and no label. From 256 photos on, a CPU may compute
        in bf16: no label differs, and of 2,000 cats and dogs the probabilities differed by 0.0008 on average
        and by at most 0.015. So `sure` may differ where a probability is that close to `reject_below`.

        Args:
            photos: paths, or contents of files as bytes.

        Raises:
            ClassifierError: the logits are not finite, or not one per class; or there is not enough memory.
        """
        for index, logits in self.logits(photos, approximate=True):
            photo = photos[index]
            name = f"photo {index}" if isinstance(photo, bytes) else str(photo)
            if isinstance(logits, PhotosError):
                yield Prediction(name, error=f"{logits.what}: {logits.why}" if logits.why else logits.what)
            else:
                yield self._prediction(name, logits)

    @overload
    def predict(self, photo: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    @overload
    def predict(self, photo: Path | str | bytes | Image.Image | np.ndarray | torch.Tensor) -> Prediction: ...
    def predict(self, photo: Any) -> Prediction | list[Prediction]:
        """Return the prediction for one photo, or a list of predictions for a list of photos.

        Args:
            photo: a path, the content of a file, or a PIL image, which is treated as its file would be. Or a
                uint8 array: NumPy's (H, W, 3) or (H, W), or a tensor (3, H, W) or (H, W), not normalized. A
                classifier with a value range takes arrays of other types, too. Or a list of these.

        Raises:
            PhotosError: a photo cannot be read.
            UsageError: an array has another shape or type.
            ClassifierError: the logits are not finite, or not one per class; or there is not enough memory.
        """
        if isinstance(photo, list | tuple):
            return [self._predict_one(each, f"image {index}") for index, each in enumerate(photo)]
        return self._predict_one(photo, "image")

    def _predict_one(self, photo: Any, name: str) -> Prediction:
        """Return the prediction for one photo; `name` is its path if it is an image or an array."""
        if not isinstance(photo, Path | str | bytes):
            is_image = hasattr(photo, "getbands")  # of PIL, which is imported only where it is used
            image = self._decoded(photo) if is_image else image_of(photo, self.preprocess)
            pixels = self.preprocess.evaluation(self.preprocess.shrink(image))
            images = self.preprocess.normalize(pixels[None])  # (1, C, size, size)
            logits = predict_batch(self.network, images, choose_device(self.device))
            return self._prediction(name, self.checked(logits)[0])
        _, row = next(self.logits([photo]))
        if isinstance(row, PhotosError):
            raise row
        return self._prediction("photo" if isinstance(photo, bytes) else str(photo), row)

    def _prediction(self, name: str, logits: np.ndarray) -> Prediction:
        probabilities = softmax(logits[None] / self.temperature)[0]
        best = int(logits.argmax())
        probability = float(probabilities[best])
        by_class = {c: float(p) for c, p in zip(self.classes, probabilities, strict=True)}
        sure = probability >= self.reject_below if self.reject_below else None
        return Prediction(name, self.classes[best], probability, by_class, sure)

    def _decoded(self, image: Image.Image) -> Image.Image:
        """Return a PIL image of any mode as `decode` returns its lossless file: upright, RGB or grey.

        Raises:
            PhotosError: the image cannot be converted.
        """
        import io

        from PIL import ImageOps

        buffer = io.BytesIO()
        try:
            upright = ImageOps.exif_transpose(image)  # PNG would lose the orientation
            if upright.mode in ("HSV", "YCbCr", "La", "RGBa", "RGBX"):  # no file format has these modes
                upright = upright.convert("RGBA" if "a" in upright.mode else "RGB")
            upright.save(buffer, format="TIFF" if upright.mode in ("CMYK", "LAB", "F", "I", "PA") else "PNG")
        except (OSError, ValueError, SyntaxError) as error:
            raise PhotosError(
                "the image cannot be read as a photo", str(error), "remove or replace it"
            ) from error
        mode: Literal["RGB", "L"] = "RGB" if self.preprocess.channels == 3 else "L"
        return decode(buffer.getvalue(), mode, value_range=self.preprocess.value_range)

    def evaluate(self, photos: Photos | Path | str) -> Evaluation:
        """Measure accuracy with its interval, figures per class and calibration.

        Labels are matched by class name. Photos that cannot be read are skipped, counted in `unread`, and the
        first 100 are named in `unread_first`.

        Args:
            photos: a folder of classes, a folder with test/, a list of photos, or Photos. The test split
                counts if there is one, else val, else all photos.

        Returns:
            Figures over the photos that were read, and a row for each of these. Probabilities and losses
            use the temperature.

        Raises:
            PhotosError: there are no photos, none can be read, or one is of an unknown class.
            ClassifierError: the logits are not finite, or not one per class; or there is not enough memory.
        """
        labeled = LabeledPaths.of(photos, self.classes)
        found, read, unread = list[np.ndarray](), list[int](), list[tuple[str, str]]()
        for index, logits in self.logits(labeled.files):
            if not isinstance(logits, PhotosError):
                found.append(logits)
                read.append(index)
            elif len(unread) < MAX_NAMED_UNREAD:
                unread.append((str(labeled.files[index]), logits.why or logits.what))
        total = len(labeled.paths)
        if not found:
            path, why = unread[0]
            what = f"none of {total:,} photos can be read, the first is {printable(path)}"
            raise PhotosError(what, why, "point to other photos, or replace these")
        rows = PhotoRows.from_logits(
            np.stack(found),
            labeled.labels[read],
            self.classes,
            temperature=self.temperature,
            folder=labeled.folder,
            paths=[labeled.paths[index] for index in read],
        )
        return replace(
            evaluate_rows(rows),
            rejection=coverage_at(rows, self.reject_below) if self.reject_below else None,
            unread=total - len(rows),
            unread_first=tuple(unread),
        )
