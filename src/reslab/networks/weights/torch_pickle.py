"""What torch.save wrote, read without torch's unpickler: a pickle is a program, and this runs none of it.

Only the instructions that make dictionaries, lists and numbers are known, and the functions that describe a
tensor, which are replaced by our own. Everything else is refused by its name. No tensor is made that its
file does not hold every byte of.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar

import torch
from torch import Tensor

LARGEST_PROGRAM = 8 * 2**20  # bytes of the pickle beside the tensors; a ResNet-152 needs 0.1 MB
MAGIC = 0x1950A86A20F9469CFC6C  # at the start of the files of torch before 1.6
FORMATS = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool, "UntypedStorage": torch.uint8,
}  # fmt: skip
KNOWN = [
    pickle.PROTO, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT,
    pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINSTRING,
    pickle.SHORT_BINUNICODE, pickle.EMPTY_DICT, pickle.EMPTY_LIST, pickle.EMPTY_TUPLE, pickle.TUPLE,
    pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3, pickle.APPEND, pickle.APPENDS, pickle.BINGET,
    pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE, pickle.GLOBAL, pickle.STACK_GLOBAL,
    pickle.REDUCE, pickle.BINPERSID,
]  # fmt: skip
Storages = Callable[[str, torch.dtype, int], Tensor]


class HoldsCodeError(ValueError):
    """The file asks for something to be called that makes no tensor; the argument is its name."""


def read_saved(path: Path, largest: int = LARGEST_PROGRAM) -> Any:
    """The dictionaries and tensors in the file. Raises HoldsCodeError, else a dozen others for damage.

    `largest`: bytes of the pickle beside the tensors.
    """
    with path.open("rb") as file:
        if file.read(4) == b"PK\3\4":
            return _read_zip(path, largest)
        file.seek(0)
        return _read_old(file, path.stat().st_size)


def _read_zip(path: Path, largest: int) -> Any:
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        names = {record.filename for record in records}
        root = records[0].filename.split("/")[0]
        if f"{root}/constants.pkl" in names:
            raise HoldsCodeError("TorchScript")
        # what torch.save writes is never compressed: little cannot become much
        packed = any(r.compress_type or r.file_size != r.compress_size for r in records)
        if packed or len(names) < len(records) or sum(r.file_size for r in records) > path.stat().st_size:
            raise ValueError("it is an archive, but not one of torch.save's: packed, or with double entries")
        if f"{root}/byteorder" in names and archive.read(f"{root}/byteorder") != b"little":
            raise ValueError("it was written by a machine of another byte order")
        program = archive.getinfo(f"{root}/data.pkl")
        if program.file_size > largest:
            raise ValueError(f"it has {program.file_size:,} bytes beside its tensors, far too many")
        made: dict[str, Tensor] = {}

        def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
            if archive.getinfo(f"{root}/data/{key}").file_size != count * dtype.itemsize:
                raise ValueError(f"storage {key} has other bytes than it should")
            if key not in made:
                made[key] = _flat(archive.read(f"{root}/data/{key}"))
            return made[key]

        return _Reader(io.BytesIO(archive.read(program)), storage, largest).load()


def _check_directory(path: Path) -> None:
    """zipfile makes an object of every entry before anybody can look at their number."""
    with path.open("rb") as file:
        file.seek(-98, io.SEEK_END)
        end = file.read()
    sizes = [int.from_bytes(end[-10:-6], "little")]
    if end[-42:-38] == b"PK\6\7":  # a second directory for archives over 4 GB
        sizes.append(int.from_bytes(end[-58:-50], "little"))
    if end[-22:-18] != b"PK\5\6" or max(sizes) > LARGEST_PROGRAM:
        raise ValueError("it is cut short, or an archive of too many entries")


def _read_old(file: io.BufferedReader, size: int) -> Any:
    """The format before torch 1.6: five pickles, then every storage with its length before it."""
    promised: dict[str, Tensor] = {}
    left = size

    def storage(key: str, dtype: torch.dtype, count: int) -> Tensor:
        nonlocal left
        if key not in promised:
            left -= count * dtype.itemsize
            if left < 0:
                raise ValueError("it is cut short")
            promised[key] = torch.empty(count * dtype.itemsize, dtype=torch.uint8)
        return promised[key]

    def refuse(key: str, dtype: torch.dtype, count: int) -> Tensor:
        raise ValueError("a storage stands where none belongs")

    if _Reader(file, refuse).load() != MAGIC:
        raise ValueError("it does not begin as torch.save's files do")
    _Reader(file, refuse).load()  # the version
    if _Reader(file, refuse).load().get("little_endian") is not True:
        raise ValueError("it was written by a machine of another byte order")
    content = _Reader(file, storage).load()
    for key in _Reader(file, refuse).load():
        count, flat = int.from_bytes(file.read(8), "little"), promised[key]
        if count == 0 or flat.nbytes % count or file.readinto(flat.numpy().data) != flat.nbytes:
            raise ValueError("it is cut short")
        del promised[key]
    if any(flat.nbytes for flat in promised.values()):
        raise ValueError("it lacks the numbers of a tensor")
    return content


def _flat(content: bytes) -> Tensor:
    return (
        torch.frombuffer(bytearray(content), dtype=torch.uint8)
        if content
        else torch.empty(0, dtype=torch.uint8)
    )


class _Bounded:
    """A file of which no more is read than a program should have."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self.file, self.left = file, left

    def read(self, count: int) -> bytes:
        self.left -= count
        if self.left < 0:
            raise ValueError("it has far too many bytes beside its tensors")
        return self.file.read(count)

    def readline(self) -> bytes:
        return self.file.readline(1000)


