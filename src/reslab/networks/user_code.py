"""Run a user's Python file, return a class or function from it, and keep its source for reading."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from reslab.errors import NetworkError, ReslabError
from reslab.randomness import preserve_rng_state
from reslab.text import printable

MODULE_PREFIX = "_reslab_block_"  # of the names of the modules that users' files become
MAX_SOURCE_CHARACTERS = 2**19  # as JSON; a run.json of up to 2 ** 20 bytes holds it
MAX_DIFF_LINES = 10


@dataclass(frozen=True)
class UserCode:
    """Source of a class or function from a user's file, kept for reading and never run.

    Attributes:
        file: name of the file, without its folder.
        name: of the class or function.
        digest: 32 hexadecimal digits over `file` and `sources`.
        sources: text by relative file name, of the file and of the modules of its folder that it imported.

    Raises:
        ValueError: the digest is not that of the sources, or they are too large.
    """

    file: str
    name: str
    digest: str
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        length = len(json.dumps(dict(self.sources)))
        if length > MAX_SOURCE_CHARACTERS:
            raise ValueError(
                f"its {len(self.sources):,} files have {length:,} characters of {MAX_SOURCE_CHARACTERS:,}"
            )
        if self.digest != digest_of(self.file, self.sources):
            raise ValueError(f"the digest of {self.file} is not that of its sources")


def digest_of(file: str, sources: Mapping[str, str]) -> str:
    """Return the digest of a UserCode with this file name and these sources."""
    text = json.dumps([file, sorted(sources.items())])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


_loaded: dict[tuple[str, str], Callable[..., Any]] = {}  # by digest and name, in this process


def loaded(code: UserCode | None) -> Callable[..., Any] | None:
    """Return the class or function of a file that `load_code` ran in this process; None if it did not."""
    return None if code is None else _loaded.get((code.digest, code.name))


def load_code(path: Path, name: str) -> UserCode:
    """Run a Python file and return the source of its class or function `name`, which is not called.

    `loaded` returns the class or function itself from then on. The random state stays as it was.

    Raises:
        NetworkError: the file is missing, fails or exits while it runs, has no callable `name`, or is too
            large to be kept.
    """
    if not os.path.isfile(path):  # Path.is_file raises where a parent folder is not readable
        raise NetworkError(f"there is no file {path} that can be read", "", "write it as my_block.py:MyBlock")
    folder = path.resolve().parent
    module_name = f"{MODULE_PREFIX}{zlib.crc32(os.fsencode(path.resolve())):08x}"
    try:
        with preserve_rng_state(), importable(folder) as local_files:
            module = run_file(path, module_name)
            sources = {file.relative_to(folder).as_posix(): _source(file) for file in local_files()}
        sources[path.name] = _source(path)
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}"
        raise NetworkError(f"{path} does not run", why, f"fix it: python {path} shows the line") from error
    value = getattr(module, name, None)
    own = [n for n, each in vars(module).items() if getattr(each, "__module__", "") == module_name]
    if not callable(value) or hasattr(type(value), "named_parameters"):  # a module that is built already
        there = f"it has {', '.join(own) or 'no classes or functions'}"
        what = f"has no class or function '{name}'" if name else "is a file; name a class or function in it"
        lower = {each.lower(): each for each in own}
        close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
        meant = lower[close[0]] if close else own[0] if len(own) == 1 else "NAME"
        raise NetworkError(f"{path} {what}", there, f"write {path}:{meant}")
    try:
        code = UserCode(path.name, name, digest_of(path.name, sources), sources)
    except ValueError as error:
        do = "keep what the network needs in a smaller file"
        raise NetworkError(f"{path} is too large to be kept with a run", str(error), do) from error
    _loaded[code.digest, name] = value
    return code


@contextmanager
def errors_of_code(what: str, do: str) -> Iterator[None]:
    """Turn any error of a user's code in the block into NetworkError; reslab's own errors pass through."""
    try:
        yield
    except ReslabError:
        raise
    except Exception as error:
        raise NetworkError(what, f"{type(error).__name__}: {error}", do) from error


def block_from_file(path: Path, name: str) -> Callable[..., Any]:
    """Run a Python file and return its class or function `name`, as `load_code` does."""
    return _loaded[load_code(path, name).digest, name]


def _source(path: Path) -> str:
    return importlib.util.decode_source(path.read_bytes())


def check_unchanged(recorded: UserCode, now: UserCode) -> None:
    """Raise NetworkError, with the first lines that differ, unless both are the same code."""
    if (recorded.digest, recorded.name) == (now.digest, now.name):
        return
    what = f"{now.file}:{now.name} is not the code that this network was trained with"
    before = f"{recorded.file}:{recorded.name}"
    if before != f"{now.file}:{now.name}":
        raise NetworkError(what, f"that was {printable(before)}", "name that one, or train again")
    files = sorted({*recorded.sources, *now.sources})
    first, *others = [file for file in files if recorded.sources.get(file) != now.sources.get(file)]
    old, new = (code.sources.get(first, "").splitlines() for code in (recorded, now))
    difference = [*difflib.unified_diff(old, new, n=1, lineterm="")][2 : 2 + MAX_DIFF_LINES]
    shown = [f"{first} has changed (- recorded, + now)", *(f"    {line[:100]}" for line in difference)]
    shown += [f"  also changed: {', '.join(others[:3])}"] * bool(others)
    raise NetworkError(what, "\n".join(map(printable, shown)), "restore the recorded text, or train again")


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
def importable(folder: Path) -> Iterator[Callable[[], list[Path]]]:
    """Let code inside the block import modules from `folder`, as a script in this folder can.

    These modules are removed from sys.modules on exit: a file from another folder may import modules of
    the same names. No __pycache__ is written. The block gets a function that returns the files imported so
    far.
    """
    before = {name.partition(".")[0] for name in sys.modules}

    def local_modules() -> dict[str, ModuleType]:
        new = {name: module for name, module in sys.modules.items() if name.partition(".")[0] not in before}
        local = {name for name, module in new.items() if _lies_in(folder, name, module)}
        return {name: module for name, module in new.items() if name.partition(".")[0] in local}

    def local_files() -> list[Path]:
        files = [getattr(module, "__file__", None) for module in local_modules().values()]
        return [Path(file) for file in files if file is not None and file.endswith(".py")]

    sys.path.insert(0, str(folder))
    # a file edited twice within a second would run as its old bytecode
    writes_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield local_files
    finally:
        sys.dont_write_bytecode = writes_bytecode
        with suppress(ValueError):  # the file may have removed it itself
            sys.path.remove(str(folder))
        for name in local_modules():
            del sys.modules[name]


def _lies_in(folder: Path, name: str, module: ModuleType) -> bool:
    """Return True for a module or package `name` that was imported from `folder`."""
    file = getattr(module, "__file__", None)
    paths = [] if "." in name else list(getattr(module, "__path__", []))  # a package, also without __init__
    return file == f"{folder}/{name}.py" or f"{folder}/{name}" in paths
