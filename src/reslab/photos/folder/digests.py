"""Digest of a file's bytes, by which equal files are found and changed ones noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError
from reslab.parallel import on_all_cores
from reslab.photos.decoding.limits import MAX_FILE_BYTES

from .layout import unreadable
from .photo_list import DIGEST

END_BYTES = 2**20  # at each end of a file too large to be decoded, which is all that is hashed of it
FILES_PER_TASK = 64


def digest(path: Path | str) -> str:
    """Return the BLAKE2b hash of a file as 32 hexadecimal digits.

    A file too large to be decoded is hashed by its length and both ends, so that a film named x.jpg costs
    no minutes.

    Raises:
        PhotosError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size > MAX_FILE_BYTES:
                ends = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=DIGEST, person=b"reslab large")
                for start in (0, size - END_BYTES):
                    file.seek(start)
                    ends.update(file.read(END_BYTES))
                return ends.hexdigest()
            file.seek(0)
            return hashlib.file_digest(file, _hash).hexdigest()
    except OSError as error:
        raise unreadable(Path(path), error) from error


def try_digest(path: Path | str) -> bytes:
    """Return the 16 bytes of a file's digest, or b"" if it cannot be read."""
    try:
        return bytes.fromhex(digest(path))
    except PhotosError:
        return b""


def digest_all(folder: Path, paths: Sequence[str]) -> NDArray[np.uint8]:
    """Digests of N files, read on all cores: (N, 16) uint8, zeros for a file that cannot be read.

    Args:
        folder: folder that the paths are relative to.
        paths: N paths.
    """
    digests = np.zeros((len(paths), DIGEST), np.uint8)

    def read(start: int) -> None:
        for index in range(start, min(start + FILES_PER_TASK, len(paths))):
            if content := try_digest(os.path.join(folder, paths[index])):
                digests[index] = np.frombuffer(content, np.uint8)

    for _ in on_all_cores(read, range(0, len(paths), FILES_PER_TASK)):
        pass
    return digests


def digest_of(content: bytes) -> str:
    """Return what `digest` returns for a file with this content, at most MAX_FILE_BYTES."""
    return _hash(content).hexdigest()


def _hash(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=DIGEST)
