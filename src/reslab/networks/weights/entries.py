"""Entries of a checkpoint: find the tensors by name among wrappers, averaged weights and other things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema")
WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net", "module")
MAX_DEPTH = 4  # a wrapper can contain itself


@dataclass(frozen=True)
class Entry:
    """Tensors by name, the path of entries that leads to them, and if one of these holds averaged weights."""

    tensors: dict[str, Tensor]
    entry: str

    @property
    def is_averaged(self) -> bool:
        """True if the tensors are averaged weights."""
        return any(name in AVERAGED for name in self.entry.split("."))


def find_tensors(content: Any, entry: str = "") -> Entry | None:
    """Return the tensors by name in a file's content; None if there are none.

    Args:
        content: of the file.
        entry: path of entries with dots, or start of the tensors' names; "" for averaged weights if there are
            some, then for the usual wrappers.
    """
    return _chosen(content, entry, "") if entry else next(_candidates(content, ""), None)


def entries(content: Any) -> list[str]:
    """Return the names of entries that hold tensors by name."""
    return [
        name
        for name in (content if isinstance(content, Mapping) else ())
        if isinstance(name, str) and next(_candidates(content[name], name), None) is not None
    ]


def _chosen(content: Any, entry: str, path: str) -> Entry | None:
    if not isinstance(content, Mapping):
        return None
    if entry in content:
        return next(_candidates(content[entry], f"{path}{entry}"), None)
    first, _, rest = entry.partition(".")
    if rest and (found := _chosen(content.get(first), rest, f"{path}{first}.")):
        return found
    whole, start = next(_candidates(content, path[:-1]), None), f"{entry}."
    tensors = {} if whole is None else whole.tensors
    inside = {name.removeprefix(start): tensors[name] for name in tensors if name.startswith(start)}
    return Entry(inside, f"{path}{entry}") if inside else None


def _candidates(content: Any, path: str, depth: int = MAX_DEPTH) -> Iterator[Entry]:
    """Yield the tensors by name in `content` and its wrappers, the ones to prefer first."""
    if not isinstance(content, Mapping):
        return
    for name in (*AVERAGED, *WRAPPERS) if depth else ():
        if isinstance(content.get(name), Mapping):
            yield from _candidates(content[name], ".".join(filter(None, (path, name))), depth - 1)
    tensors = {
        name: value.detach() for name, value in content.items() if isinstance(name, str) and _is_dense(value)
    }
    if tensors:
        yield Entry(tensors, path)


def _is_dense(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.device.type == "cpu"
        and value.layout == torch.strided
        and not value.is_quantized
    )
