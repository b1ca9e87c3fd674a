"""Files that are taken for weights but are something else, named by their first bytes and their names."""

from __future__ import annotations

import re
from pathlib import Path

from reslab.errors import WeightsError

START_BYTES = 512
SHARD = re.compile(r"-0*(\d+)-of-0*(\d+)\.\w+$")  # model-00001-of-00002.safetensors
LFS, HDF5 = b"version https://git-lfs", b"\x89hdf\r\n"
PAGE = "a web page, such as a form to log in or an error"
# first bytes in lower case, after spaces; kind of the file; what to do
KINDS = (
    (LFS, "a pointer of Git LFS, which stands for the weights", "run in its folder: git lfs pull"),
    (b"<!doctype html", PAGE, "download the file itself, not the page about it"),
    (b"<html", PAGE, "download the file itself, not the page about it"),
    (b"<?xml", "text in XML, such as a server's error", "download the file itself"),
    (b"{", "text in JSON, such as a list of files with weights", "give a .safetensors or .pth file"),
    (HDF5, "an HDF5 file, as Keras saves it", "give weights of PyTorch: .safetensors or .pth"),
)


def check_kind(path: Path, start: bytes) -> None:
    """Raise WeightsError for a file of another kind, or one of several with a part of the weights each.

    Args:
        path: of the file, for its name.
        start: its first bytes.
    """
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for first, kind, do in KINDS:
        if text.startswith(first) and (first == HDF5 or b"\0" not in start):  # weights hold null bytes
            raise WeightsError(f"{path} holds no weights", f"it is {kind}", do)
    if (shard := SHARD.search(path.name)) and shard[2] != "1":
        raise WeightsError(
            f"{path} holds a part of the weights",
            f"its name says that it is file {shard[1]} of {shard[2]}",
            "save the state dict of the whole network in one file",
        )
