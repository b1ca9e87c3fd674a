"""Run a user's Python file and return a block from it."""

from __future__ import annotations

import inspect
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from reslab.errors import NetworkError

if TYPE_CHECKING:
    from .blocks import Block


def block_from_file(path: Path, name: str) -> Block:
    """Run a Python file and return its class or function `name`, which is not called.

    Raises:
        NetworkError: the file is missing, fails or exits while it runs, or has no callable `name`.
    """
    if not os.path.isfile(path):  # Path.is_file raises where a parent folder is not readable
        raise NetworkError(f"there is no file {path} that can be read", "", "write it as my_block.py:MyBlock")
    module_name = f"_reslab_block_{zlib.crc32(os.fsencode(path.resolve())):08x}"
    try:
        with importable(path.resolve().parent):
            module = run_file(path, module_name)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise NetworkError(f"{path} does not run", why, f"fix it: python {path} shows the line") from error
    if not name or not callable(getattr(module, name, None)):
        classes = [n for n, v in vars(module).items() if inspect.isclass(v) and v.__module__ == module_name]
        there = f"it has {', '.join(classes) or 'no classes'}"
        raise NetworkError(f"{path} has no block '{name}'", there, f"write {path}:NAME")
    block: Block = getattr(module, name)
    return block


def run_file(path: Path, name: str) -> ModuleType:
    """Run a Python file as module `name` and return the module, which is added to sys.modules.

    Exceptions of the file pass through, and the module is then removed. No __pycache__ is written.
    """
    module = ModuleType(name)
    module.__file__ = str(path)
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        exec(code, module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let code inside the block import modules from `folder`, as a script in this folder can.

    These modules are removed from sys.modules on exit: a file from another folder may import modules of
    the same names.
    """
    before = {name.partition(".")[0] for name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # the file may have removed it itself
            sys.path.remove(str(folder))
        new = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
        local = {
            name
            for name, file in new.items()
            if name not in before and file in (f"{folder}/{name}.py", f"{folder}/{name}/__init__.py")
        }
        for name in [name for name in sys.modules if name.partition(".")[0] in local]:
            del sys.modules[name]
