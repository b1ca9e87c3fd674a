"""Exact and near copies: a perceptual hash finds candidates, the pixels of thumbnails decide.

The hash alone is not enough: of 10,000 pictures of clothes 155,000 pairs are within its 10 bits. Nor is a
correlation of pixels: 14,000 of these correlate by 0.95 or more, for a shirt lies where other shirts lie. The
grey levels themselves decide: 4 pairs are left, hard to tell apart at their 28 x 28 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab.hardware import cores
from reslab.photos.folder.photo_list import as_words

BITS = 10  # of 64 that the perceptual hashes of two copies may differ by
ALIKE = 0.95  # correlation of two thumbnails below which they show different pictures
CLOSE = 4.0  # grey levels of 255 by which the thumbnails of copies differ on average, at most
FAINT = 2.0  # grey levels of deviation below which a correlation says nothing
ROWS, COLUMNS = 256, 1024  # hashes compared at once: what fits into a core's cache
MOST = 32  # copies after which no more of a picture are looked for: they are frames of one film
PART = 4096  # thumbnails compared at once

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
NONE: Pairs = (np.zeros(0, np.int64),) * 3 + (np.zeros(0, np.float32),)


@dataclass(frozen=True, eq=False)
class Alike:
    """Which photos show the same.

    `content` (N,): equal numbers mean equal bytes, -1 a photo that was not looked at. `pairs`: of contents
    that show nearly the same, each pair once: two numbers, differing bits, difference in grey levels.
    """

    content: NDArray[np.int64]
    pairs: Pairs = field(default=NONE)

    @cached_property
    def photos(self) -> Mapping[int, list[int]]:
        """{content: its photos, in order}, of the contents that several photos have or that are in a pair."""
        order = np.argsort(self.content, kind="stable")
        found, first, counts = np.unique(self.content[order], return_index=True, return_counts=True)
        paired = np.isin(found, np.concatenate(self.pairs[:2]))
        wanted = np.flatnonzero((found >= 0) & ((counts > 1) | paired))
        return {int(found[k]): order[first[k] : first[k] + counts[k]].tolist() for k in wanted}


def find_alike(
    digests: NDArray[np.uint8],
    looked_at: NDArray[np.bool_],
    hashes: NDArray[np.uint64] | None = None,
    thumbnails: NDArray[np.uint8] | None = None,
    places: NDArray[np.int32] | None = None,
) -> Alike:
    """Compares every photo with every other.

    `digests` uint8 (N, 16), `looked_at` (N,), `hashes` uint64 (N,), `thumbnails` uint8 (N, pixels), `places`
    (N,): a number for each split and class. Without hashes and thumbnails only equal bytes are found.
    """
    content = np.full(len(digests), -1, np.int64)
    chosen = np.flatnonzero(looked_at)
    if not len(chosen):
        return Alike(content)
    _, first, content[chosen] = np.unique(as_words(digests[chosen]), return_index=True, return_inverse=True)
    if hashes is None or thumbnails is None or places is None:
        return Alike(content)
    found = list(near_pairs(hashes, thumbnails, places, np.sort(chosen[first])))
    if not found:
        return Alike(content)
    one, other, bits, difference = (np.concatenate(column) for column in zip(*found, strict=True))
    return Alike(content, (content[one], content[other], bits, difference))


def near_pairs(
    hashes: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    places: NDArray[np.int32],
    chosen: NDArray[np.int64],
) -> Iterator[Pairs]:
    """(i, j, differing bits, mean difference in grey levels), i < j, of the `chosen` that show the same.

    The mean greys of two copies differ by CLOSE at most, so in the order of their means each picture is
    compared with the few that follow closely: as integers, in blocks, on all cores. Of a picture with more
    copies than MOST some are enough, from its own place and from others, so that the frames of a film take
    time and memory by their number, not by its square.
    """
    means, deviations = _statistics(thumbnails, chosen)
    visible = deviations >= FAINT
    order = np.argsort(means[visible], kind="stable")
    films = _Sorted(chosen[visible][order], means[visible][order], hashes, thumbnails, places)
    starts = range(0, len(order), ROWS)
    with ThreadPoolExecutor(cores()) as pool:
        for wave in range(0, len(starts), cores()):  # no more results than cores wait for their reader
            yield from pool.map(films.compare, starts[wave : wave + cores()])


class _Sorted:
    """Pictures in the order of their mean grey."""

    def __init__(
        self,
        photos: NDArray[np.int64],
        means: NDArray[np.float64],
        hashes: NDArray[np.uint64],
        thumbnails: NDArray[np.uint8],
        places: NDArray[np.int32],
    ) -> None:
        self.photos, self.means, self.thumbnails = photos, means, thumbnails
        self.hashes, self.places = hashes[photos], places[photos]

    def compare(self, start: int) -> Pairs:
        """The pairs of ROWS pictures from `start` on, each with those that follow it."""
        rows = np.arange(start, min(start + ROWS, len(self.photos)))
        end = int(np.searchsorted(self.means, self.means[rows[-1]] + CLOSE, side="right"))
        copies, found = np.zeros(len(rows), np.int64), list[Pairs]()
        for column in range(start, end, COLUMNS):
            wanted = np.flatnonzero(copies < MOST)
            if not len(wanted):
                break
            row, one, other, bits = self._candidates(rows, wanted, column, min(column + COLUMNS, end))
            for at in range(0, len(row), PART):
                part = slice(at, at + PART)
                difference, same = self._differ(one[part], other[part])
                copies += np.bincount(row[part][same], minlength=len(rows))
                i, j = self.photos[one[part][same]], self.photos[other[part][same]]
                found.append((np.minimum(i, j), np.maximum(i, j), bits[part][same], difference[same]))
        if not found:
            return NONE
        i, j, counts, differences = (np.concatenate(column) for column in zip(*found, strict=True))
        return i, j, counts, differences

    def _candidates(
        self, rows: NDArray[np.int64], wanted: NDArray[np.int64], column: int, end: int
    ) -> tuple[NDArray[np.int64], ...]:
        """(row, picture, later picture, bits): of each row those with the fewest differing bits.

        Half of MOST come from its own place and half from others, where there are so many.
        """
        ours = rows[wanted]
        bits = np.bitwise_count(self.hashes[ours, None] ^ self.hashes[None, column:end])  # (rows, columns)
        close = np.flatnonzero(bits <= BITS)  # four times as fast as nonzero()
        row, other = close // (end - column), column + close % (end - column)
        after = other > ours[row]
        row, other, differing = row[after], other[after], bits.ravel()[close[after]]
        group = row * 2 + (self.places[ours[row]] == self.places[other])
        order = np.argsort((group * 16 + differing).astype(np.uint16), kind="stable")  # by counting: 13 bits
        ends = np.cumsum(np.bincount(group, minlength=2 * len(ours)))
        rank = np.arange(len(order)) - np.concatenate([[0], ends])[group[order]]
        kept = order[rank < MOST // 2]
        return wanted[row[kept]], ours[row[kept]], other[kept], differing[kept].astype(np.int64)

    def _differ(self, one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """Of each pair the mean difference of its thumbnails, and whether they show the same."""
        a, b = (self.thumbnails[self.photos[k]].astype(np.float32) for k in (one, other))  # (pairs, pixels)
        difference = np.abs(a - b).mean(axis=1)
        return difference, (difference <= CLOSE) & (_correlation(a, b) >= ALIKE)


def _statistics(
    thumbnails: NDArray[np.uint8], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each chosen thumbnail."""
    means, deviations = np.zeros(len(chosen)), np.zeros(len(chosen))
    for at in range(0, len(chosen), PART):
        block = thumbnails[chosen[at : at + PART]]
        means[at : at + PART], deviations[at : at + PART] = block.mean(axis=1), block.std(axis=1)
    return means, deviations


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of each row of the one with the same row of the other: (N, pixels) twice -> (N,)."""
    a = one - one.mean(axis=1, keepdims=True)
    b = other - other.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-6)
