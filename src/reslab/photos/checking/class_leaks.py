"""Class leaks: a place of the photos, or a property of the files, that betrays the class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .class_recall import FOLDS, MISTAKEN_SHARE, Recall, folds_of, recall_of
from .file_properties import property_recalls, typical_value
from .findings import FilePropertyBetraysClass, Finding, PlaceBetraysClass
from .photo_stats import GRID, GRID_PIXELS, PhotoStats

SAMPLED_PHOTOS = 2000  # of a folder: 3 KB each
MIN_SAMPLED_PHOTOS = 20  # of a class, where it has as many: more than 100 classes make a larger sample
MIN_PHOTOS = 10  # of a class, to judge it
SHRINKAGE = 0.1  # of the covariance of a place's pixels, towards a multiple of the identity
MIN_VARIANCE = 1e-6  # of pixels from 0 to 1: a place of one color has none
MIDDLE = slice(GRID // 4, GRID - GRID // 4)  # rows, and columns: 4 x 4 of 8 x 8 places
BORDER = np.pad(np.zeros((GRID - 2, GRID - 2), bool), 1, constant_values=True)


class Sample(NamedTuple):
    """A photo of the sample: its class, digest and small image, and its statistics if they are known."""

    class_name: str
    digest: bytes
    pixels: bytes
    stats: PhotoStats | None


@dataclass(frozen=True, eq=False)
class PlaceScores:
    """Scores of 8 x 8 places: the recall of a class from the pixels of one place alone.

    Attributes:
        classes: names of the K classes with enough photos.
        photos: number of photos measured.
        recall: (K, 8, 8), by row from the top and column from the left.
    """

    classes: tuple[str, ...]
    photos: int
    recall: Recall

    @property
    def middle(self) -> Recall:
        """Recall from the best of the 4 x 4 places in the middle: (K, 1, 1)."""
        share = self.recall.share[:, MIDDLE, MIDDLE].reshape(len(self.classes), -1)
        error = self.recall.error[:, MIDDLE, MIDDLE].reshape(len(self.classes), -1)
        best = share.argmax(axis=1)[:, None]
        pick = [np.take_along_axis(of, best, axis=1)[:, :, None] for of in (share, error)]
        return Recall(*pick)

    @property
    def betraying(self) -> NDArray[np.bool_]:
        """Mask of the places at the border that betray a class: (K, 8, 8)."""
        return BORDER & self.recall.exceeds(self.middle)

    @property
    def best(self) -> tuple[int, int, int]:
        """Class, row and column of the border place that exceeds the middle most: a betraying one, if any."""
        excess = np.where(BORDER, self.recall.share - self.middle.share, -1) + self.betraying
        index, row, column = np.unravel_index(excess.argmax(), excess.shape)
        return int(index), int(row), int(column)


def sampled_share(photos: int, classes: int) -> float:
    """Return the share of the photos of a class to sample, 0 to 1.

    Args:
        photos: number of photos of the class, at least 1.
        classes: number of classes.
    """
    return min(1.0, max(SAMPLED_PHOTOS / classes, MIN_SAMPLED_PHOTOS) / photos)


def is_sampled(digest: bytes, share: float) -> bool:
    """Return whether a photo is in the sample of a share. It depends on the content alone.

    A photo in the sample of a share is in that of every larger share, too.
    """
    return int.from_bytes(digest[:4], "big") < share * 2**32


def find_class_leaks(
    samples: Sequence[Sample], split: str | None
) -> tuple[list[Finding], PlaceScores | None]:
    """Return the class leaks of a sample, at most one of each kind, and the scores of the places.

    Equal files of a class count once. The scores are None without two classes of MIN_PHOTOS photos. Without
    statistics of every photo, the properties of the files are not judged.

    Args:
        samples: the sampled photos to train on.
        split: split that the findings name.
    """
    distinct = {(sample.class_name, sample.digest): sample for sample in samples}
    kept = [distinct[key] for key in sorted(distinct)]  # by content, which decides the folds
    counts = Counter(sample.class_name for sample in kept)
    classes = tuple(name for name, count in counts.items() if count >= MIN_PHOTOS)
    if len(classes) < 2:
        return [], None
    index = {name: label for label, name in enumerate(classes)}
    kept = [sample for sample in kept if sample.class_name in index]
    labels = np.array([index[sample.class_name] for sample in kept])
    pixels = np.frombuffer(b"".join(sample.pixels for sample in kept), np.uint8)
    places = place_scores(pixels.reshape(-1, GRID_PIXELS, GRID_PIXELS, 3), labels, classes)
    stats = [sample.stats for sample in kept if sample.stats is not None]
    found = list(_place_findings(places, split))
    if len(stats) == len(kept):
        found += _property_findings(stats, labels, places, split)
    return found, places


def place_scores(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...]
) -> PlaceScores:
    """Measure the recall of each class from each place of the photos alone, cross-validated in five folds.

    Each class is separated from the others by Fisher's linear discriminant with a shrunk covariance (Hastie,
    Tibshirani, Friedman, "The Elements of Statistical Learning", 2009, section 4.3). A logistic regression
    ranks the photos nearly alike and takes 30 to 140 times as long.

    Args:
        pixels: (N, 32, 32, 3), each photo shrunk to a square.
        labels: (N,), from 0 to K - 1.
        classes: K names.
    """
    count, side = len(pixels), GRID_PIXELS // GRID
    by_place = pixels.reshape(count, GRID, side, GRID, side, 3).transpose(1, 3, 0, 2, 4, 5)
    members = labels[:, None] == np.arange(len(classes))  # (N, K)
    folds = folds_of(labels)
    share, error = np.empty((2, len(classes), GRID, GRID))
    for row, column in np.ndindex(GRID, GRID):
        place = by_place[row, column].reshape(count, -1).astype(np.float32) / np.float32(255)  # (N, 48)
        recall = recall_of(_discriminants(place, members, folds), members)
        share[:, row, column], error[:, row, column] = recall.share, recall.error
    return PlaceScores(classes, count, Recall(share, error))


def _discriminants(
    features: NDArray[np.float32], members: NDArray[np.bool_], folds: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return each photo's discriminant of each class, fitted to the other folds: (N, K).

    Its unit is the standard deviation of the discriminant, so that the folds have one scale.

    Args:
        features: (N, D).
        members: (N, K), whether a photo is of a class.
        folds: (N,), 0 to FOLDS - 1.
    """
    scores = np.empty(members.shape)
    identity = np.eye(features.shape[1])
    for fold in range(FOLDS):
        x, y = features[folds != fold], members[folds != fold].astype(np.float32)
        mean = x.mean(axis=0)
        x = x - mean
        inside, counts = y.T @ x, y.sum(axis=0)[:, None]  # (K, D) sums
        own, others = inside / counts, -inside / (len(x) - counts)  # means: all sums together are 0
        covariance = (x.T @ x).astype(np.float64) / len(x)
        variance = covariance.trace() / len(covariance)
        covariance = (1 - SHRINKAGE) * covariance + (SHRINKAGE * variance + MIN_VARIANCE) * identity
        weights = np.linalg.solve(covariance, (own - others).T)  # (D, K)
        halfway = ((own + others) / 2 * weights.T).sum(axis=1)  # (K,)
        deviation = np.sqrt((weights * (covariance @ weights)).sum(axis=0))  # (K,)
        margins = (features[folds == fold] - mean) @ weights - halfway
        scores[folds == fold] = margins / np.maximum(deviation, MIN_VARIANCE)
    return scores


