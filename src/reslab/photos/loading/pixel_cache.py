"""Cache of decoded and shrunken pixels in the user's cache folder, found by the content of the photos.

Images are bit-identical with and without the cache. A cache that cannot be written is a warning. Caches may
be deleted at any time; a build removes those that were not used for two months.
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
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab import files as durable
from reslab.errors import PhotosError
from reslab.files import cache_path
from reslab.photos.folder.photo_list import PhotoList, among, as_words
from reslab.text import printable

from .decode_once import Unread, decode_all, distinct, find_unread, reason
from .pixel_store import RECORD, PixelCache, PixelFiles, Pixels, index_bytes
from .preprocess import Preprocess

log = logging.getLogger("reslab")
CACHE_FORMAT = "pixels 4"  # change it with the layout of the files
SIZE_SAMPLE_PHOTOS = 256  # photos that the size of a new cache is estimated from
CACHE_MAX_AGE_S = 60 * 24 * 3600  # since its last use


def open_pixels(
    folder: Path,
    photos: PhotoList,
    preprocess: Preprocess,
    *,
    cache: bool = True,
    progress: bool = True,
) -> Pixels:
    """Open the cache of `photos`, or build it on all cores if it is missing or damaged.

    Args:
        folder: folder that the photos' paths are relative to.
        photos: photos to read.
        preprocess: preprocessing; the cache holds what its `read` returns.
        cache: use a cache; otherwise photos are decoded at every read.
        progress: show a progress bar while the cache is built, if stderr is a terminal.

    Returns:
        PixelCache; PixelFiles without photos, with `cache=False`, and, with a warning, if the cache cannot
        be written.

    Raises:
        PhotosError: a photo is not in the cache and cannot be read. With PixelFiles, reading it raises.
    """
    files = PixelFiles(folder, preprocess)
    found = _open_cache(distinct(photos), files, progress) if cache and photos else None
    if found is None:
        return files
    pixels, unread = found
    if unread:
        raise _cannot_be_read(folder, photos, unread)
    return pixels


def open_readable(
    folder: Path,
    photos: PhotoList,
    preprocess: Preprocess,
    *,
    cache: bool = True,
    progress: bool = True,
) -> tuple[Pixels, Unread]:
    """Open the cache as open_pixels does, and return {digest: reason} of the photos that cannot be read.

    The cache holds the readable photos and is also found by a list of them alone. With `cache=False`, or if
    it cannot be written, every photo is decoded once to find the reasons, and its pixels are not kept.
    """
    files, photos = PixelFiles(folder, preprocess), distinct(photos)
    found = _open_cache(photos, files, progress) if cache and photos else None
    return found or (files, find_unread(photos, files, progress))


def _open_cache(photos: PhotoList, files: PixelFiles, progress: bool) -> tuple[Pixels, Unread] | None:
    """Open or build the cache of distinct `photos`: the pixels, and {digest: reason} of those unread.

    Returns None, with a warning, if the disk makes that impossible.
    """
    try:
        return _open_or_build(photos, files, progress)
    except (OSError, NotImplementedError) as error:  # filelock's, on a disk without locks
        log.warning("no cache: %s; every epoch decodes the photos again, which is slower", error)
        return None


def _place(photos: PhotoList, files: PixelFiles) -> Path:
    """Path of the cache, which may not exist. Its name is a hash of all that its pixels depend on.

    These are the photos' contents, in order, the preprocessing and the versions of Pillow and torchvision.
    """
    import PIL
    import torchvision

    versions = f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}"
    key = f"{CACHE_FORMAT}\n{files.preprocess.shrink_key()}\n{versions}\n".encode()
    return cache_path("pixels") / hashlib.blake2b(key + photos.digests.tobytes(), digest_size=16).hexdigest()


def _open_or_build(photos: PhotoList, files: PixelFiles, progress: bool) -> tuple[Pixels, Unread]:
    """Open the cache, or build it under a lock; a build also removes what is damaged or long unused.

    Raises:
        OSError, NotImplementedError: the disk is full, read-only or has no locks.
    """
    with suppress(OSError, ValueError):
        return _open(photos, files)
    place = _place(photos, files)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(Path(f"{place}.lock")):
        with suppress(OSError, ValueError):
            return _open(photos, files)
        if os.path.lexists(place) and not place.is_symlink():
            log.warning("the cache %s is damaged and is rebuilt", place)
        for leftover in place.parent.glob(f".{place.name}.*"):  # of a build that was killed
            _remove(leftover)
        _remove_unused(place.parent)
        return _build(photos, files, progress)


def _open(photos: PhotoList, files: PixelFiles) -> tuple[Pixels, Unread]:
    """Open what an earlier build left, and try to read the photos that are missing there.

    Returns:
        The cache, and {digest: reason} of the photos that are still unreadable.

    Raises:
        OSError, ValueError: there is no cache, it is damaged, or it lacks a photo that can be read now.
    """
    pixels = PixelCache(Path(os.path.realpath(_place(photos, files))), files)
    missing = photos.take(~np.isin(as_words(photos.digests), pixels.digests))
    unread = find_unread(missing, files, progress=False)
    if len(unread) < len(missing):
        raise ValueError("a photo that could not be read can be read now")
    return pixels, unread


@contextmanager
def _only_builder(path: Path) -> Iterator[None]:
    """Hold the lock file `path` in a with block, and remove it afterwards.

    If another process holds it, because it builds the same cache, log a warning and wait.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("waiting for another process that decodes the same photos")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):
            os.unlink(path)


