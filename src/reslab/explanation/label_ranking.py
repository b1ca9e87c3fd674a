"""Labels to look at: photos ranked by how little a network's features support their label."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab import files
from reslab.errors import PhotosError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.intervals import accuracy_interval
from reslab.files import user_path
from reslab.photos.checking.folder_stats import find_files
from reslab.photos.folder.digests import digest_all
from reslab.photos.folder.photo_list import as_words
from reslab.randomness import permutation
from reslab.text import printable, table

from .features import photo_features

FOLDS = 5
INVERSE_REGULARIZATION = 0.01  # scikit-learn's C, for features of standard deviation 1
MAX_ITERATIONS = 200
SHOWN_PHOTOS = 20  # in the printed table


def out_of_fold_probabilities(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    seed: int = 0,
    contents: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Return the probability of each class for each photo, from a model that was not fitted to the photo.

    The photos are dealt into five folds, class by class. Logistic regression is fitted to the features of
    four folds, scaled to standard deviation 1, and applied to the fifth.

    Args:
        features: (N, D); a row with NaN is a photo that cannot be read.
        labels: (N,), from 0.
        seed: another seed deals other folds.
        contents: (N,), equal for equal files, which then share a fold; None: every file is different.

    Returns:
        (N, num_classes), each row sums to 1. A row is NaN if the photo cannot be read, or if no photo of its
        label or only one label is left in the other folds.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = features.astype(np.float64)  # in float32 the solver stops at other places
    probabilities = np.full((len(labels), int(labels.max(initial=-1)) + 1), np.nan)
    usable = np.flatnonzero(np.isfinite(features).all(axis=1)) if features.size else np.empty(0, np.int64)
    numbers = np.arange(len(labels)) if contents is None else np.unique(contents, return_inverse=True)[1]
    folds = _deal(labels[usable], numbers[usable], seed)
    for fold in range(FOLDS):
        train, held_out = usable[folds != fold], usable[folds == fold]
        known = np.unique(labels[train])
        judged = held_out[np.isin(labels[held_out], known)]
        if len(known) < 2 or not len(judged):
            continue
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=MAX_ITERATIONS)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the order hardly changes any more
            model.fit(features[train], labels[train])
        probabilities[judged] = 0
        probabilities[np.ix_(judged, known)] = model.predict_proba(features[judged])
    return probabilities


def rank_labels(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    seed: int = 0,
    contents: NDArray[Any] | None = None,
) -> NDArray[np.float64]:
    """Return how well the features of the other photos support each label: (N,), 0 to 1.

    Sorted in ascending order, wrong labels come first. The arguments, and the photos that are NaN, are those
    of `out_of_fold_probabilities`; NaN is sorted last.
    """
    probabilities = out_of_fold_probabilities(features, labels, seed, contents)
    return probabilities[np.arange(len(labels)), labels]


def _deal(labels: NDArray[np.integer], contents: NDArray[np.integer], seed: int) -> NDArray[np.int64]:
    """Return the fold of each photo, (N,): each class is dealt out in a keyed order, equal contents as one.

    Args:
        labels: (N,).
        contents: (N,); a content in several classes is dealt with the first of them.
        seed: of the order.
    """
    fold_of: dict[int, int] = {}
    for label in np.unique(labels).tolist():
        own = np.unique(contents[labels == label])
        new = [content for content in own.tolist() if content not in fold_of]
        order = permutation(seed, "label folds", label, count=len(new))
        first = len(fold_of)  # continues where the class before ended, so that the folds stay equal in size
        fold_of |= {new[place]: (first + i) % FOLDS for i, place in enumerate(order.tolist())}
    return np.array([fold_of[content] for content in contents.tolist()], np.int64)


@dataclass(frozen=True)
class RankedLabel:
    """Label of one photo, and what the network's features suggest.

    Attributes:
        path: of the photo, relative to the folder.
        label: name of the class that it is filed under.
        suggested: name of the most probable class, which may be the same.
        probability: of `label`, 0 to 1, from photos other than this one.
    """

    path: str
    label: str
    suggested: str
    probability: float


@dataclass(frozen=True)
class LabelRanking:
    """Labels of a folder, those to look at first. It prints as a table of the first 20.

    Attributes:
        folder: the folder that the paths are relative to.
        labels: one per photo, by ascending probability of the label.
        skipped: number of photos that cannot be read, or are the only ones of their class.
    """

    folder: Path
    labels: tuple[RankedLabel, ...]
    skipped: int = 0

    @property
    def doubtful(self) -> tuple[RankedLabel, ...]:
        """The labels for which the features suggest another class."""
        return tuple(ranked for ranked in self.labels if ranked.suggested != ranked.label)

    @property
    def is_weak(self) -> bool:
        """True if the features agree with no more labels than the largest class has, within chance (95 %)."""
        agreeing = len(self.labels) - len(self.doubtful)
        largest = max(Counter(ranked.label for ranked in self.labels).values())
        return accuracy_interval(agreeing, len(self.labels))[0] <= largest / len(self.labels)

    def as_json(self) -> list[dict[str, Any]]:
        """Return [{"path", "label", "suggested", "probability"}, ...] of the doubtful labels, in order."""
        return [dict(vars(ranked)) for ranked in self.doubtful]

    def write(self, path: Path | str) -> None:
        """Write a CSV file: path, label, suggested, probability; a row per photo, in order.

        Args:
            path: file to write, in a folder that exists; an existing file is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        rows = (vars(ranked).values() for ranked in self.labels)
        files.write_csv(user_path(path), chain([RankedLabel.__dataclass_fields__], rows))

    def __str__(self) -> str:
        doubtful = self.doubtful
        text = f"labels to look at: {len(doubtful):,} of {len(self.labels):,} photos resemble another class"
        if self.skipped:
            text += f"; {self.skipped:,} cannot be judged"
        if self.is_weak:
            text += "\nthe network hardly tells the classes apart, so this ranking says little: train longer"
        if not doubtful:
            return text
        rows = [
            [ranked.path, ranked.label, ranked.suggested, f"{ranked.probability:.3f}"]
            for ranked in doubtful[:SHOWN_PHOTOS]
        ]
        lines = [text, "", table(["photo", "label", "resembles", "p(label)"], rows, "lllr")]
        if more := len(doubtful) - len(rows):
            lines.append(f"and {more:,} more")
        return "\n".join(lines)

    __repr__ = __str__