def _place_findings(places: PlaceScores, split: str | None) -> Iterator[Finding]:
    """Yield a PlaceBetraysClass for the place that betrays a class most, if one does."""
    index, row, column = places.best
    if not places.betraying[index, row, column]:
        return
    share = places.recall.share[index]
    name = places.classes[index]
    why = (
        f"row {row + 1}, column {column + 1} of {GRID} x {GRID}, {_region(row, column)}: "
        f"{_recognized(share[row, column], name)}; from the best place in the middle "
        f"{places.middle.share[index].item():.2f}, from the median place {np.median(share):.2f}"
    )
    yield PlaceBetraysClass(None, split, name, why)


def _recognized(share: float, name: str) -> str:
    mistaken = f"{MISTAKEN_SHARE:.2f} of the others are mistaken for them"
    return f"{share:.2f} of the {name} photos can be recognized from it alone, while {mistaken}"


def _region(row: int, column: int) -> str:
    """Return "top right corner" or "left edge", say, for a place at the border."""
    vertical = {0: "top", 1: "top", GRID - 2: "bottom", GRID - 1: "bottom"}.get(row)
    horizontal = {0: "left", 1: "left", GRID - 2: "right", GRID - 1: "right"}.get(column)
    if vertical and horizontal:
        return f"{vertical} {horizontal} corner"
    return f"{vertical or horizontal} edge"


def _property_findings(
    stats: Sequence[PhotoStats], labels: NDArray[np.int64], places: PlaceScores, split: str | None
) -> Iterator[Finding]:
    """Yield a FilePropertyBetraysClass for the property that betrays a class most, if one does.

    It must tell the class far better than the best place in the middle: other content makes other files.
    """
    middle = Recall(places.middle.share.ravel(), places.middle.error.ravel())
    excess = dict[str, NDArray[np.float64]]()
    recalls = property_recalls(stats, labels)
    for name, recall in recalls.items():
        betrays = recall.exceeds(middle)
        if betrays.any():
            excess[name] = np.where(betrays, recall.share - middle.share, -1)
    if not excess:
        return
    best = max(excess, key=lambda name: excess[name].max())
    index = int(excess[best].argmax())
    own = [one for one, label in zip(stats, labels, strict=True) if label == index]
    others = [one for one, label in zip(stats, labels, strict=True) if label != index]
    name = places.classes[index]
    why = (
        f"{best}: {_recognized(recalls[best].share[index], name)}; from the best place in the middle "
        f"{middle.share[index]:.2f}; {name} {typical_value(best, own)}, others {typical_value(best, others)}"
    )
    if len(excess) > 1:
        why += f"; also {', '.join(other for other in excess if other != best)}"
    yield FilePropertyBetraysClass(None, split, name, why)
