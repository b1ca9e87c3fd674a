"""Load a block from a user's Python file."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from reslab.errors import NetworkError

from .blocks import Block


def block_from_file(path: Path, name: str) -> Block:
    """The block `name` of a Python file, which is run. Raises NetworkError."""
    if not os.path.isfile(path):  # not Path's own, which fails where a folder above is closed to us
        what = f"there is no file {path} that can be read"
        raise NetworkError(what, "", "write FILE.py:Block, as in my_block.py:MyBlock")
    module = _run(path)
    own = [n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module.__name__]
    if not name or not callable(getattr(module, name, None)):
        raise NetworkError(
            f"{path} has no block '{name}'", "", f"it has {', '.join(own) or 'no classes'}: {path}:NAME"
        )
    block: Block = getattr(module, name)
    return block


def _run(path: Path) -> ModuleType:
    """The file as a module, under a name of its own in sys.modules, where dataclasses look it up."""
    place = path.resolve()
    name = f"_reslab_block_{zlib.crc32(os.fsencode(place)):08x}"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with _neighbours_importable(place.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise NetworkError(f"{path} does not run", f"{type(error).__name__}: {error}", "mend it") from error
    return module


@contextmanager
def _neighbours_importable(folder: Path) -> Iterator[None]:
    """At its top a file may import what lies beside it, as if it were run by itself.

    What it found there is forgotten afterwards: the next file, from another folder, may have neighbours of
    the same names, and would get these without a word.
    """
    before = {name.partition(".")[0] for name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the file has taken it out itself
            sys.path.remove(str(folder))
        tops = {name for name in sys.modules if "." not in name and name not in before}
        places = {name: getattr(sys.modules[name], "__file__", None) for name in tops}
        beside = {n for n, p in places.items() if p in (f"{folder}/{n}.py", f"{folder}/{n}/__init__.py")}
        for name in [name for name in sys.modules if name.partition(".")[0] in beside]:
            del sys.modules[name]
