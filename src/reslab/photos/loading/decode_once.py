"""Decode each distinct photo of a list once, on all cores, and collect the errors."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from reslab.errors import PhotosError
from reslab.parallel import on_all_cores
from reslab.photos.folder.photo_list import PhotoList, as_words

from .pixel_store import PixelFiles, try_read

if TYPE_CHECKING:
    from torch import Tensor

Unread = dict[bytes, str]  # digest of a photo that cannot be read -> reason


def distinct(photos: PhotoList) -> PhotoList:
    """Return the first photo of each distinct content, sorted by digest."""
    return photos.take(np.unique(as_words(photos.digests), return_index=True)[1])


def decode_all(
    photos: PhotoList, files: PixelFiles, description: str, progress: bool
) -> Generator[Tensor | PhotosError, None, None]:
    """Yield the pixels of each photo in order, or the error in their place, decoded on all cores.

    Args:
        photos: photos to decode.
        files: source of their pixels.
        description: text of the progress bar.
        progress: show a progress bar, if stderr is a terminal.
    """
    from tqdm.auto import tqdm

    bar = tqdm(total=len(photos), desc=description, unit=" photos", disable=None if progress else True)
    with bar, closing(on_all_cores(partial(try_read, files), photos)) as decoded:
        for result in decoded:
            bar.update()
            yield result


def find_unread(photos: PhotoList, files: PixelFiles, progress: bool) -> Unread:
    """Decode each photo and return {digest: reason} of those that cannot be read; {} if all can."""
    with closing(decode_all(photos, files, "checking that photos can be read", progress)) as decoded:
        pairs = zip(photos.digests, decoded, strict=True)
        return {
            digest.tobytes(): reason(result) for digest, result in pairs if isinstance(result, PhotosError)
        }


def reason(error: PhotosError) -> str:
    return error.why or error.what
