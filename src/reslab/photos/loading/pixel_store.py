"""Pixel sources: photo files, and the files of a pixel cache, which are verified whenever they are read.

A cache is a folder of two files. `pixels` holds the pixels of each photo, sorted by digest, as (H, W,
channels): torch resizes that layout fastest. `index` holds a RECORD per photo, then a CRC-32 of the folder's
name and all records, so that an index never matches the pixels of another cache.

The files are read, not memory-mapped: a failing disk raises OSError instead of killing the process.
"""

from __future__ import annotations

import logging
import os
import stat
import zlib
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.photos.folder.digests import digest, digest_of
from reslab.photos.folder.photo_list import DIGEST, Photo

from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("reslab")
RECORD = np.dtype([("digest", f"V{DIGEST}"), ("height", "<i4"), ("width", "<i4"), ("checksum", "<u4")])
MAX_INDEX_BYTES = 2**30  # 38 million photos
MAX_BYTES_IN_MEMORY = 2**26  # a larger photo file is read twice, for its pixels and for its digest
MAX_SIDE = 3 * 8192  # pixels: the largest `resize`, times the aspect ratio that `shrink` leaves


class Pixels(Protocol):
    """Protocol of a source of pixels: what `Preprocess.read` returns for a photo."""

    def read(self, photo: Photo) -> Tensor:
        """Return uint8 (channels, H, W). Raises PhotosError if the photo cannot be read."""
        ...


def try_read(pixels: Pixels, photo: Photo) -> Tensor | PhotosError:
    """Return the pixels of a photo, or the PhotosError of reading it."""
    try:
        return pixels.read(photo)
    except PhotosError as error:
        return error


class PixelFiles:
    """Pixels decoded from the photo file at every read.

    Args:
        folder: folder that the photos' paths are relative to.
        preprocess: how a photo is decoded and shrunk.
    """

    def __init__(self, folder: Path, preprocess: Preprocess) -> None:
        self.folder, self.preprocess = folder, preprocess

    def read(self, photo: Photo) -> Tensor:
        """Return uint8 (channels, H, W). Raises PhotosError if the photo cannot be read or has changed."""
        path = self.folder / photo.path
        content = _content(path)
        pixels = self.preprocess.read(path if content is None else content, path)
        if (digest(path) if content is None else digest_of(content)) != photo.digest:
            raise PhotosError(
                f"{path} has changed",
                "its content differs from the file that was listed",
                "restore the file, or start again",
            )
        return pixels


def _content(path: Path) -> bytes | None:
    """Return the content of a file; None above MAX_BYTES_IN_MEMORY, and if it cannot be read."""
    try:
        with open_file(path) as file:
            content = file.read(MAX_BYTES_IN_MEMORY + 1)
    except (OSError, ValueError):
        return None
    return content if len(content) <= MAX_BYTES_IN_MEMORY else None


class PixelCache:
    """Pixels read from a cache folder, or from the photo where the cache is damaged, with a warning.

    Opening it marks the folder as used now. Holds about 40 bytes per photo in memory.

    Args:
        folder: folder of the cache.
        files: source for photos that the cache lacks, and the preprocessing.

    Raises:
        OSError, ValueError: the cache is missing or damaged.
    """

    def __init__(self, folder: Path, files: PixelFiles) -> None:
        self.folder, self.files, self.warned = folder, files, False
        self.records = _read_index(folder)
        self.digests = np.ascontiguousarray(self.records["digest"])  # (N,), sorted
        sides = np.stack([self.records["height"], self.records["width"]])  # (2, N)
        if sides.min() < 1 or sides.max() > MAX_SIDE:
            raise ValueError(f"{folder}/index has invalid sizes")
        sizes = files.preprocess.channels * sides.prod(axis=0, dtype=np.int64)
        self.starts = np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])  # (N + 1,)
        self.pixels = open_file(folder / "pixels")
        if os.fstat(self.pixels.fileno()).st_size != self.starts[-1]:
            raise ValueError(f"{folder}/pixels has the wrong size")
        with suppress(OSError):  # the disk may be read-only
            os.utime(folder)

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[Any, ...]:  # a spawned worker opens the files itself
        return PixelCache, (self.folder, self.files)

    def row(self, digest: str) -> int | None:
        """Return the row of the photo with a digest (hexadecimal), or None if it is not in the cache."""
        word = np.frombuffer(bytes.fromhex(digest), self.digests.dtype)
        row = int(self.digests.searchsorted(word)[0])
        return row if row < len(self) and self.digests[row] == word[0] else None

    def size(self, row: int) -> tuple[int, int]:
        """Return height and width of the photo in a row."""
        return int(self.records["height"][row]), int(self.records["width"][row])

    def read(self, photo: Photo) -> Tensor:
        """Return uint8 (channels, H, W) from the cache, or else from the photo's file.

        The first failure of the cache logs a warning, and the next start rebuilds it.

        Raises:
            PhotosError: neither cache nor photo can be read.
        """
        import torch

        row = self.row(photo.digest)
        try:
            if row is None:
                raise ValueError("a photo is missing")
            return torch.from_numpy(self._read_row(row))
        except (OSError, ValueError) as error:
            self._warn(error)
            return self.files.read(photo)

    def _read_row(self, row: int) -> NDArray[np.uint8]:
        """Return uint8 (channels, H, W). Raises OSError, or ValueError if the checksum differs."""
        start, end = self.starts[row : row + 2].tolist()
        flat = np.empty(end - start, np.uint8)
        count = os.preadv(self.pixels.fileno(), [flat.data], start)
        if count != len(flat) or zlib.crc32(flat.data) != self.records["checksum"][row]:
            raise ValueError("a checksum of pixels differs")
        return flat.reshape(*self.size(row), -1).transpose(2, 0, 1)

    def _warn(self, error: Exception) -> None:
        """Log a warning and remove the index, so that the next start rebuilds the cache; only once."""
        if not self.warned:
            log.warning(
                "the cache %s is damaged: %s; its photos are decoded again, and the next start rebuilds it",
                self.folder,
                error,
            )
            self.warned = True
            with suppress(OSError):
                os.unlink(self.folder / "index")


def index_bytes(records: NDArray[np.void], name: str) -> bytes:
    """Return the content of the index file: the records, then their checksum.

    Args:
        records: (N,) RECORD, sorted by digest.
        name: name of the cache folder, which is part of the checksum.
    """
    content = records.tobytes()
    return content + zlib.crc32(content, zlib.crc32(name.encode())).to_bytes(4, "little")


def _read_index(folder: Path) -> NDArray[np.void]:
    """Return the records (N,), N at least 1, of a cache folder. Raises OSError, or ValueError if damaged."""
    with open_file(folder / "index") as file:
        content = file.read(MAX_INDEX_BYTES)
    count = len(content) // RECORD.itemsize
    records = np.frombuffer(content, RECORD, count)
    if count == 0 or index_bytes(records, folder.name) != content:
        raise ValueError(f"{folder}/index is damaged")
    return records


def open_file(path: Path) -> IO[bytes]:
    """Open a regular file for unbuffered binary reading.

    Raises OSError for other files: opening a pipe would block forever.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is not a regular file")
    return file
