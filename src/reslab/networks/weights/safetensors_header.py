"""The header of a .safetensors file, read before anything that it promises is believed or allocated.

The format: 8 bytes that give the header's length, the header as JSON, then the tensors' bytes, gap-less.
"""

from __future__ import annotations

import math
import os
import reprlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reslab.untrusted import read_json

LARGEST_HEADER = 8 * 2**20  # bytes; a ResNet-152 needs 0.1 MB. As Python objects it takes 25 times as much
LARGEST_SIDE = 2**48
BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One tensor: its number format as safetensors calls it (F32, I64), its shape, where its bytes lie."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class TensorTable:
    """What a .safetensors file says of itself; the sizes agree with the file's length."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, Entry]


def read_table(path: Path) -> TensorTable:
    """Raises ValueError, in words for people, unless the file is whole; OSError if it cannot be read."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
        raise ValueError("it is no ordinary file")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if size < 8 + length or len(start) < 8:
            raise ValueError(
                "it is empty"
                if not size
                else f"it has {size:,} bytes, and its header alone should have {length:,}: "
                "it was cut short, or is of another kind"
            )
        if length > LARGEST_HEADER:
            raise ValueError(
                f"its header of {length:,} bytes is too long; {LARGEST_HEADER:,} are read at most"
            )
        return parse_table(file.read(length), size - 8 - length)


def parse_table(header: bytes, data: int) -> TensorTable:
    """The table in `header`, behind which the file has `data` bytes. Raises ValueError."""
    content = read_json(header)
    if not isinstance(content, dict):
        raise ValueError("its header is no table of tensors")
    metadata = content.pop("__metadata__", None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("the notes in its header are no text")
    tensors = {name: _entry(name, said) for name, said in content.items()}
    end = 0
    for name, entry in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != end:
            fault = "overlaps the one before it" if entry.start < end else "leaves a gap before it"
            raise ValueError(f"tensor {reprlib.repr(name)} {fault}")
        end = entry.end
    if end != data:
        raise ValueError(
            f"its tensors need {end:,} bytes, and it has {data:,}: it was cut short, or added to"
        )
    return TensorTable(metadata, tensors)


def _entry(name: str, said: Any) -> Entry:
    what = f"tensor {reprlib.repr(name)}"
    if not isinstance(said, dict) or not {"dtype", "shape", "data_offsets"} <= said.keys():
        raise ValueError(f"{what} lacks its dtype, its shape or its place")
    dtype, shape, place = said["dtype"], said["shape"], said["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise ValueError(f"{what} has dtype {reprlib.repr(dtype)}; known are {', '.join(BYTES)}")
    if not _are_sizes(shape) or len(shape) > 64:
        raise ValueError(f"{what} has the shape {reprlib.repr(shape)}, which no tensor has")
    if not _are_sizes(place) or len(place) != 2:
        raise ValueError(f"{what} lies at {reprlib.repr(place)}, which is no place in a file")
    has, needed = place[1] - place[0], math.prod(shape) * BYTES[dtype]
    if has != needed:
        what = f"{what} of shape {reprlib.repr(tuple(shape))} and dtype {dtype}"
        raise ValueError(f"{what} has {has:,} bytes, which are too {'many' if has > needed else 'few'}")
    return Entry(dtype, tuple(shape), place[0], place[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= LARGEST_SIDE for n in value)
