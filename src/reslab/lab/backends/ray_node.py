"""Part of the Ray backend that runs on the nodes: check what a cell needs there, and perform its task."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reslab.errors import PhotosError, RunError
from reslab.networks.from_text import parse_name
from reslab.networks.user_code import UserCode
from reslab.photos.folder.digests import digest

from .worker import perform, reply


def perform_on_node(task: str) -> str:
    """Perform a task on this node and return the reply of `worker.reply`. Both are JSON.

    Its errors name the node.

    Args:
        task: {"kind", "cell"} as of `worker.perform`; "code", the fields of the UserCode or None; "lists",
            the digests of the lists of photos by path; "versions"; "folder", that a user's file is relative
            to; and "log", the file that gets what the worker prints.
    """
    import torch

    torch.set_num_threads(1)
    described = json.loads(task)
    with _output_to(Path(described["log"])):
        answer = reply(described, _perform)
    if "error" in answer:
        answer["error"][1] = f"node {platform.node()}: {answer['error'][1]}"
    return json.dumps(answer)


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on."""
    return {name: version(name) for name in ("reslab", "torch", "torchvision", "pillow")}


def _perform(task: dict[str, Any]) -> Any:
    _check_versions(task["versions"])
    _check_shared(Path(task["cell"]["folder"]).parents[1], task["lists"])
    with _code_in_place(task) as network:
        return perform({"kind": task["kind"], "cell": {**task["cell"], "network": network}})


def _check_versions(expected: Mapping[str, str]) -> None:
    here = versions()
    for name, wanted in expected.items():
        if here[name] != wanted:
            what = f"{name} is {here[name]}, and {wanted} where the comparison was started"
            why = "its cells would not be comparable"
            raise RunError(what, why, f'install it on the node: pip install "{name}=={wanted}"')


def _check_shared(folder: Path, lists: Mapping[str, str]) -> None:
    """Raise RunError or PhotosError if the comparison's folder or its lists of photos are not shared."""
    do = "put the comparison and the photos into a folder that all nodes have under the same path"
    if not folder.is_dir():
        raise RunError(f"there is no folder {folder}", "the cells of a comparison are written there", do)
    for path, expected in lists.items():
        if not os.path.isfile(path):
            raise PhotosError(f"there is no list of photos {path}", "", do)
        if digest(path) != expected:
            raise PhotosError(f"{path} is another list of photos", "its digest is not the expected one", do)


@contextmanager
def _code_in_place(task: Mapping[str, Any]) -> Iterator[str]:
    """Yield the network's name, whose file is on this node inside the block.

    The user's own file is used if it is here with the same text. Otherwise the text that came with the task
    is written to a temporary folder.
    """
    network, folder = task["cell"]["network"], Path(task["folder"])
    if task["code"] is None:
        yield network
        return
    code, name = UserCode(**task["code"]), parse_name(network)
    path = name.file
    assert path is not None
    if _has_sources((folder / path).parent, code.sources):
        with chdir(folder):
            yield network
        return
    with tempfile.TemporaryDirectory(prefix="reslab-") as temporary:
        if path.is_absolute():
            path = Path(temporary, path.name)
            network = ":".join(filter(None, [name.base, str(path), name.attribute]))
        # as many folders down as a relative path leads up, so that the network keeps its name
        below = Path(temporary, *["below"] * path.parts.count(".."))
        below.mkdir(parents=True, exist_ok=True)
        for file, text in code.sources.items():
            target = below / path.parent / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
        with chdir(below):
            yield network


def _has_sources(folder: Path, sources: Mapping[str, str]) -> bool:
    """Return True if each file is in the folder with the same text."""
    try:
        return all((folder / file).read_text(encoding="utf-8") == text for file, text in sources.items())
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Write what Python prints inside the block to the log, if this node has its folder."""
    with log.open("a", encoding="utf-8") if log.parent.is_dir() else nullcontext() as file:
        if file is None:
            yield
            return
        with redirect_stdout(file), redirect_stderr(file):
            yield
