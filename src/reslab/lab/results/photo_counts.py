"""Numbers of photos in a comparison, and the share of the most frequent class of the test photos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from reslab.photos.folder.photos import Photos


@dataclass(frozen=True)
class PhotoCounts:
    """Numbers of photos of each split, equal for all seeds, and the most frequent class.

    Attributes:
        train: number of photos to train on.
        val: number of photos that choose the epoch.
        test: number of test photos.
        classes: names of the classes.
        most_frequent: the class with most test photos.
        share: fraction of the test photos in that class: the accuracy of always answering it.
    """

    train: int
    val: int
    test: int
    classes: tuple[str, ...]
    most_frequent: str
    share: float

    @classmethod
    def of(cls, photos: Photos) -> PhotoCounts:
        """Count photos that have a test split."""
        numbers = np.bincount(photos.test.labels, minlength=len(photos.classes))
        return cls(
            train=len(photos.train),
            val=len(photos.val),
            test=len(photos.test),
            classes=tuple(photos.classes),
            most_frequent=photos.classes[numbers.argmax()],
            share=float(numbers.max() / numbers.sum()),
        )
