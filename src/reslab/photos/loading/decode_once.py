"""Each content of a list of photos read once, on all cores, and why some cannot be."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.parallel import on_all_cores
from reslab.photos.checking.folder_stats import key_of
from reslab.photos.checking.stats_cache import LookCache
from reslab.photos.folder.photo_list import Photo, PhotoList, among, as_words

from .pixel_store import PixelFiles, try_read

T = TypeVar("T")
Unread = dict[bytes, str]  # the digest of what cannot be read -> why


@dataclass(frozen=True)
class Contents:
    """One photo for every content, in the order of the digests."""

    photos: PhotoList
    chosen: NDArray[np.int64]  # (C,)

    @classmethod
    def of(cls, photos: PhotoList) -> Contents:
        return cls(photos, np.unique(as_words(photos.digests), return_index=True)[1])

    @property
    def digests(self) -> NDArray[np.uint8]:
        """(C, 16)"""
        return self.photos.digests[self.chosen]

    def take(self, mask: NDArray[np.bool_]) -> Contents:
        return Contents(self.photos, self.chosen[mask])

    def among(self, digests: Container[bytes]) -> NDArray[np.bool_]:
        """(C,): which of them these are."""
        return among(self.digests, digests)

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Photo]:
        return (self.photos[int(index)] for index in self.chosen)


def find_unread(contents: Contents, files: PixelFiles, progress: bool) -> Unread:
    """Decodes and keeps nothing but the verdicts, of which a check may have left some."""
    looks = LookCache() if LookCache.exists() else None

    def reason(photo: Photo) -> str:
        look = looks and looks.get(key_of(photo.digest, files.preprocess.truncated))
        if look:
            return look.reason
        pixels = try_read(files, photo)
        return reason_of(pixels) if isinstance(pixels, PhotosError) else ""

    try:
        with closing(
            of_all(contents, reason, "decoding photos, to know which can be read", progress)
        ) as reasons:
            verdicts = zip(contents.digests, reasons, strict=True)
            return {digest.tobytes(): why for digest, why in verdicts if why}
    finally:
        if looks:
            looks.close()


def reason_of(error: PhotosError) -> str:
    return error.why or error.what


def of_all(
    contents: Contents, work: Callable[[Photo], T], what: str, progress: bool
) -> Generator[T, None, None]:
    """`work` of each, in order, with a bar and on all cores."""
    from tqdm.auto import tqdm

    bar = tqdm(total=len(contents), desc=what, unit=" photos", disable=None if progress else True)
    with bar, closing(on_all_cores(work, contents)) as done:
        for result in done:
            bar.update()
            yield result
