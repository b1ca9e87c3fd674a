"""First bytes of image files, by which a file without a suffix is recognized."""

from __future__ import annotations

import os
import re

HEAD_BYTES = 16
IMAGE_HEAD = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II[*+]\0|MM\0[*+]"
    rb"|....ftyp(?:avi[fs]|hei[cfmsx]|mif1|msf1)|\x93NUMPY|P[1-6][ \t\r\n]"
    rb"|\0\0\0\x0cjP  \r\n|\xff\x4f\xff\x51",
    re.DOTALL,
)


def begins_as_image(path: str | os.PathLike[str]) -> bool:
    """Return whether a regular file begins as an image does. False for one that cannot be read."""
    try:
        with open(path, "rb") as file:
            return IMAGE_HEAD.match(file.read(HEAD_BYTES)) is not None
    except OSError:
        return False
