"""Share of a class that a few measurements recognize, cross-validated, while few others are mistaken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
MISTAKEN_SHARE = 0.02  # of the photos of the other classes, at which recall is measured
MIN_EXCESS = 0.25  # of recall over a reference, to be a finding
MIN_ODDS_RATIO = 5.0  # Fashion-MNIST reaches 4 without a leak; marks on half of a class reach 7 and more
MIN_STANDARD_ERRORS = 4.0  # of that difference


@dataclass(frozen=True, eq=False)
class Recall:
    """Recall of K classes, each against the others, where MISTAKEN_SHARE of the others are mistaken for it.

    Chance is MISTAKEN_SHARE. Half of a class with a mark that no other photo has gives 0.5 or more.

    Attributes:
        share: (K, ...), from 0 to 1.
        error: (K, ...), its standard error. It is Agresti and Coull's (The American Statistician 52, 1998):
            two right and two wrong answers are added, so that it is never 0.
    """

    share: NDArray[np.float64]
    error: NDArray[np.float64]

    def exceeds(self, other: Recall) -> NDArray[np.bool_]:
        """Return where this recall is far greater: by excess, by odds and by standard errors, elementwise."""
        excess = self.share - other.share
        error = np.hypot(self.error, other.error)
        certain = excess >= MIN_STANDARD_ERRORS * error
        return certain & (excess >= MIN_EXCESS) & (_odds(self.share) >= MIN_ODDS_RATIO * _odds(other.share))


def _odds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    limited = np.clip(share, MISTAKEN_SHARE, 0.999)  # chance, and a class that is recognized completely
    return limited / (1 - limited)


def recall_of(scores: NDArray[np.float64], members: NDArray[np.bool_]) -> Recall:
    """Return the recall of K classes by out-of-fold scores, greater for photos of the class.

    Args:
        scores: (N, K).
        members: (N, K), whether a photo is of a class.
    """
    share, error = np.empty((2, members.shape[1]))
    for k, is_member in enumerate(members.T):
        others = np.sort(scores[~is_member, k])
        threshold = others[int(np.ceil(len(others) * (1 - MISTAKEN_SHARE))) - 1]
        right, total = int((scores[is_member, k] > threshold).sum()), int(is_member.sum())
        rate = (right + 2) / (total + 4)
        share[k], error[k] = right / total, np.sqrt(rate * (1 - rate) / total)
    return Recall(share, error)


def folds_of(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold of each photo, 0 to FOLDS - 1: the photos of each class in turn. (N,) -> (N,)."""
    folds = np.empty_like(labels)
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        folds[of_class] = np.arange(len(of_class)) % FOLDS
    return folds