def rank_photo_labels(classifier: Classifier, photos: Any, *, progress: bool = False) -> LabelRanking:
    """Rank the labels of a folder by how little they fit the photos, so that wrong labels come first.

    Each label is judged by logistic regression on the features of other photos (five folds, equal files in
    one). The labels are sorted by their probability, the "self-confidence" of Northcutt et al. 2021,
    "Confident learning", section 3. A low probability is a reason to look at a photo, and no proof: it is low
    for unusual photos, too.

    Args:
        classifier: its network computes the features, the input of its last layer. It may be trained on these
            photos or on others, and on other classes.
        photos: a folder of classes, one with train/ (and val/, test/), a list from `reslab check --fix`,
            Photos, or a torchvision ImageFolder. All splits are ranked together.
        progress: True shows a bar on standard error if this is a terminal, or in a notebook.

    Returns:
        A ranking of all labels, the least probable first. `print` shows the first 20 that resemble another
        class, and `write` a CSV file of all.

    Raises:
        PhotosError: the folder has no photos, or only one class, or no photo can be judged.
        UsageError: `photos` is of another type.
        ClassifierError: the network has no features, or there is not enough memory.
    """
    found = find_files(photos)
    classes = np.array(sorted({name for _, name in found.names}))
    if len(classes) < 2:
        raise PhotosError(
            f"{found.folder} has only one class: {printable(str(classes[0]))}",
            "a label is compared with other classes",
            "point to the folder that holds one folder per class",
        )
    class_of_place = np.searchsorted(classes, [name for _, name in found.names])
    labels = class_of_place[found.places]  # (N,)
    features = photo_features(classifier, [found.folder / path for path in found.paths], progress)
    contents = as_words(digest_all(found.folder, found.paths))
    probabilities = out_of_fold_probabilities(features, labels, contents=contents)
    own = probabilities[np.arange(len(labels)), labels]
    judged = np.flatnonzero(~np.isnan(own))
    if not len(judged):
        raise PhotosError(
            f"the labels of {found.folder} cannot be ranked",
            f"of its {len(labels):,} photos too few can be read, or have another one of their class",
            "add photos, at least five of each class",
        )
    order = judged[np.argsort(own[judged], kind="stable")]
    suggested = probabilities[order].argmax(axis=1)
    ranked = zip(order.tolist(), suggested.tolist(), own[order].tolist(), strict=True)
    return LabelRanking(
        found.folder,
        tuple(RankedLabel(found.paths[i], str(classes[labels[i]]), str(classes[s]), p) for i, s, p in ranked),
        skipped=len(labels) - len(judged),
    )
