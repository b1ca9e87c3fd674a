"""A photo that turns bad in the middle of a training: replaced by another, counted, and named at the end.

Only where a network learns. Where it is measured nothing is replaced or left out: a figure over other photos
could not be compared with the epoch before, and the best epoch is chosen by comparing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from reslab.errors import PhotosError
from reslab.photos.folder.photo_list import Photo, PhotoList
from reslab.randomness import key
from reslab.text import printable

T = TypeVar("T")
SHARE = 0.01  # of an epoch's photos may be replaced, and one in any case
IN_A_ROW = 10  # replacements of one photo that fail as well: then it is not the photos
NAMED = 100  # photos that are kept by name


@dataclass
class Replacements:
    """How many photos were replaced in a training so far, and which: part of its State."""

    in_epoch: int = 0
    in_all: int = 0
    named: dict[str, str] = field(default_factory=dict)  # path -> why, the first NAMED

    def add(self, path: str, why: str, photos: int) -> None:
        """Counts one. Raises PhotosError if that makes too many for an epoch of `photos`."""
        self.in_epoch, self.in_all = self.in_epoch + 1, self.in_all + 1
        if len(self.named) < NAMED:
            self.named.setdefault(path, why)
        if self.in_epoch > max(1, int(SHARE * photos)):
            raise PhotosError(
                f"{self.in_epoch:,} of {photos:,} photos had to be replaced in this epoch, the last is "
                f"{printable(path)}",
                f"{why}; with more than {SHARE:.0%} of them replaced, a training would be one of other data",
                "look after the disk or the network that holds the photos, and put back what is lost",
            )

    def __str__(self) -> str:
        if not self.in_all:
            return "no photo had to be replaced"
        lines = [f"  {printable(path)}: {printable(why)}" for path, why in list(self.named.items())[:10]]
        if len(self.named) > 10:
            lines.append(f"  and {len(self.named) - 10}{' or more' * (len(self.named) == NAMED)} others")
        return "\n".join(
            [f"{self.in_all:,} times a photo could not be read and another took its place:", *lines]
        )

    def rows(self) -> list[dict[str, str]]:
        """What result.json says: {"path", "why"}, at most NAMED."""
        return [{"path": path, "why": why} for path, why in self.named.items()]


def read_or_replace(
    read: Callable[[Photo], T], photo: Photo, photos: PhotoList, seed: int, epoch: int
) -> tuple[T, Photo, PhotosError | None]:
    """What `read` makes of the photo, or of one that takes its place; which it was; why, if another.

    Which one is decided by (seed, epoch, photo): not by the order of reading, the process, or a restart.
    Raises PhotosError if one after the other cannot be read.
    """
    first: PhotosError | None = None
    for one in _candidates(photo, photos, seed, epoch):
        try:
            return read(one), one, first
        except PhotosError as error:
            first = first or error
            last = error
    assert first is not None
    raise PhotosError(
        first.what,
        f"{first.why}; nor could any of {IN_A_ROW} others in its place, the last: {last.what}",
        "look after the disk or the network that holds the photos, and put back what is lost",
    )


def _candidates(photo: Photo, photos: PhotoList, seed: int, epoch: int) -> Iterator[Photo]:
    yield photo
    for number in range(IN_A_ROW):
        yield photos[key(seed, f"replacement {photo.digest}", epoch, number) % len(photos)]
