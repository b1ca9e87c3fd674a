"""Exact and near copies: a perceptual hash finds candidates, the pixels of thumbnails decide.

The hash alone is not enough: of 10,000 pictures of clothes 155,000 pairs are within its 10 bits. Nor is a
correlation of pixels: 14,000 of these correlate by 0.95 or more, for a shirt lies where other shirts lie. The
grey levels themselves decide: 4 pairs are left, hard to tell apart at their 28 x 28 pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..processes import cores
from .findings import Contradiction, Duplicate, Finding, Leak

BITS = 10  # of 64 that the perceptual hashes of two copies may differ by
ALIKE = 0.95  # correlation of two thumbnails below which they show different pictures
CLOSE = 4.0  # grey levels of 255 by which the thumbnails of copies differ on average, at most
FAINT = 2.0  # grey levels of deviation below which a correlation says nothing
ROWS, COLUMNS = 256, 4096  # hashes compared at once: what fits into a core's cache
MOST = 32  # candidates of a picture among ROWS others: more are frames of one film, where a few will do
Place = tuple[str | None, str]  # split, class


@dataclass(frozen=True)
class Copy:
    """A photo (its index) that shows what an `earlier` one shows, and the kind of finding that this is.

    `bits` and `difference`, in grey levels of 255, are None for files with equal bytes.
    """

    photo: int
    earlier: int
    kind: type[Finding]
    bits: int | None = None
    difference: float | None = None


def near_pairs(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8]
) -> Iterator[tuple[int, int, int, float]]:
    """(i, j, differing bits, mean difference in grey levels), i < j, of pictures that show the same.

    `hashes`: (N,), 64 bits each; `thumbnails`: (N, pixels). Every pair is compared: N * N / 2 comparisons of
    integers, in blocks, on all cores. Memory does not grow with the number of pairs.
    """
    starts = range(0, len(hashes), ROWS)
    with ThreadPoolExecutor(cores()) as pool:
        for wave in range(0, len(starts), cores()):  # no more results than cores wait for their reader
            work = pool.map(lambda at: _compare(hashes, thumbnails, at), starts[wave : wave + cores()])
            for pairs in work:
                yield from zip(*(column.tolist() for column in pairs), strict=True)


def find_copies(
    contents: Sequence[str],
    places: Sequence[Place],
    hashes: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
) -> list[Copy]:
    """Every photo that repeats an earlier one, once, with the earlier one that matters most.

    `contents`: each file's digest, "" for one that is not looked at; `places`: its split and class. Two
    classes weigh more than two splits, and these more than one of each.
    """
    holders: dict[str, dict[Place, int]] = defaultdict(dict)
    for photo, content in enumerate(contents):
        if content:
            holders[content].setdefault(places[photo], photo)  # one for each place is enough
    best: dict[int, Copy] = {}

    def consider(one: int, other: int, bits: int | None = None, difference: float | None = None) -> None:
        earlier, photo = sorted((one, other))
        copy = Copy(photo, earlier, _kind(places[photo], places[earlier]), bits, difference)
        best[photo] = min(copy, best.get(photo, copy), key=_weight)

    compared = np.array([min(of.values()) for of in holders.values()], np.int64)
    compared = compared[_deviation(thumbnails[compared]) >= FAINT]
    for i, j, bits, difference in near_pairs(hashes[compared], thumbnails[compared]):
        for one in holders[contents[compared[i]]].values():
            for other in holders[contents[compared[j]]].values():
                consider(one, other, bits, difference)
    for photo, content in enumerate(contents):
        for earlier in holders[content].values() if content else ():
            if earlier < photo:
                consider(photo, earlier)
                _inherit(photo, earlier, best, places)
    return [best[photo] for photo in sorted(best)]


def _inherit(photo: int, earlier: int, best: dict[int, Copy], places: Sequence[Place]) -> None:
    """What the first of equal files in a place repeats, the others repeat too."""
    if places[photo] == places[earlier] and earlier in best:
        found = best[earlier]
        copy = Copy(photo, found.earlier, found.kind, found.bits, found.difference)
        best[photo] = min(copy, best[photo], key=_weight)


def _compare(
    hashes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], start: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The pairs of ROWS hashes from `start` on, each with all that follow it."""
    rows = hashes[start : start + ROWS, None]
    found: list[tuple[NDArray[Any], ...]] = []
    for column in range(start, len(hashes), COLUMNS):
        bits = np.bitwise_count(rows ^ hashes[None, column : column + COLUMNS])  # (ROWS, COLUMNS)
        close = np.flatnonzero(bits <= BITS)  # four times as fast as nonzero()
        width, differing = bits.shape[1], bits.ravel()[close]
        i, j = start + close // width, column + close % width
        chosen = _fewest(j, differing, i < j)
        i, j, differing = i[chosen], j[chosen], differing[chosen]
        for at in range(0, len(i), COLUMNS):
            part = slice(at, at + COLUMNS)
            one, other = (thumbnails[k[part]].astype(np.float32) for k in (i, j))  # (pairs, pixels)
            difference = np.abs(one - other).mean(axis=1)
            keep = (difference <= CLOSE) & (_correlation(one, other) >= ALIKE)
            found.append((i[part][keep], j[part][keep], differing[part][keep], difference[keep]))
    if not found:
        return (np.zeros(0, np.int64),) * 4
    firsts, seconds, counts, differences = (np.concatenate(column) for column in zip(*found, strict=True))
    return firsts, seconds, counts, differences


def _fewest(later: NDArray[Any], differing: NDArray[Any], valid: NDArray[Any]) -> NDArray[Any]:
    """Indices of the valid pairs; of each later picture the MOST with the fewest differing bits."""
    order = np.flatnonzero(valid)
    order = order[np.lexsort((differing[order], later[order]))]
    rank = np.arange(len(order)) - np.searchsorted(later[order], later[order])
    return order[rank < MOST]


def _deviation(thumbnails: NDArray[np.uint8]) -> NDArray[np.float64]:
    blocks = [thumbnails[at : at + COLUMNS].std(axis=1) for at in range(0, len(thumbnails), COLUMNS)]
    return np.concatenate(blocks) if blocks else np.zeros(0)


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row of the one with the same row of the other: (N, pixels) twice -> (N,)."""
    a = one - one.mean(axis=1, keepdims=True)
    b = other - other.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-6)


def _kind(place: Place, other: Place) -> type[Finding]:
    if place[1] != other[1]:
        return Contradiction
    return Leak if place[0] != other[0] else Duplicate


def _weight(copy: Copy) -> tuple[int, float, int]:
    difference = -1.0 if copy.difference is None else copy.difference
    return (Contradiction, Leak, Duplicate).index(copy.kind), difference, copy.earlier
