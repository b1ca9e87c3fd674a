"""Replace photos that become unreadable during training, and count them.

Validation and test replace nothing: their figures must always cover the same photos.
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
MAX_REPLACED_FRACTION = 0.01  # of an epoch's photos; one is always allowed
MAX_CANDIDATES = 10  # tries for one photo: if all fail, the disk is the problem
MAX_REASONS = 100  # photos to keep by name
MAX_SHOWN = 10
ADVICE = "check the disk or the network that holds the photos, and restore the missing ones"


@dataclass
class Replacements:
    """Count of the photos replaced so far in a training, part of its TrainState.

    Attributes:
        in_epoch: replacements in the present epoch; the training resets it.
        total: replacements in the whole training; a photo counts each time.
        reasons: {path: reason} of the first MAX_REASONS photos that were replaced.
    """

    in_epoch: int = 0
    total: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, why: str, photos: int) -> None:
        """Count one replacement.

        Args:
            path: path of the photo that was replaced.
            why: why it could not be read.
            photos: number of photos in an epoch.

        Raises:
            PhotosError: this epoch has had more than MAX_REPLACED_FRACTION of its photos replaced, and more
                than one. It is counted before.
        """
        self.in_epoch, self.total = self.in_epoch + 1, self.total + 1
        if len(self.reasons) < MAX_REASONS:
            self.reasons.setdefault(path, why)
        if self.in_epoch > max(1, int(MAX_REPLACED_FRACTION * photos)):
            raise PhotosError(
                f"{self.in_epoch:,} of {photos:,} photos had to be replaced in this epoch, the last is "
                f"{printable(path)}",
                f"{why}; with more than {MAX_REPLACED_FRACTION:.0%} replaced, the training data would change",
                ADVICE,
            )

    def __str__(self) -> str:
        if not self.total:
            return "no photo had to be replaced"
        lines = [f"{self.total:,} times a photo could not be read and another was used in its place:"]
        reasons = list(self.reasons.items())
        lines += [f"  {printable(path)}: {printable(why)}" for path, why in reasons[:MAX_SHOWN]]
        if len(reasons) > MAX_SHOWN:
            lines.append(
                f"  and {len(reasons) - MAX_SHOWN}{' or more' * (len(reasons) == MAX_REASONS)} others"
            )
        return "\n".join(lines)

    def rows(self) -> list[dict[str, str]]:
        """Return [{"path", "why"}, ...] for result.json, at most MAX_REASONS."""
        return [{"path": path, "why": why} for path, why in self.reasons.items()]


def read_or_replace(
    read: Callable[[Photo], T], photo: Photo, photos: PhotoList, seed: int, epoch: int
) -> tuple[T, Photo, PhotosError | None]:
    """Read a photo, or another one of `photos` in its place, of any class.

    The replacement depends on (seed, epoch, photo) alone, so workers and restarts do not change it.

    Args:
        read: function that reads a photo, or raises PhotosError.
        photo: photo to read.
        photos: photos to choose a replacement from.
        seed: seed of the choice.
        epoch: number of the epoch.

    Returns:
        The result of `read`, the photo that was read, and the error of `photo` if it is another one, or None.

    Raises:
        PhotosError: neither the photo nor MAX_CANDIDATES others can be read.
    """
    first: PhotosError | None = None
    for candidate in _candidates(photo, photos, seed, epoch):
        try:
            return read(candidate), candidate, first
        except PhotosError as error:
            first = first or error
            last = error
    assert first is not None
    raise PhotosError(
        first.what,
        f"{first.why}; {MAX_CANDIDATES} others in its place cannot be read either, the last: {last.what}",
        ADVICE,
    )


def _candidates(photo: Photo, photos: PhotoList, seed: int, epoch: int) -> Iterator[Photo]:
    """Yield `photo`, then MAX_CANDIDATES random photos, which may repeat."""
    yield photo
    for number in range(MAX_CANDIDATES):
        yield photos[key(seed, f"replacement {photo.digest}", epoch, number) % len(photos)]
