"""Exact and near duplicates: a perceptual hash finds candidates, the pixels of thumbnails decide.

The hash alone is not enough: among 10,000 photos of clothes, 155,000 pairs differ by at most 10 bits. Nor is
the correlation of pixels: 14,000 of these pairs correlate by 0.95 or more. With the difference in grey levels
4 pairs remain, hard to tell apart by eye at 28 x 28 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reslab.hardware import cores
from reslab.photos.folder.photo_list import as_words

MAX_HASH_BITS = 10  # of 64 in which the perceptual hashes of near duplicates differ
MIN_CORRELATION = 0.95  # of two thumbnails
MAX_GREY_DIFFERENCE = 4.0  # mean over a thumbnail's pixels, in grey levels of 255
MIN_DEVIATION = 2.0  # grey levels; below, a correlation is meaningless
ROW_BLOCK, COLUMN_BLOCK = 256, 1024  # hashes compared at once: they fit into a core's cache
MAX_DUPLICATES = 32  # after which the search for duplicates of a photo ends: they are frames of a video
PAIR_BLOCK = 4096  # thumbnails compared at once

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]  # i, j, difference
NO_PAIRS: Pairs = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class DuplicateGroups:
    """Equal and nearly equal photos.

    Attributes:
        content: (N,) a number for each photo's bytes, equal for equal files; -1 if it was not compared.
        pairs: three arrays (pairs,): content, content and their difference in grey levels, each pair once.
    """

    content: NDArray[np.int64]
    pairs: Pairs

    @cached_property
    def photos(self) -> Mapping[int, list[int]]:
        """{content: indices of its photos, ascending}.

        Only contents that several photos share, or that are in a pair.
        """
        order = np.argsort(self.content, kind="stable")
        found, first, counts = np.unique(self.content[order], return_index=True, return_counts=True)
        paired = np.isin(found, np.concatenate(self.pairs[:2]))
        wanted = np.flatnonzero((found >= 0) & ((counts > 1) | paired))
        return {int(found[k]): order[first[k] : first[k] + counts[k]].tolist() for k in wanted}


def find_duplicates(
    digests: NDArray[np.uint8],
    compared: NDArray[np.bool_],
    hashes: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    places: NDArray[np.int32],
) -> DuplicateGroups:
    """Find equal files and near duplicates among N photos. Of equal files the first is compared.

    Args:
        digests: (N, 16) uint8.
        compared: (N,) mask of the photos to compare.
        hashes: (N,) uint64, perceptual hashes.
        thumbnails: (N, pixels) uint8. A photo whose thumbnail is plain has no near duplicates.
        places: (N,) a number for each split and class.
    """
    content = np.full(len(digests), -1, np.int64)
    chosen = np.flatnonzero(compared)
    _, first, content[chosen] = np.unique(as_words(digests[chosen]), return_index=True, return_inverse=True)
    found = [NO_PAIRS]
    if thumbnails.any():  # a quick check may have none
        found += find_near_pairs(hashes, thumbnails, places, np.sort(chosen[first]))
    one, other, difference = (np.concatenate(column) for column in zip(*found, strict=True))
    return DuplicateGroups(content, (content[one], content[other], difference))


def find_near_pairs(
    hashes: NDArray[np.uint64],
    thumbnails: NDArray[np.uint8],
    places: NDArray[np.int32],
    chosen: NDArray[np.int64],
) -> Iterator[Pairs]:
    """Yield near duplicates among the `chosen` photos: arrays i, j and mean difference in grey levels, i < j.

    `chosen` (M,), i and j are indices of photos. The other arguments are those of find_duplicates.

    The mean greys of near duplicates differ by MAX_GREY_DIFFERENCE at most. So photos are sorted by mean
    grey, and each is compared with the few that follow closely, in blocks, on all cores. The search stops
    after about MAX_DUPLICATES of a photo, so some pairs of a video's frames are missing. They would take time
    and memory in proportion to the square of their number.
    """
    means, deviations = _statistics(thumbnails, chosen)
    visible = deviations >= MIN_DEVIATION
    order = np.argsort(means[visible], kind="stable")
    photos = chosen[visible][order]
    by_mean = _SortedPhotos(photos, means[visible][order], hashes[photos], places[photos], thumbnails)
    starts = range(0, len(order), ROW_BLOCK)
    with ThreadPoolExecutor(cores()) as pool:
        for wave in range(0, len(starts), cores()):  # keeps few results in memory
            yield from pool.map(by_mean.compare, starts[wave : wave + cores()])


@dataclass(frozen=True, eq=False)
class _SortedPhotos:
    """M photos sorted by mean grey. A position is an index into them.

    Attributes:
        photos: (M,) index of each photo.
        means: (M,) mean grey, ascending.
        hashes: (M,) perceptual hashes.
        places: (M,) a number for each split and class.
        thumbnails: (N, pixels) of all photos, by index.
    """

    photos: NDArray[np.int64]
    means: NDArray[np.float64]
    hashes: NDArray[np.uint64]
    places: NDArray[np.int32]
    thumbnails: NDArray[np.uint8]

    def compare(self, start: int) -> Pairs:
        """Return near duplicates (i, j, difference) of ROW_BLOCK photos with those that follow each.

        Args:
            start: position of the first of the ROW_BLOCK photos.
        """
        rows = np.arange(start, min(start + ROW_BLOCK, len(self.photos)))
        end = int(np.searchsorted(self.means, self.means[rows[-1]] + MAX_GREY_DIFFERENCE, side="right"))
        duplicates, found = np.zeros(len(rows), np.int64), [NO_PAIRS]
        for column in range(start, end, COLUMN_BLOCK):
            wanted = np.flatnonzero(duplicates < MAX_DUPLICATES)
            if not len(wanted):
                break
            row, one, other = self._candidates(rows, wanted, column, min(column + COLUMN_BLOCK, end))
            for at in range(0, len(row), PAIR_BLOCK):
                part = slice(at, at + PAIR_BLOCK)
                difference, same = self._compare_thumbnails(one[part], other[part])
                duplicates += np.bincount(row[part][same], minlength=len(rows))
                i, j = self.photos[one[part][same]], self.photos[other[part][same]]
                found.append((np.minimum(i, j), np.maximum(i, j), difference[same]))
        i, j, differences = (np.concatenate(column) for column in zip(*found, strict=True))
        return i, j, differences

    def _candidates(
        self, rows: NDArray[np.int64], wanted: NDArray[np.int64], column: int, end: int
    ) -> tuple[NDArray[np.int64], ...]:
        """Return the pairs to compare by thumbnail, those with the fewest differing bits for each row.

        At most MAX_HASH_BITS differ. Each row gets at most MAX_DUPLICATES / 2 photos of its own split and
        class, and as many of others.

        Args:
            rows: positions of the photos that are compared.
            wanted: indices into `rows` of those that still need duplicates.
            column: first position to compare them with.
            end: position after the last.

        Returns:
            Three arrays (pairs,): index into `rows`, position of that photo, position of a later photo.
        """
        ours = rows[wanted]
        bits = np.bitwise_count(self.hashes[ours, None] ^ self.hashes[None, column:end])  # (rows, columns)
        close = np.flatnonzero(bits <= MAX_HASH_BITS)  # four times as fast as nonzero()
        row, other = close // (end - column), column + close % (end - column)
        after = other > ours[row]
        row, other, differing = row[after], other[after], bits.ravel()[close[after]]
        group = row * 2 + (self.places[ours[row]] == self.places[other])
        order = np.argsort((group * 16 + differing).astype(np.uint16), kind="stable")  # uint16: a radix sort
        ends = np.cumsum(np.bincount(group, minlength=2 * len(ours)))
        rank = np.arange(len(order)) - np.concatenate([[0], ends])[group[order]]
        kept = order[rank < MAX_DUPLICATES // 2]
        return wanted[row[kept]], ours[row[kept]], other[kept]

    def _compare_thumbnails(
        self, one: NDArray[np.int64], other: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the mean difference of each pair's thumbnails, and a mask of the near duplicates.

        Args:
            one: (pairs,), positions.
            other: (pairs,), positions.
        """
        a, b = (self.thumbnails[self.photos[k]].astype(np.float32) for k in (one, other))  # (pairs, pixels)
        difference = np.abs(a - b).mean(axis=1)
        return difference, (difference <= MAX_GREY_DIFFERENCE) & (_correlation(a, b) >= MIN_CORRELATION)


def _statistics(
    thumbnails: NDArray[np.uint8], chosen: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each chosen thumbnail, in grey levels: (M,) each."""
    means, deviations = np.zeros(len(chosen)), np.zeros(len(chosen))
    for at in range(0, len(chosen), PAIR_BLOCK):
        block = thumbnails[chosen[at : at + PAIR_BLOCK]]
        means[at : at + PAIR_BLOCK], deviations[at : at + PAIR_BLOCK] = block.mean(axis=1), block.std(axis=1)
    return means, deviations


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation of each row with the same row of the other array: (N, pixels) twice -> (N,).

    It is 0 if a row has only one grey level.
    """
    a = one - one.mean(axis=1, keepdims=True)
    b = other - other.mean(axis=1, keepdims=True)
    norms = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-6)
