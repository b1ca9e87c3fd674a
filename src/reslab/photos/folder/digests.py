"""What tells one file from another: a digest of its bytes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from reslab.errors import PhotosError
from reslab.photos.decoding.limits import MOST_FILE

from .layout import unreadable
from .photo_list import DIGEST

END = 2**20  # bytes at each end of a file too large to be decoded, by which it is known


def digest(path: Path | str) -> str:
    """32 hexadecimal digits of the file's bytes. Raises PhotosError if it cannot be read.

    Of a file that is too large to be decoded, only its length and both ends are looked at: a film that is
    called x.jpg costs no minutes. No other file has its digest.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size > MOST_FILE:
                ends = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=DIGEST, person=b"reslab large")
                for start in (0, size - END):
                    file.seek(start)
                    ends.update(file.read(END))
                return ends.hexdigest()
            file.seek(0)
            return hashlib.file_digest(file, _hash).hexdigest()
    except OSError as error:
        raise unreadable(Path(path), error) from error


def digest_or_nothing(path: Path | str) -> bytes:
    """The bytes of the file's digest; b"" for one that cannot be read, which its reader will notice."""
    try:
        return bytes.fromhex(digest(path))
    except PhotosError:
        return b""


def digest_of(content: bytes) -> str:
    """What `digest` says of a file of these bytes, at most MOST_FILE of them."""
    return _hash(content).hexdigest()


def _hash(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=DIGEST)
