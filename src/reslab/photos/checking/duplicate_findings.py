"""What copies mean by where they stand: leaks, contradictions, duplicates, and which of them to leave out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .findings import Contradiction, Duplicate, Finding, Leak
from .near_duplicates import Alike

RANK = {"train": 0, None: 0, "val": 1, "test": 2}  # what measures keeps its photos
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

    def why(self, earlier: str) -> str:
        if self.difference is None:
            return f"the same bytes as {earlier}"
        return f"nearly the same picture as {earlier}: {self.difference:.1f} of 255 grey levels apart"


@dataclass(frozen=True)
class Standing:
    """Which photos show the same, and where each stands: `places` (N,) are indices into `names`."""

    alike: Alike
    places: NDArray[np.int32]
    names: Sequence[Place]

    def place(self, photo: int) -> Place:
        return self.names[self.places[photo]]

    def pairs(self) -> Iterator[tuple[int, int, int, float]]:
        """Contents, bits, difference."""
        return zip(*(column.tolist() for column in self.alike.pairs), strict=True)


def find_copies(standing: Standing) -> list[Copy]:
    """Every photo that repeats an earlier one, once, with the earlier one that matters most.

    Two classes weigh more than two splits, and these more than one of each.
    """
    holders = {
        content: _first_of_places(photos, standing) for content, photos in standing.alike.photos.items()
    }
    best: dict[int, Copy] = {}

    def consider(one: int, other: int, bits: int | None = None, difference: float | None = None) -> None:
        earlier, photo = sorted((one, other))
        kind = _kind(standing.place(photo), standing.place(earlier))
        copy = Copy(photo, earlier, kind, bits, difference)
        best[photo] = min(copy, best.get(photo, copy), key=_weight)

    for i, j, bits, difference in standing.pairs():
        for one in holders[i]:
            for other in holders[j]:
                consider(one, other, bits, difference)
    for content, photos in standing.alike.photos.items():
        for photo in photos[1:]:
            for earlier in holders[content]:
                if earlier < photo:
                    consider(photo, earlier)
                    _inherit(photo, earlier, best, standing)
    return [best[photo] for photo in sorted(best)]


def leave_out(standing: Standing, pixels: NDArray[np.int64]) -> dict[int, type[Finding]]:
    """{photo: why}, so that none of what is left contradicts another, leaks or is there twice.

    Both sides of a contradiction go, for nobody knows which label is right. Of a leak the copy goes that is
    nearer to training: test loses none, and val only to test. Of duplicates the one with the most
    pixels (N,) stays, and in test all do: what measured yesterday measures the same today.
    """
    members, near = standing.alike.photos, _neighbours(standing)
    out: dict[int, type[Finding]] = {}
    for content, photos in members.items():
        for other in (content, *near.get(content, ())):
            if len({standing.place(photo)[1] for photo in (*photos, *members[other])}) > 1:
                out |= dict.fromkeys((*photos, *members[other]), Contradiction)
    for rank in (2, 1):
        for content, photos in members.items():
            holds = any(p not in out and RANK[standing.place(p)[0]] == rank for p in photos)
            for other in (content, *near.get(content, ())) if holds else ():
                for photo in members[other]:
                    if RANK[standing.place(photo)[0]] < rank:
                        out.setdefault(photo, Leak)
    kept: set[tuple[int, Place]] = set()
    listed = [(-int(pixels[photo]), photo, of) for of, photos in members.items() for photo in photos]
    for _, photo, content in sorted(listed):
        place = standing.place(photo)
        if photo in out or RANK[place[0]] == 2:
            continue
        if any((other, place) in kept for other in (content, *near.get(content, ()))):
            out[photo] = Duplicate
        else:
            kept.add((content, place))
    return out


def _neighbours(standing: Standing) -> dict[int, list[int]]:
    """{content: the contents that show nearly the same}"""
    near: dict[int, list[int]] = {}
    for one, other, _, _ in standing.pairs():
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    return near


def _first_of_places(photos: Sequence[int], standing: Standing) -> list[int]:
    """One for each split and class is enough."""
    found: dict[Place, int] = {}
    for photo in photos:
        found.setdefault(standing.place(photo), photo)
    return list(found.values())


def _inherit(photo: int, earlier: int, best: dict[int, Copy], standing: Standing) -> None:
    """What the first of equal files in a place repeats, the others repeat too."""
    if standing.places[photo] == standing.places[earlier] and earlier in best:
        found = best[earlier]
        copy = Copy(photo, found.earlier, found.kind, found.bits, found.difference)
        best[photo] = min(copy, best[photo], key=_weight)


def _kind(place: Place, other: Place) -> type[Finding]:
    if place[1] != other[1]:
        return Contradiction
    return Leak if place[0] != other[0] else Duplicate


def _weight(copy: Copy) -> tuple[int, float, int]:
    difference = -1.0 if copy.difference is None else copy.difference
    return (Contradiction, Leak, Duplicate).index(copy.kind), difference, copy.earlier
