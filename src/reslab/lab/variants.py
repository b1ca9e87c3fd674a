"""Variants of a comparison: a block, a network or a setting of the recipe, each as the user writes it."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from reslab.errors import NetworkError, UsageError, nearest
from reslab.files import user_path
from reslab.networks.blocks import Block
from reslab.networks.from_text import BLOCK_CLASSES, BLOCKS, FILE, parse_name
from reslab.networks.resnet import FAMILY
from reslab.networks.user_code import load_code, loaded
from reslab.training.recipe import Recipe

SAME_FOR_ALL = {  # settings that cannot be a variant, and the reason
    "seed": "the seeds are what a comparison repeats; use --seeds 8",
    "time": "the cells of a comparison have a number of epochs; use --budget time",
    "val_fraction": "all variants of a seed share their validation photos",
    "group_by": "all variants of a seed share their validation photos",
    "device": "all cells compute on one device",
    "precision": "all cells compute in one precision",
    "workers": "it does not change the result",
    "cache": "it does not change the result",
    "checkpoint_minutes": "it does not change the result",
}


@dataclass(frozen=True)
class Variant:
    """A network and recipe to compare.

    Attributes:
        name: as the user wrote it, such as "se", "my_block.py:MyBlock" or "learning_rate=0.03".
        network: notation of the whole network, such as "cifar_resnet20:se".
        settings: fields of the recipe that differ from the comparison's recipe.
    """

    name: str
    network: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def parse_variants(names: Sequence[str], network: str) -> tuple[Variant, ...]:
    """Return the variants that the names mean; the first is the baseline.

    Args:
        names: at least two: a block ("se", "my_block.py:MyBlock"), a whole network ("resnet34",
            "my_net.py:build"), or a setting ("learning_rate=0.03").
        network: notation of the network that gets the blocks. Settings change the recipe of the baseline's
            network.

    Raises:
        UsageError: fewer than two variants, one that occurs twice, or an unknown setting.
        NetworkError: there is no such block or network, or a file fails.
    """
    if len(names) < 2:
        raise UsageError(
            f"a comparison of {len(names)} variant{'s' * (len(names) != 1)}",
            "it needs a baseline and at least one other variant",
            "name two, the baseline first: basic se",
        )
    if repeated := [name for i, name in enumerate(names) if name in names[:i]]:
        raise UsageError(f"the variant {repeated[0]} is given twice", "", "leave one of them out")
    first = network if _is_setting(names[0]) else _whole_network(names[0], network)
    return tuple(
        Variant(name, first, _settings(name))
        if _is_setting(name)
        else Variant(name, _whole_network(name, network))
        for name in names
    )


def notation(block: Block) -> str:
    """Return the notation of one of reslab's blocks, or of a class or function from a file.

    Raises:
        UsageError: it is not in a file.
    """
    name = getattr(block, "__name__", "")
    if BLOCK_CLASSES.get(name) is block:
        return name
    try:
        path = inspect.getsourcefile(block) or ""
    except (TypeError, OSError):  # of a notebook, or no class or function
        path = ""
    if not (path.endswith(".py") and os.path.isfile(path) and name.isidentifier()):
        raise UsageError(
            f"the block {name or block} is not in a file",
            "every cell trains in a process of its own, which has to import it",
            'write it to my_block.py and name it: "my_block.py:MyBlock"',
        )
    return f"{os.path.relpath(path)}:{name}"


def settings_as_variants(text: str) -> tuple[str, ...]:
    """Return ("learning_rate=0.01", "learning_rate=0.03") for "learning_rate=0.01,0.03".

    Raises:
        UsageError: the text is not a setting with at least two values.
    """
    name, _, values = text.partition("=")
    if "," not in values:
        raise UsageError(
            f"--vary {text} has fewer than two values",
            "the first value is the baseline",
            "write --vary learning_rate=0.01,0.03",
        )
    return tuple(f"{name}={value.strip()}" for value in values.split(","))


def _whole_network(name: str, network: str) -> str:
    """Return the notation of the network that a variant without "=" names.

    Raises:
        NetworkError: there is no such block or network, or the file that it names fails.
    """
    if name in BLOCKS or name in BLOCK_CLASSES:
        return parse_name(f"{network}:{name}").text
    if name.endswith(".py"):
        load_code(user_path(name), "")  # its error names the classes in the file
    if ":" not in name and name not in FAMILY:
        do = f"{nearest(name, [*BLOCKS, *FAMILY])}, or my_block.py:MyBlock"
        raise NetworkError(f"there is no block or network '{name}'", "", do)
    parsed = parse_name(name)
    if parsed.file is None or parsed.base:
        return name
    code = parsed.run_file()
    is_block = code is not None and not parsed.is_whole_network(loaded(code))
    return parse_name(f"{network}:{name}").text if is_block else name


def _is_setting(text: str) -> bool:
    """Return True for "field=value", False for a path such as "field=value/my_block.py:MyBlock"."""
    return "=" in text and FILE.fullmatch(text) is None


def _settings(text: str) -> dict[str, Any]:
    """Return {field: value} of "field=value". The recipe converts and checks the value later."""
    name, _, value = text.partition("=")
    name = name.strip().replace("-", "_")
    if name in SAME_FOR_ALL or name not in Recipe.model_fields:
        why = f"{SAME_FOR_ALL[name]}" if name in SAME_FOR_ALL else ""
        do = nearest(name, Recipe.model_fields.keys() - SAME_FOR_ALL.keys()) if not why else ""
        raise UsageError(f"the recipe's setting '{name}' cannot be a variant", why, do)
    is_tuple = get_origin(annotation := Recipe.model_fields[name].annotation) is tuple or any(
        get_origin(part) is tuple for part in get_args(annotation)
    )
    if is_tuple:
        return {name: value.split("+")}
    try:
        return {name: json.loads(value)}  # a number
    except ValueError:
        return {name: value.strip()}
