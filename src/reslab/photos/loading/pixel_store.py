"""What a cache consists of, and how it is read: nothing in it is believed unchecked.

pixels   the pixels of one photo behind those of the other, in the order of their sorted digests; each row by
         row and all channels of a pixel together, from which torch resizes fastest
index    per photo height, width and the CRC-32 of its pixels; at the end the CRC-32 of the cache's name and
         all of that, so that no index goes with another cache's pixels

Read by call, not by memory map: a disk that fails is then an error, and no signal that kills the process.
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
from reslab.photos.folder.photo_list import DIGEST, Photo, as_words

from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("reslab")
RECORD = np.dtype([("height", "<i4"), ("width", "<i4"), ("checksum", "<u4")])
AT_ONCE = 2**26  # bytes of a file that are read once, decoded and digested; of a larger one, twice
LONGEST = 3 * 8192  # pixels: the largest `resize`, and how long `shrink` leaves a photo


class Pixels(Protocol):
    """Where the pixels of a photo come from: uint8 (channels, H, W), shrunken."""

    def read(self, photo: Photo) -> Tensor: ...


def try_read(pixels: Pixels, photo: Photo) -> Tensor | PhotosError:
    """The pixels of a photo, or why there are none."""
    try:
        return pixels.read(photo)
    except PhotosError as error:
        return error


class PixelFiles:
    """Decodes each photo every time it is asked for."""

    def __init__(self, folder: Path, preprocess: Preprocess) -> None:
        self.folder, self.preprocess = folder, preprocess

    def read(self, photo: Photo) -> Tensor:
        """Raises PhotosError for a photo that cannot be read, or is another one than it was."""
        path = self.folder / photo.path
        content = _content(path)
        pixels = self.preprocess.read(path if content is None else content, path)
        if (digest(path) if content is None else digest_of(content)) != photo.digest:
            raise PhotosError(
                f"{path} has changed",
                "it is not the file any more that was found when the photos were listed",
                "put back what it was, or start again",
            )
        return pixels


def _content(path: Path) -> bytes | None:
    """What is in a file; None for one that cannot be read, as its decoder will say, or is large: a TIFF of a
    GB is decoded piece by piece, and would take twice the memory."""
    try:
        with open_file(path) as file:
            content = file.read(AT_ONCE + 1)
    except (OSError, ValueError):
        return None
    return content if len(content) <= AT_ONCE else None


class PixelCache:
    """Reads from the cache; what is damaged there is decoded from the photo, with a warning.

    `digests` (N, 16), uint8, are those of the photos, sorted. About 40 bytes a photo are held in memory.
    Raises OSError or ValueError for a cache that is not there or not whole.
    """

    def __init__(self, folder: Path, digests: NDArray[np.uint8], files: PixelFiles) -> None:
        self.folder, self.files, self.warned = folder, files, False
        self.digests = as_words(digests)
        self.records = _read_index(folder, len(digests))
        self.starts = self._starts()  # (N + 1,)
        self.pixels = open_file(folder / "pixels")
        if os.fstat(self.pixels.fileno()).st_size != self.starts[-1]:
            raise ValueError(f"{folder} is not whole")
        with suppress(OSError):  # a cache may be read where nothing may be written
            os.utime(folder)

    def _starts(self) -> NDArray[np.int64]:
        sides = np.stack([self.records["height"], self.records["width"]])  # (2, N)
        if sides.min() < 1 or sides.max() > LONGEST:
            raise ValueError(f"{self.folder} holds no pictures")
        sizes = self.files.preprocess.channels * sides.prod(axis=0, dtype=np.int64)
        return np.concatenate([np.zeros(1, np.int64), sizes.cumsum()])

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple[Any, ...]:  # a worker that is not forked opens the files itself
        digests = self.digests.view(np.uint8).reshape(-1, DIGEST)
        return PixelCache, (self.folder, digests, self.files)

    def read(self, photo: Photo) -> Tensor:
        """uint8 (channels, H, W). Raises PhotosError if neither cache nor photo can be read."""
        import torch

        try:
            return torch.from_numpy(self._stored(bytes.fromhex(photo.digest)))
        except (OSError, ValueError) as error:
            self._warn(error)
            return self.files.read(photo)

    def _stored(self, wanted: bytes) -> NDArray[np.uint8]:
        word = np.frombuffer(wanted, self.digests.dtype)
        row = int(self.digests.searchsorted(word)[0])
        if row == len(self) or self.digests[row] != word[0]:
            raise ValueError("a photo is not in it")
        height, width, checksum = self.records[row].item()
        flat = np.empty(int(self.starts[row + 1] - self.starts[row]), np.uint8)
        count = os.preadv(self.pixels.fileno(), [flat.data], int(self.starts[row]))
        if count != len(flat) or zlib.crc32(flat.data) != checksum:
            raise ValueError("its pixels are not as they were written")
        return flat.reshape(height, width, -1).transpose(2, 0, 1)

    def _warn(self, error: Exception) -> None:
        """Once, and the next start builds it anew: one without an index is not whole."""
        if not self.warned:
            log.warning(
                "the cache %s is damaged: %s; what is damaged is decoded again, and the next start builds it "
                "anew",
                self.folder,
                error,
            )
            self.warned = True
            with suppress(OSError):
                os.unlink(self.folder / "index")


def index_bytes(records: NDArray[np.void], name: str) -> bytes:
    """The content of the index of a cache that is called `name`."""
    content = records.tobytes()
    return content + zlib.crc32(content, zlib.crc32(name.encode())).to_bytes(4, "little")


def _read_index(folder: Path, count: int) -> NDArray[np.void]:
    """The records (N,). Its size is known, so that no more is ever read than that."""
    with open_file(folder / "index") as file:
        size = count * RECORD.itemsize
        if os.fstat(file.fileno()).st_size != size + 4:
            raise ValueError(f"{folder}/index is not whole")
        content = file.read(size + 4)
    if index_bytes(records := np.frombuffer(content[:size], RECORD), folder.name) != content:
        raise ValueError(f"{folder}/index is not as it was written")
    return records


def open_file(path: Path) -> IO[bytes]:
    """Raises OSError for what is there and no file; to open a pipe would wait for ever."""
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{path} is no file")
    return file
