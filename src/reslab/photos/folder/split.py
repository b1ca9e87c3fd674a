"""Cuts one list of photos in two, stratified by class and by content, so that equal files stay together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reslab.randomness import key

from .photo_list import PhotoList, as_words


def cut(photos: PhotoList, fraction: float, seed: int, purpose: str) -> tuple[PhotoList, PhotoList]:
    """(kept, cut off), the second with about `fraction` of every class, and at least one photo if it can be.

    Whether a photo is cut off depends on its content and its class-mates' only: not on its name, and not on
    the order in which a disk lists the files. The first list keeps at least one photo of every class, so a
    class of equal files stays whole.
    """
    if not photos:
        return photos, photos
    off = _cut_off(photos, fraction, seed, purpose)
    return photos.take(~off), photos.take(off)


def _cut_off(photos: PhotoList, fraction: float, seed: int, purpose: str) -> NDArray[np.bool_]:
    """(N,): which ones."""
    contents, content_of = np.unique(as_words(photos.digests), return_inverse=True)
    classes = _Classes(content_of, photos.labels)
    chosen = np.zeros(len(contents), bool)  # (contents,)
    for label in range(len(classes.left)):
        inside, copies = classes.contents(label)
        wanted = max(1, round(fraction * int(copies.sum())))
        taken = int(copies[chosen[inside]].sum())  # by another class
        drawn = (key(seed, f"{purpose} {contents[i].tobytes().hex()}") for i in inside)
        keys = np.fromiter(drawn, np.uint64, len(inside))
        order = np.argsort(keys, kind="stable")
        for content, count in zip(inside[order], copies[order], strict=True):
            if taken >= wanted:
                break
            if taken + count <= wanted and classes.can_spare(content, chosen):
                classes.spare(content, chosen)
                taken += int(count)
        if not taken:  # every content has more copies than are wanted, or cannot go
            possible = [i for i in order if classes.can_spare(inside[i], chosen)]
            if possible:
                classes.spare(inside[min(possible, key=copies.__getitem__)], chosen)
    cut_off: NDArray[np.bool_] = chosen[content_of]
    return cut_off


class _Classes:
    """Which contents each class has, and how many of them it may still lose but one."""

    def __init__(self, content_of: NDArray[np.int64], labels: NDArray[np.int32]) -> None:
        present, place = np.unique(labels, return_inverse=True)
        count = len(present)
        # (pairs,): each pair of a content and a class that has it, once; by content, then by class
        pairs, self.copies = np.unique(content_of * count + place, return_counts=True)
        self.content, self.of = np.divmod(pairs, count)
        self.first = np.searchsorted(self.content, np.arange(int(content_of.max()) + 2))
        self.left = np.bincount(self.of, minlength=count)

    def contents(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The contents of a class, and how many photos of the class each has."""
        return self.content[self.of == label], self.copies[self.of == label]

    def _classes_of(self, content: int) -> NDArray[np.int64]:
        return self.of[self.first[content] : self.first[content + 1]]

    def can_spare(self, content: int, chosen: NDArray[np.bool_]) -> bool:
        return not chosen[content] and bool((self.left[self._classes_of(content)] > 1).all())

    def spare(self, content: int, chosen: NDArray[np.bool_]) -> None:
        chosen[content] = True
        self.left[self._classes_of(content)] -= 1
