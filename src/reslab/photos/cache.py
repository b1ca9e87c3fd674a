"""Decoded and shrunken pixels in a memory-mapped file in the user's cache folder, keyed by content.

The network sees the same bits with and without it. A cache that cannot be written is a warning, never a
failed run. Deleting the folder at any time is safe, and a cache that nobody has opened for two months goes
when the next one is built.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import files as durable
from ..errors import PhotosError
from ..processes import cores
from .folder import Photo
from .preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger("reslab")
SAMPLE = 256  # photos after which the size of a cache is known well enough
SPARE = 2**30  # bytes that a cache leaves free on the disk
KEPT = 60 * 24 * 3600  # seconds after its last use that a cache stays


class Pixels(Protocol):
    """Where the pixels of a photo come from: uint8 (channels, H, W), shrunken."""

    def read(self, photo: Photo) -> Tensor: ...


class PixelFiles:
    """Decodes each photo every time it is asked for."""

    def __init__(self, folder: Path, preprocess: Preprocess) -> None:
        self.folder, self.preprocess = folder, preprocess

    def read(self, photo: Photo) -> Tensor:
        return self.preprocess.read(self.folder / photo.path)


class PixelCache:
    """Reads from the memory-mapped file; rows stand in the order of the sorted digests."""

    def __init__(self, folder: Path, digests: Sequence[str], channels: int) -> None:
        self.folder, self.channels = folder, channels
        self.rows = {digest: row for row, digest in enumerate(digests)}
        self.index: NDArray[np.int64] = np.load(folder / "index.npy", allow_pickle=False)  # offset, H, W
        self.pixels = np.memmap(folder / "pixels", dtype=np.uint8, mode="r")
        if self.index.shape != (len(digests), 3) or self.index.dtype != np.int64 or not self._is_whole():
            raise ValueError(f"{folder} is not whole")
        with suppress(OSError):  # a cache may be read where nothing may be written
            os.utime(folder)

    def _is_whole(self) -> bool:
        offsets, heights, widths = self.index.T
        ends = np.cumsum(self.channels * heights * widths)
        follows = np.array_equal(offsets[1:], ends[:-1]) and offsets[0] == 0
        return bool(follows and self.index[:, 1:].min() > 0 and ends[-1] == self.pixels.size)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker that is not forked opens the file itself; NumPy would send it every pixel.
        return PixelCache, (self.folder, list(self.rows), self.channels)

    def read(self, photo: Photo) -> Tensor:
        import torch

        offset, height, width = self.index[self.rows[photo.digest]]
        flat = self.pixels[offset : offset + self.channels * height * width]
        return torch.from_numpy(np.array(flat)).view(self.channels, int(height), int(width))


def cache_folder() -> Path:
    """Where all caches lie: the user's own cache folder, as the system names it."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("reslab")) / "pixels"


def open_pixels(
    folder: Path,
    photos: Sequence[Photo],
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
    by_digest = {photo.digest: photo for photo in photos}
    digests = sorted(by_digest)
    place = cache_folder() / _key(digests, preprocess)
    try:
        return _open_or_build(place, digests, [by_digest[d] for d in digests], files, progress)
    except (OSError, NotImplementedError) as error:  # filelock's, on a disk that knows no locks
        log.warning("no cache: %s; photos are decoded again in every epoch, which is slower", error)
        return files


def _key(digests: Sequence[str], preprocess: Preprocess) -> str:
    import PIL
    import torchvision

    versions = f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}"
    content = "\n".join([preprocess.shrink_key(), versions, *digests])
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()


def _open_or_build(
    place: Path, digests: Sequence[str], photos: Sequence[Photo], files: PixelFiles, progress: bool
) -> PixelCache:
    channels = files.preprocess.channels
    with suppress(OSError, ValueError, EOFError):
        return PixelCache(place, digests, channels)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(Path(f"{place}.lock")):
        with suppress(OSError, ValueError, EOFError):
            return PixelCache(place, digests, channels)
        shutil.rmtree(place, ignore_errors=True)
        for leftover in place.parent.glob(f".{place.name}.*"):  # of a build that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        _remove_unused(place.parent)
        _build(place, photos, files, progress)
    with suppress(OSError):
        os.unlink(f"{place}.lock")
    return PixelCache(place, digests, channels)


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


def _remove_unused(folder: Path) -> None:
    for path in folder.iterdir():
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _build(place: Path, photos: Sequence[Photo], files: PixelFiles, progress: bool) -> None:
    """Writes everything into a temporary folder and renames that: a cache is whole or not there."""
    from tqdm.auto import tqdm

    index, offset = np.zeros((len(photos), 3), np.int64), 0
    failed: list[PhotosError] = []
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    bar = tqdm(
        total=len(photos), desc="decoding photos, once", unit=" photos", disable=None if progress else True
    )
    try:
        with bar, ThreadPoolExecutor(cores()) as pool, (temporary / "pixels").open("wb") as out:
            for row, pixels in enumerate(_read_ahead(pool, files, photos)):
                bar.update()
                if isinstance(pixels, PhotosError):
                    failed.append(pixels)
                    continue
                index[row] = offset, pixels.shape[1], pixels.shape[2]
                offset += out.write(pixels.numpy().tobytes())
                if row + 1 == min(SAMPLE, len(photos)):
                    _check_room(place.parent, offset * len(photos) // (row + 1) - offset)
            _report(failed, len(photos), files.folder)
            out.flush()
            # before the rename: a power cut must not leave a whole name on half a file
            os.fsync(out.fileno())
        saved = io.BytesIO()
        np.save(saved, index)
        durable.write(temporary / "index.npy", saved.getvalue())
        os.rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_ahead(
    pool: ThreadPoolExecutor, files: PixelFiles, photos: Sequence[Photo]
) -> Iterator[Tensor | PhotosError]:
    """In order, with enough photos in work for every core and few enough for any memory."""
    waiting: deque[Future[Tensor | PhotosError]] = deque()
    for photo in photos:
        waiting.append(pool.submit(_try_read, files, photo))
        if len(waiting) > 8 * cores():
            yield waiting.popleft().result()
    for future in waiting:
        yield future.result()


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


def _report(failed: Sequence[PhotosError], total: int, folder: Path) -> None:
    if len(failed) == 1:
        raise failed[0]
    if failed:
        listed = "\n".join(f"       {error.what}: {error.why}" for error in failed[:10])
        more = f"\n       and {len(failed) - 10} more" if len(failed) > 10 else ""
        raise PhotosError(
            f"{len(failed)} of {total:,} photos in {folder} cannot be read",
            f"a network cannot be shown what cannot be decoded:\n{listed}{more}",
            "remove or replace these files, and start again",
        )
