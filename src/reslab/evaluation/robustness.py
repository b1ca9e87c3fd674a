"""Accuracy of a classifier on corrupted photos: each photo is read once, and corrupted in every way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reslab.errors import PhotosError, UsageError
from reslab.hardware import choose_device
from reslab.parallel import on_all_cores
from reslab.photos.folder.photos import Photos
from reslab.text import printable, table

from .classifier import Classifier
from .corruptions import CORRUPTIONS, SEVERITIES, corrupt, image_key
from .inference import batch_size_for, evaluating, predict_batch, read_photo, stack
from .intervals import accuracy_interval
from .photo_paths import LabeledPaths

BATCH_SIZE = 16  # of one core


@dataclass(frozen=True)
class CorruptedAccuracy:
    """Accuracy under one corruption at one severity.

    Attributes:
        corruption: name of the corruption, such as "fog".
        severity: 1 to 5.
        accuracy: fraction of the corrupted photos with the correct label, 0 to 1.
        low: lower end of its 95 % interval (Wilson 1927, "Probable inference").
        high: upper end of the interval.
        fall: accuracy on the photos as they are, minus this one; negative if it rose.
    """

    corruption: str
    severity: int
    accuracy: float
    low: float
    high: float
    fall: float


@dataclass(frozen=True)
class Robustness:
    """Accuracy of a classifier on corrupted photos, next to that on the photos as they are.

    `str` names the corruption that costs most, and the mean. `table()` gives a row per corruption.

    Attributes:
        photos: number of photos that could be read.
        unread: number of further photos that could not be read.
        accuracy: on the photos as they are, 0 to 1.
        severities: severities that were measured, in ascending order.
        corrupted: accuracies, by corruption in the order of CORRUPTIONS, then by severity.
    """

    photos: int
    unread: int
    accuracy: float
    severities: tuple[int, ...]
    corrupted: tuple[CorruptedAccuracy, ...]

    @property
    def mean(self) -> float:
        """Mean accuracy over all corruptions and severities, 0 to 1."""
        return float(np.mean([figures.accuracy for figures in self.corrupted]))

    @property
    def worst(self) -> CorruptedAccuracy:
        """Figures of the corruption and severity with the lowest accuracy; the first of equal ones."""
        return min(self.corrupted, key=lambda figures: figures.accuracy)

    def __str__(self) -> str:
        worst = self.worst
        return (
            f"worst: {worst.corruption} at severity {worst.severity}, accuracy {worst.accuracy:.3f} "
            f"[{worst.low:.3f}, {worst.high:.3f}], {_fall(worst.fall)}\n"
            f"mean of {len(CORRUPTIONS)} corruptions: accuracy {self.mean:.3f}, "
            f"{_fall(self.accuracy - self.mean)}"
        )

    def table(self) -> str:
        """Return a text table: a row per corruption, and per severity the accuracy and its change."""
        header = ["corruption"]
        for severity in self.severities:
            header += [f"severity {severity}", "change"]
        rows = []
        for name in CORRUPTIONS:
            cells = [figures for figures in self.corrupted if figures.corruption == name]
            rows.append([name, *(text for c in cells for text in (f"{c.accuracy:.3f}", f"{-c.fall:+.3f}"))])
        return table(header, rows, "l" + "rr" * len(self.severities))

    def as_json(self) -> dict[str, Any]:
        """Return the attributes, the mean and the worst as JSON values."""
        return {
            "photos": self.photos,
            "unread": self.unread,
            "accuracy": self.accuracy,
            "severities": list(self.severities),
            "mean": self.mean,
            "worst": vars(self.worst),
            "corrupted": [vars(figures) for figures in self.corrupted],
        }


def evaluate_corrupted(
    classifier: Classifier,
    photos: Photos | Path | str,
    severities: Sequence[int] = (3,),
    *,
    progress: bool = True,
) -> Robustness:
    """Measure the accuracy on photos corrupted in 15 ways: noise, blur, weather, JPEG, rotation and others.

    After Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
    perturbations", section 3. Each photo is read once. A photo gets the same corruption at every call.

    Args:
        classifier: predicts the photos.
        photos: a folder of classes, a folder with test/, a list of photos, or Photos. The test split counts
            if there is one, else val, else all photos.
        severities: numbers from 1 (light) to 5 (heavy), at least one.
        progress: show a progress bar, if stderr is a terminal.

    Returns:
        Accuracies over the photos that could be read.

    Raises:
        UsageError: a severity is out of range, or there is none.
        PhotosError: there are no photos, none can be read, or one is of an unknown class.
        ClassifierError: the logits are not finite, or not one per class; or there is not enough memory.
    """
    severities = sorted(set(severities))
    if not severities or not set(severities) <= set(SEVERITIES):
        raise UsageError(f"severities {severities}", "severities go from 1 to 5", "give one, such as 3")
    cases = [(name, severity) for name in CORRUPTIONS for severity in severities]
    labeled = LabeledPaths.of(photos, classifier.classes)
    device, preprocess = choose_device(classifier.device), classifier.preprocess
    batch_size = batch_size_for(preprocess.size, BATCH_SIZE)

    def count_correct(start: int) -> NDArray[np.int64]:
        """Return counts over one batch: photos that were read, correct ones, correct ones of each case."""
        torch.set_num_threads(1)  # applies to this thread
        decoded = [read_photo(photo, preprocess) for photo in labeled.files[start : start + batch_size]]
        read = [i for i, item in enumerate(decoded) if not isinstance(item, PhotosError)]
        if not read:
            return np.zeros(2 + len(cases), np.int64)
        images = stack([item for item in decoded if not isinstance(item, PhotosError)])
        labels, keys = labeled.labels[start : start + batch_size][read], [image_key(i) for i in images]

        def correct(pixels: torch.Tensor) -> int:
            logits = predict_batch(classifier.network, preprocess.normalize(pixels), device)
            return int((classifier.checked(logits).argmax(1) == labels).sum())

        corrupted = (correct(corrupt(images, name, severity, keys)) for name, severity in cases)
        return np.array([len(read), correct(images), *corrupted])

    starts = range(0, len(labeled.paths), batch_size)
    total = np.zeros(2 + len(cases), np.int64)
    try:
        with evaluating(classifier.network), closing(on_all_cores(count_correct, starts)) as counts:
            for count in _bar(counts, len(starts), progress):
                total += count
    finally:
        torch.set_num_threads(torch.get_num_threads())  # new threads get this thread's number again
    read, clean, *correct_by_case = total.tolist()
    if not read:
        what = (
            f"none of {len(labeled.paths):,} photos can be read, the first is {printable(labeled.paths[0])}"
        )
        raise PhotosError(what, "", "point to other photos, or replace these")
    figures = []
    for (name, severity), correct in zip(cases, correct_by_case, strict=True):
        low, high = accuracy_interval(correct, read)
        fall = (clean - correct) / read
        figures.append(CorruptedAccuracy(name, severity, correct / read, low, high, fall))
    unread = len(labeled.paths) - read
    return Robustness(read, unread, clean / read, tuple(severities), tuple(figures))


def _bar(counts: Any, batches: int, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(
        counts, "corrupting photos", batches, unit=" batches", leave=False, disable=None if progress else True
    )


def _fall(fall: float) -> str:
    """Return a fall of the accuracy as text: "0.120 less than without corruption"."""
    return f"{abs(fall):.3f} {'less' if fall >= 0 else 'more'} than without corruption"