def _remove_unused(folder: Path) -> None:
    """Remove all that was not used for CACHE_MAX_AGE_S, and links to caches that do not exist."""
    for path in folder.iterdir():
        with suppress(OSError):
            if not path.exists() or path.stat().st_mtime < time.time() - CACHE_MAX_AGE_S:
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a folder, a file or a link, not its target. Errors are ignored, a missing path, too."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _build(photos: PhotoList, files: PixelFiles, progress: bool) -> tuple[Pixels, Unread]:
    """Write a cache of the photos that can be read into a temporary folder, and rename that.

    If some cannot be read, the name for all photos becomes a link to the cache of the rest. A cache of that
    name is replaced.

    Returns:
        The cache, or `files` if no photo can be read; and {digest: reason} of those that cannot.

    Raises:
        OSError: the disk is full or cannot be written, or the cache is damaged just after it was written.
    """
    requested = _place(photos, files)
    temporary = Path(tempfile.mkdtemp(dir=requested.parent, prefix=f".{requested.name}."))
    try:
        records, unread = _write_pixels(photos, files, temporary / "pixels", progress)
        if not len(records):
            return files, unread
        place = _place(photos.take(~among(photos.digests, unread)), files)
        durable.write(temporary / "index", index_bytes(records, place.name))
        _remove(place)
        os.rename(temporary, place)
        if place != requested:
            _remove(requested)
            requested.symlink_to(place.name)
        return PixelCache(place, files), unread
    except ValueError as error:
        raise OSError(f"{error}, just after it was written") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_pixels(
    photos: PhotoList, files: PixelFiles, path: Path, progress: bool
) -> tuple[NDArray[np.void], Unread]:
    """Decode all photos into the file `path`, one after another in order.

    Returns:
        A RECORD for each photo that can be read, and {digest: reason} of the others.

    Raises:
        OSError: the file cannot be written, or would leave too little of the disk free.
    """
    records, written, unread = np.zeros(len(photos), RECORD), 0, dict[bytes, str]()
    with (
        closing(decode_all(photos, files, "decoding photos, once", progress)) as decoded,
        path.open("wb") as out,
    ):
        for row, pixels in enumerate(decoded):
            digest = photos.digests[row].tobytes()
            if isinstance(pixels, PhotosError):
                unread[digest] = reason(pixels)
            else:
                content = pixels.permute(1, 2, 0).numpy().tobytes()
                records[row] = digest, *pixels.shape[1:], zlib.crc32(content)
                written += out.write(content)
            if row + 1 == min(SIZE_SAMPLE_PHOTOS, len(photos)):
                durable.check_free_disk(path.parent.parent, written * len(photos) // (row + 1) - written)
        out.flush()
        os.fsync(out.fileno())  # before the rename: a power cut must not leave half a file under a final name
    return records[records["height"] > 0], unread


def _cannot_be_read(folder: Path, photos: PhotoList, unread: Unread) -> PhotosError:
    """Return the error to raise for unread photos of a list; it names the first of them."""
    digest, why = next(iter(unread.items()))
    first = folder / next(photo.path for photo in photos if photo.digest == digest.hex())
    quoted = shlex.quote(printable(str(folder)))
    return PhotosError(
        f"{len(unread):,} of {len(photos):,} photos cannot be read, the first is {printable(str(first))}",
        why,
        f"restore them, or make a list without them: reslab check {quoted} --fix list.jsonl",
    )
