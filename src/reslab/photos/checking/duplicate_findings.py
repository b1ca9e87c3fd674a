"""Duplicates as leaks, contradictions or plain duplicates, by their splits and classes; which to remove."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .findings import Contradiction, Duplicate, Finding, Leak
from .near_duplicates import DuplicateGroups

# Of two splits, the one with the higher rank keeps its photos.
RANK = {"train": 0, None: 0, "val": 1, "test": 2}
Place = tuple[str | None, str]  # split, class


@dataclass(frozen=True)
class Match:
    """A duplicate: indices of a photo and of an earlier one, and the kind of finding that they make.

    Attributes:
        photo: index of the photo.
        earlier: index of the photo that it duplicates, smaller than `photo`.
        kind: Contradiction, Leak or Duplicate.
        difference: mean of their thumbnails' differences, in grey levels of 255; None if the files are equal.
    """

    photo: int
    earlier: int
    kind: type[Finding]
    difference: float | None = None

    def why(self, earlier: str) -> str:
        """Return the reason of the finding; `earlier` is the path of the earlier photo."""
        if self.difference is None:
            return f"the same bytes as {earlier}"
        return f"nearly the same image as {earlier}: {self.difference:.1f} of 255 grey levels apart"

    @property
    def weight(self) -> tuple[int, float, int]:
        """Key by which the smallest match is the one to report.

        Contradictions come before leaks, then duplicates; equal files before near duplicates, by difference.
        """
        difference = -1.0 if self.difference is None else self.difference
        return (Contradiction, Leak, Duplicate).index(self.kind), difference, self.earlier


@dataclass(frozen=True)
class PlacedDuplicates:
    """Duplicates, with the split and class of every photo.

    Attributes:
        groups: the duplicates.
        places: (N,) the place of each photo, as an index into `names`.
        names: the places: (split, class), split None in a folder without splits.
    """

    groups: DuplicateGroups
    places: NDArray[np.int32]
    names: Sequence[Place]

    def place(self, photo: int) -> Place:
        return self.names[self.places[photo]]

    def kind(self, photo: int, earlier: int) -> type[Finding]:
        """Return Contradiction for photos of two classes, else Leak for two splits, else Duplicate."""
        place, other = self.place(photo), self.place(earlier)
        if place[1] != other[1]:
            return Contradiction
        return Leak if place[0] != other[0] else Duplicate

    def pairs(self) -> Iterator[tuple[int, int, float]]:
        """Yield (content, content, difference in grey levels) of near duplicates, each pair once."""
        return zip(*(column.tolist() for column in self.groups.pairs), strict=True)

    def first_of_places(self, photos: Sequence[int]) -> list[int]:
        """Return one of these photos for each split and class that they are in: the first one there."""
        found: dict[Place, int] = {}
        for photo in photos:
            found.setdefault(self.place(photo), photo)
        return list(found.values())


def find_matches(duplicates: PlacedDuplicates) -> list[Match]:
    """Return a match for each photo that duplicates an earlier one, sorted by photo.

    Of several earlier ones the most serious is matched: one of another class, else one of another split, else
    one of the same split and class.
    """
    groups = duplicates.groups.photos
    firsts = {content: duplicates.first_of_places(photos) for content, photos in groups.items()}
    best: dict[int, Match] = {}

    def consider(match: Match) -> None:
        best[match.photo] = min(match, best.get(match.photo, match), key=lambda each: each.weight)

    for i, j, difference in duplicates.pairs():
        for one in firsts[i]:
            for other in firsts[j]:
                earlier, photo = sorted((one, other))
                consider(Match(photo, earlier, duplicates.kind(photo, earlier), difference))
    for content, photos in groups.items():
        for photo in photos[1:]:
            for earlier in firsts[content]:
                if earlier < photo:
                    consider(Match(photo, earlier, duplicates.kind(photo, earlier)))
                    if duplicates.places[photo] == duplicates.places[earlier] and earlier in best:
                        consider(replace(best[earlier], photo=photo))  # an equal file has the same matches
    return [best[photo] for photo in sorted(best)]


def choose_removed(duplicates: PlacedDuplicates, pixels: NDArray[np.int64]) -> dict[int, type[Finding]]:
    """Choose photos to remove: {index of the photo: Contradiction, Leak or Duplicate}.

    Both sides of a contradiction go, since either label may be wrong. Of a leak the photo nearer to training
    goes: test loses none, and val only to test. Of duplicates the one with the most pixels stays. Duplicates
    inside test all stay, so that its figures remain comparable.

    Args:
        duplicates: the duplicates among N photos.
        pixels: (N,), number of pixels of each photo.
    """
    groups, near = duplicates.groups.photos, _near_contents(duplicates)
    removed: dict[int, type[Finding]] = {}
    for content, photos in groups.items():
        for other in (content, *near.get(content, ())):
            both = (*photos, *groups[other])
            if len({duplicates.place(photo)[1] for photo in both}) > 1:
                removed |= dict.fromkeys(both, Contradiction)
    for rank in (2, 1):
        for content, photos in groups.items():
            present = any(p not in removed and RANK[duplicates.place(p)[0]] == rank for p in photos)
            for other in (content, *near.get(content, ())) if present else ():
                for photo in groups[other]:
                    if RANK[duplicates.place(photo)[0]] < rank:
                        removed.setdefault(photo, Leak)
    kept: set[tuple[int, Place]] = set()
    listed = [(-int(pixels[photo]), photo, of) for of, photos in groups.items() for photo in photos]
    for _, photo, content in sorted(listed):
        place = duplicates.place(photo)
        if photo in removed or RANK[place[0]] == 2:
            continue
        if any((other, place) in kept for other in (content, *near.get(content, ()))):
            removed[photo] = Duplicate
        else:
            kept.add((content, place))
    return removed


def _near_contents(duplicates: PlacedDuplicates) -> dict[int, list[int]]:
    """Return {content: its near duplicates}, without the contents that have none."""
    near: dict[int, list[int]] = {}
    for one, other, _ in duplicates.pairs():
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    return near
