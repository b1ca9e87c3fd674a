"""Random split of a list of photos, stratified by class; equal files stay together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reslab.randomness import key

from .photo_list import PhotoList, as_words


def split_off(
    photos: PhotoList, fraction: float, seed: int, purpose: str, groups: NDArray[np.int64] | None = None
) -> tuple[PhotoList, PhotoList]:
    """Split photos into (kept, split off).

    The second list gets about `fraction` of every class, and at least one photo of it where possible. The
    first keeps at least one photo of every class, so a class of equal files stays whole. The choice depends
    on the files' contents alone, not on their names or their order on the disk. Both lists keep the order of
    `photos`; without photos both are empty.

    Args:
        photos: photos to split.
        fraction: fraction of each class's photos to split off, between 0 and 1.
        seed: another seed chooses other photos.
        purpose: name of the split in the random key, "val split" say.
        groups: (N,) number of each photo's group; photos of one group stay together. None without groups.
    """
    if not photos:
        return photos, photos
    chosen = _choose(photos, fraction, seed, purpose, groups)
    return photos.take(~chosen), photos.take(chosen)


def _choose(
    photos: PhotoList, fraction: float, seed: int, purpose: str, groups: NDArray[np.int64] | None
) -> NDArray[np.bool_]:
    """Mask of the photos to split off, (N,); the arguments are those of split_off."""
    contents, content_of = np.unique(as_words(photos.digests), return_inverse=True)
    if groups is not None:
        contents, content_of = _join(contents, content_of, groups)
    classes = _ContentsByClass(content_of, photos.labels)
    chosen = np.zeros(len(contents), bool)  # (contents,)
    for label in range(len(classes.left)):
        inside, copies = classes.contents(label)
        wanted = max(1, round(fraction * int(copies.sum())))
        taken = int(copies[chosen[inside]].sum())  # for an earlier class with the same contents
        drawn = (key(seed, f"{purpose} {contents[i].tobytes().hex()}") for i in inside)
        keys = np.fromiter(drawn, np.uint64, len(inside))
        order = np.argsort(keys, kind="stable")
        for content, count in zip(inside[order], copies[order], strict=True):
            if taken >= wanted:
                break
            if taken + count <= wanted and classes.can_lose(content, chosen):
                classes.lose(content, chosen)
                taken += int(count)
        if not taken:  # each content has more copies than wanted, or has to stay
            possible = [i for i in order if classes.can_lose(inside[i], chosen)]
            if possible:
                classes.lose(inside[min(possible, key=copies.__getitem__)], chosen)
    mask: NDArray[np.bool_] = chosen[content_of]
    return mask


def _join(
    contents: NDArray[np.void], content_of: NDArray[np.int64], groups: NDArray[np.int64]
) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """Return one content for all that stay together, and (N,) its number for each photo.

    Contents stay together that share a group, or that are connected by others which do. The first one stands
    for all of them, so the names of groups do not matter.

    Args:
        contents: different contents, sorted.
        content_of: (N,) number of each photo's content.
        groups: (N,) number of each photo's group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = len(contents) + int(groups.max()) + 1
    links = coo_array((np.ones(len(groups), bool), (content_of, len(contents) + groups)), (size, size))
    together = connected_components(links, directed=False)[1][: len(contents)]  # (contents,)
    _, first, place = np.unique(together, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return contents[first[order]], np.argsort(order)[place][content_of]


class _ContentsByClass:
    """Contents of each class, and how many of them are left to it.

    A class is given by its position among the labels that occur, in ascending order.

    Args:
        content_of: (N,) number of each photo's content, from 0.
        labels: (N,) label of each photo.
    """

    def __init__(self, content_of: NDArray[np.int64], labels: NDArray[np.int32]) -> None:
        present, place = np.unique(labels, return_inverse=True)
        count = len(present)
        # (pairs,): every pair of a content and a class that has it, by content, then by class
        pairs, self.copies = np.unique(content_of * count + place, return_counts=True)
        self.content, self.of = np.divmod(pairs, count)
        self.first = np.searchsorted(self.content, np.arange(int(content_of.max()) + 2))
        self.left = np.bincount(self.of, minlength=count)

    def contents(self, label: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the contents that a class has at first, and the number of its photos with each."""
        return self.content[self.of == label], self.copies[self.of == label]

    def _classes_of(self, content: int) -> NDArray[np.int64]:
        """Return the classes that have photos with a content."""
        return self.of[self.first[content] : self.first[content + 1]]

    def can_lose(self, content: int, chosen: NDArray[np.bool_]) -> bool:
        """Return whether a content is not chosen yet, and every class with it has another one left.

        Args:
            content: number of the content.
            chosen: (contents,) mask of the contents that are chosen already.
        """
        return not chosen[content] and bool((self.left[self._classes_of(content)] > 1).all())

    def lose(self, content: int, chosen: NDArray[np.bool_]) -> None:
        """Choose a content: mark it in `chosen`, and count it off from every class that has it."""
        chosen[content] = True
        self.left[self._classes_of(content)] -= 1
