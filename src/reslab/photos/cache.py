"""Decoded and shrunken pixels as files in the user's cache folder, keyed by content.

The network sees the same bits with and without it. A cache that cannot be written is a warning, never a
failed run. Deleting the folder at any time is safe, and a cache that nobody has opened for two months goes
when the next one is built.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .. import files as durable
from ..errors import PhotosError
from ..processes import on_all_cores
from ..tables import printable
from .cache_file import RECORD, PixelCache, PixelFiles, Pixels, index_bytes
from .photo_list import DIGEST, Photo, PhotoList, as_words
from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("reslab")
FORMAT = "pixels 2"  # changes with the files of a cache
SAMPLE = 256  # photos after which the size of a cache is known well enough
SPARE = 2**30  # bytes that a cache leaves free on the disk
KEPT = 60 * 24 * 3600  # seconds after its last use that a cache stays


def cache_folder() -> Path:
    """Where all caches lie: the user's own cache folder, as the system names it."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("reslab")) / "pixels"


def open_pixels(
    folder: Path,
    photos: PhotoList,
    preprocess: Preprocess,
    *,
    cache: bool = True,
    progress: bool = True,
) -> Pixels:
    """The cached pixels of `photos`, built now with a bar on all cores if there are none yet.

    Raises PhotosError naming every photo that cannot be read.
    """
    files = PixelFiles(folder, preprocess)
    if not cache or not photos:
        return files
    contents, first = np.unique(as_words(photos.digests), return_index=True)
    once = _Once(photos, first)
    digests = contents.view(np.uint8).reshape(-1, DIGEST)
    place = cache_folder() / _key(digests, preprocess)
    try:
        return _open_or_build(place, digests, once, files, progress)
    except (OSError, NotImplementedError) as error:  # filelock's, on a disk that knows no locks
        log.warning("no cache: %s; photos are decoded again in every epoch, which is slower", error)
        return files


@dataclass(frozen=True)
class _Once:
    """One photo for every content, in the order of the digests."""

    photos: PhotoList
    chosen: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Photo]:
        return (self.photos[int(index)] for index in self.chosen)


def _key(digests: NDArray[np.uint8], preprocess: Preprocess) -> str:
    import PIL
    import torchvision

    versions = f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}"
    content = hashlib.blake2b(f"{FORMAT}\n{preprocess.shrink_key()}\n{versions}\n".encode(), digest_size=16)
    content.update(digests.tobytes())
    return content.hexdigest()


def _open_or_build(
    place: Path, digests: NDArray[np.uint8], photos: _Once, files: PixelFiles, progress: bool
) -> PixelCache:
    with suppress(OSError, ValueError):
        return PixelCache(place, digests, files)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(Path(f"{place}.lock")):
        with suppress(OSError, ValueError):
            return PixelCache(place, digests, files)
        if os.path.lexists(place):
            log.warning("the cache %s is damaged, and built anew", place)
        _remove(place)
        for leftover in place.parent.glob(f".{place.name}.*"):  # of a build that was killed
            _remove(leftover)
        _remove_unused(place.parent)
        _build(place, photos, files, progress)
    try:
        return PixelCache(place, digests, files)
    except ValueError as error:
        raise OSError(f"{error}, though it has just been written") from error


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    """Of two runs that start together, one builds and the other waits, and says so."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process decodes these photos; waiting until it has finished")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            os.unlink(path)


def _remove_unused(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT:
                _remove(path)


def _remove(path: Path) -> None:
    """A cache, or whatever stands in its place; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _build(place: Path, photos: _Once, files: PixelFiles, progress: bool) -> None:
    """Writes everything into a temporary folder and renames that: a cache is whole or not there."""
    from tqdm.auto import tqdm

    records, offset = np.zeros(len(photos), RECORD), 0
    failed = _Failed()
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    bar = tqdm(
        total=len(photos), desc="decoding photos, once", unit=" photos", disable=None if progress else True
    )
    try:
        decoding = closing(on_all_cores(partial(_try_read, files), photos))
        with bar, decoding as decoded, (temporary / "pixels").open("wb") as out:
            for row, pixels in enumerate(decoded):
                bar.update()
                if isinstance(pixels, PhotosError):
                    failed.add(pixels)
                    continue
                content = pixels.numpy().tobytes()
                records[row] = *pixels.shape[1:], zlib.crc32(content)
                offset += out.write(content)
                if row + 1 == min(SAMPLE, len(photos)):
                    _check_room(place.parent, offset * len(photos) // (row + 1) - offset)
            failed.report(len(photos), files.folder)
            out.flush()
            # before the rename: a power cut must not leave a whole name on half a file
            os.fsync(out.fileno())
        durable.write(temporary / "index", index_bytes(records, place.name))
        os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _try_read(files: PixelFiles, photo: Photo) -> Tensor | PhotosError:
    try:
        return files.read(photo)
    except PhotosError as error:
        return error


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free - SPARE:
        raise OSError(
            f"it needs {needed / 1e6:,.0f} MB more in {folder}, where {free / 1e6:,.0f} MB are free "
            f"and {SPARE / 1e6:,.0f} MB of them stay so"
        )


class _Failed:
    """The photos that cannot be read: how many, and the first of them."""

    def __init__(self) -> None:
        self.count, self.first = 0, list[PhotosError]()

    def add(self, error: PhotosError) -> None:
        self.count += 1
        if len(self.first) < 10:
            self.first.append(error)

    def report(self, total: int, folder: Path) -> None:
        """Raises PhotosError if there are any."""
        named = shlex.quote(printable(str(folder)))
        do = f"leave them out: reslab check {named} --fix list.jsonl; reslab train list.jsonl"
        if self.count == 1:
            raise PhotosError(self.first[0].what, self.first[0].why, f"{self.first[0].do}, or {do}")
        if self.count:
            listed = "\n".join(f"       {error.what}: {error.why}" for error in self.first)
            more = f"\n       and {self.count - 10:,} more" if self.count > 10 else ""
            raise PhotosError(
                f"{self.count:,} of {total:,} photos in {folder} cannot be read",
                f"a network cannot be shown what cannot be decoded:\n{listed}{more}",
                f"remove or replace these files, or {do}",
            )
