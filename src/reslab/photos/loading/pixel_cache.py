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
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab import files as durable
from reslab.errors import PhotosError
from reslab.files import cache_path
from reslab.photos.folder.photo_list import DIGEST, PhotoList
from reslab.text import printable

from .decode_once import Contents, Unread, find_unread, of_all, reason_of
from .pixel_store import RECORD, PixelCache, PixelFiles, Pixels, index_bytes, open_file, try_read
from .preprocess import Preprocess

log = logging.getLogger("reslab")
FORMAT = "pixels 3"  # changes with the files of a cache
SAMPLE = 256  # photos after which the size of a cache is known well enough
SPARE = 2**30  # bytes that a cache leaves free on the disk
KEPT = 60 * 24 * 3600  # seconds after its last use that a cache stays
NOTE = ".unread"  # beside a cache's name: the digests of what could not be read


def cache_folder() -> Path:
    """Where all caches lie: the user's own cache folder, as the system names it."""
    return cache_path("pixels")


def open_pixels(
    folder: Path,
    photos: PhotoList,
    preprocess: Preprocess,
    *,
    cache: bool = True,
    progress: bool = True,
) -> Pixels:
    """The cached pixels of `photos`, built now with a bar on all cores if there are none yet.

    Raises PhotosError if one of them cannot be read; without a cache that shows when it is asked for.
    """
    files = PixelFiles(folder, preprocess)
    found = _in_cache(Contents.of(photos), files, progress) if cache and photos else None
    if found is None:
        return files
    pixels, unread = found
    if unread:
        raise _refusal(folder, photos, unread)
    return pixels


def open_readable(
    folder: Path,
    photos: PhotoList,
    preprocess: Preprocess,
    *,
    cache: bool = True,
    progress: bool = True,
) -> tuple[Pixels, Unread]:
    """The pixels of those of `photos` that can be read, and why the others cannot be.

    A cache holds what can be read and is found by that alone: also by who lists none of the others. Without
    one every photo is decoded all the same, and not kept.
    """
    files, contents = PixelFiles(folder, preprocess), Contents.of(photos)
    found = _in_cache(contents, files, progress) if cache and photos else None
    return found or (files, find_unread(contents, files, progress))


def _in_cache(contents: Contents, files: PixelFiles, progress: bool) -> tuple[Pixels, Unread] | None:
    """The cache and what could not be put there; None, with a warning, if there can be none."""
    try:
        return _open_or_build(contents, files, progress)
    except (OSError, NotImplementedError) as error:  # filelock's, on a disk that knows no locks
        log.warning("no cache: %s; photos are decoded again in every epoch, which is slower", error)
        return None


def _place(contents: Contents, files: PixelFiles) -> Path:
    return cache_folder() / _key(contents.digests, files.preprocess)


def _key(digests: NDArray[np.uint8], preprocess: Preprocess) -> str:
    import PIL
    import torchvision

    versions = f"Pillow {PIL.__version__}, torchvision {torchvision.__version__}"
    content = hashlib.blake2b(f"{FORMAT}\n{preprocess.shrink_key()}\n{versions}\n".encode(), digest_size=16)
    content.update(digests.tobytes())
    return content.hexdigest()


def _open_or_build(contents: Contents, files: PixelFiles, progress: bool) -> tuple[Pixels, Unread]:
    with suppress(OSError, ValueError):
        return _open(contents, files)
    place = _place(contents, files)
    place.parent.mkdir(parents=True, exist_ok=True)
    with _only_builder(Path(f"{place}.lock")):
        with suppress(OSError, ValueError):
            return _open(contents, files)
        if os.path.lexists(place):
            log.warning("the cache %s is damaged, and built anew", place)
        for leftover in place.parent.glob(f".{place.name}.*"):  # of a build that was killed
            _remove(leftover)
        _remove_unused(place.parent)
        unread = _build(contents, files, progress)
    rest = contents.take(~contents.among(unread))
    try:
        return (PixelCache(_place(rest, files), rest.digests, files) if rest else files), unread
    except ValueError as error:
        raise OSError(f"{error}, though it has just been written") from error


def _open(contents: Contents, files: PixelFiles) -> tuple[Pixels, Unread]:
    """What an earlier build left; what it could not read is tried again, for that may have been mended.

    Raises OSError or ValueError if there is nothing, or not just what is wanted.
    """
    place = _place(contents, files)
    note = Path(f"{place}{NOTE}")
    if not os.path.lexists(note):
        return PixelCache(place, contents.digests, files), {}
    with open_file(note) as file:
        noted = file.read(DIGEST * len(contents))  # damaged, it names others, and then nothing fits
    unread = contents.among({noted[i : i + DIGEST] for i in range(0, len(noted), DIGEST)})
    rest = contents.take(~unread)
    pixels = PixelCache(_place(rest, files), rest.digests, files) if rest else files
    with suppress(OSError):
        os.utime(note)
    reasons = find_unread(contents.take(unread), files, progress=False)
    if len(reasons) < unread.sum():
        raise ValueError("a photo that could not be read can be read now")
    return pixels, reasons


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


def _build(contents: Contents, files: PixelFiles, progress: bool) -> Unread:
    """Writes everything into a temporary folder and renames that: a cache is whole or not there.

    What cannot be read is no part of it, and of its name, and is noted beside it.
    """
    records, offset = np.zeros(len(contents), RECORD), 0
    digests, unread = contents.digests, dict[bytes, str]()
    asked = _place(contents, files)
    temporary = Path(tempfile.mkdtemp(dir=asked.parent, prefix=f".{asked.name}."))
    try:
        decoding = closing(of_all(contents, partial(try_read, files), "decoding photos, once", progress))
        with decoding as decoded, (temporary / "pixels").open("wb") as out:
            for row, pixels in enumerate(decoded):
                if isinstance(pixels, PhotosError):
                    unread[digests[row].tobytes()] = reason_of(pixels)
                else:
                    content = pixels.permute(1, 2, 0).numpy().tobytes()
                    records[row] = *pixels.shape[1:], zlib.crc32(content)
                    offset += out.write(content)
                if row + 1 == min(SAMPLE, len(contents)):
                    _check_room(asked.parent, offset * len(contents) // (row + 1) - offset)
            out.flush()
            # before the rename: a power cut must not leave a whole name on half a file
            os.fsync(out.fileno())
        readable = ~contents.among(unread)
        place = _place(contents.take(readable), files)
        durable.write(temporary / "index", index_bytes(records[readable], place.name))
        _remove(place)
        if readable.any():
            os.rename(temporary, place)
        _remove(note := Path(f"{asked}{NOTE}"))
        if unread:
            durable.write(note, b"".join(unread))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return unread


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free - SPARE:
        raise OSError(
            f"it needs {needed / 1e6:,.0f} MB more in {folder}, where {free / 1e6:,.0f} MB are free "
            f"and {SPARE / 1e6:,.0f} MB of them stay so"
        )


def _refusal(folder: Path, photos: PhotoList, unread: Unread) -> PhotosError:
    digest, why = next(iter(unread.items()))
    first = folder / next(photo.path for photo in photos if photo.digest == digest.hex())
    named = shlex.quote(printable(str(folder)))
    return PhotosError(
        f"{len(unread):,} of {len(photos):,} photos cannot be read, the first is {printable(str(first))}",
        why,
        f"put back what it was, or leave out what cannot be read: reslab check {named} --fix list.jsonl",
    )
