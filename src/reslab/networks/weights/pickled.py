"""Read .pth files with torch's own reader of tensors. What else they hold becomes empty stand-ins."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from typing import IO, Any, Self

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

MAX_NAMES = 50  # of classes and functions in one file; torch goes through all at every step


class NeedsCodeError(Exception):
    """A .pth file cannot be read without running a class or function; the argument is its name."""


class _StandIn:
    """Object in place of one whose class or function a file names, which is neither imported nor run."""

    def __new__(cls, *args: Any) -> Self | OrderedDict[Any, Any]:  # type: ignore[misc]
        # torch fills only these dicts, so one stands for objects with entries or attributes
        return super().__new__(cls) if args else OrderedDict()

    def __setstate__(self, state: Any) -> None:
        """Keep nothing."""


def _empty_dict(*args: Any) -> OrderedDict[Any, Any]:
    return OrderedDict()


STAND_INS = {"collections.defaultdict": _empty_dict}  # called with a function, then filled


def load_pickle(file: IO[bytes]) -> tuple[Any, tuple[str, ...]]:
    """Return the content of a .pth file, and the sorted names of the classes and functions left out of it.

    An `argparse.Namespace`, a path or a number of NumPy next to the tensors becomes an empty object.

    Raises:
        NeedsCodeError: it is a script, names a function of the operating system, or is written so that more
            than tensors has to be built.
        Exception: of many types, the file is damaged.
    """
    # not mapped into memory: torch would take compressed bytes for tensors, and the name has to be UTF-8
    names: list[str] = []
    file.seek(0)
    if file.read(4) == b"PK\3\4":  # otherwise the format before torch 1.6, whose names are found one by one
        _check_archive(file)
        file.seek(0)
        names = get_unsafe_globals_in_checkpoint(file)
    if len(names) > MAX_NAMES:
        raise NeedsCodeError(f"{len(names):,} classes and functions")
    while True:
        stand_ins: list[Any] = [(STAND_INS.get(name, _StandIn), name) for name in names]
        file.seek(0)
        try:
            with warnings.catch_warnings(action="ignore"), safe_globals(stand_ins):
                return torch.load(file, map_location="cpu", weights_only=True), tuple(sorted(names))
        except Exception as error:
            wanted = re.search(r"GLOBAL (\S+)", str(error))
            name = wanted[1] if wanted else ""
            name = name if "." in name else f"builtins.{name}"  # as torch shortens it
            if wanted and name not in names and len(names) < MAX_NAMES:
                names.append(name)
            elif wanted or names:
                raise NeedsCodeError(name if wanted else ", ".join(sorted(names)[:3])) from error
            elif isinstance(error, pickle.UnpicklingError | LookupError):
                raise ValueError("it is not a pickle of tensors") from error
            else:
                raise


def _check_archive(file: IO[bytes]) -> None:
    with zipfile.ZipFile(file) as archive:
        if any(name.endswith("/constants.pkl") for name in archive.namelist()):
            raise NeedsCodeError("TorchScript")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("it is compressed, unlike the files of torch.save")
        if damaged := archive.testzip():  # torch does not compare checksums
            raise ValueError(f"the checksum of {damaged} is wrong")
