"""Part of the Ray backend that runs on the nodes: check what a cell needs there, and perform its task."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reslab.errors import PhotosError, RunError
from reslab.photos.folder.digests import digest

from .worker import perform, reply


def perform_on_node(task: str) -> str:
    """Perform a task on this node and return the reply of `worker.reply`. Both are JSON.

    Its errors name the node.

    Args:
        task: fields of `worker.perform`, with "lists", the digests of the lists of photos by path;
            "versions"; and "log", the file that gets what the worker prints.
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
    return perform(task)


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
def _output_to(log: Path) -> Iterator[None]:
    """Write what Python prints inside the block to the log, if this node has its folder."""
    with log.open("a", encoding="utf-8") if log.parent.is_dir() else nullcontext() as file:
        if file is None:
            yield
            return
        with redirect_stdout(file), redirect_stderr(file):
            yield