class _Reader(pickle._Unpickler):
    """Python's own reader of pickles, left with the harmless instructions and with nothing to call."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Any]] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in KNOWN}

    def __init__(self, file: IO[bytes], storage: Storages, largest: int = LARGEST_PROGRAM) -> None:
        super().__init__(_Bounded(file, largest), encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if module in ("torch", "torch.storage") and name in FORMATS:
            return FORMATS[name]
        # not getattr, at which torch imports modules of its own
        if module == "torch" and isinstance(dtype := vars(torch).get(name), torch.dtype):
            return dtype
        if full in FUNCTIONS:
            return FUNCTIONS[full]
        if full.startswith("torch._utils._rebuild_") or (module == "torch" and name.endswith("Storage")):
            raise ValueError(f"it holds a kind of tensor that is not read here: {name}")
        raise HoldsCodeError(full)

    def persistent_load(self, said: Any) -> Tensor:
        kind, dtype, key, _, count, *view = said
        whole = type(count) is int and count >= 0 and isinstance(key, str) and view in ([], [None])
        if kind != "storage" or not isinstance(dtype, torch.dtype) or not whole:
            raise ValueError("a storage is described wrongly")
        return self.storage(key, dtype, count).view(dtype)

    def load_build(self) -> None:
        """torch notes versions on the dictionary of a state dict; nothing here needs them."""
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise HoldsCodeError(f"{type(self.stack[-1]).__name__}.__setstate__")

    def load_setitem(self) -> None:
        self._set([self.stack.pop(-2), self.stack.pop()])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: list[Any]) -> None:
        for name in items[::2]:
            if not isinstance(name, str | int | float | None):  # tuples in tuples: hashing them has no floor
                raise ValueError("a name is no text")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _tensor(flat: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> Tensor:
    """A tensor that shows each number of its storage at most once."""
    numbers = [offset, *size, *stride]
    if not isinstance(flat, Tensor) or len(size) != len(stride) or len(size) > 64:
        raise ValueError("a tensor is described wrongly")
    if not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise ValueError("a tensor has a shape that no tensor has")
    count = math.prod([*size])
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > flat.numel() or (count and last >= flat.numel()):
        raise ValueError(f"a tensor of shape {tuple(size)} has {flat.numel()} numbers in the file")
    return flat.as_strided(tuple(size), tuple(stride), offset)


def _tensor_of(flat: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *rest: Any) -> Tensor:
    """The same with its dtype said apart, over bytes."""
    dtype = next(item for item in rest if isinstance(item, torch.dtype))
    return _tensor(flat.view(dtype), offset, size, stride)


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


def _dictionary(pairs: list[Sequence[Any]] | None = None) -> dict[Any, Any]:
    """Python 2 gave it a list of pairs. That is used up: copied a thousand times it would fill any memory."""
    pairs = [] if pairs is None else pairs
    if not isinstance(pairs, list) or not all(isinstance(p[0], str | int) and len(p) == 2 for p in pairs):
        raise ValueError("a dictionary is described wrongly")
    made = OrderedDict((name, value) for name, value in pairs)
    pairs.clear()
    return made


def _counts(counts: Mapping[Any, int] | None = None) -> Mapping[Any, Any]:
    return counts if isinstance(counts, dict) else {}


def _nothing(*_: Any) -> None:
    """What stands in a training's checkpoint and is no weight."""


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dictionary,
    "collections.Counter": _counts,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.Size": _nothing,
    "torch.device": _nothing,
    "torch.serialization._get_layout": _nothing,
    "_codecs.encode": _nothing,
    "builtins.set": _nothing,
    "__builtin__.set": _nothing,
}
