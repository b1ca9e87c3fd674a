"""Check the constructor: it fits every place, and torch finds each weight, once and in one block only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from reslab.errors import NetworkError
from reslab.networks.block_signature import check_signature

from .trial import Trial

TORCH_ATTRIBUTES = frozenset(vars(nn.Module()))


def check_arguments(trial: Trial) -> list[str]:
    """Raise BlockFailedError unless the block takes (in_channels, out_channels, stride)."""
    try:
        check_signature(trial.block, trial.name)
    except NetworkError as error:
        cause = f"it does not take (in_channels, out_channels, stride): {error.why}"
        raise trial.failed(cause, error.do) from error
    return []


def check_constructor(trial: Trial) -> list[str]:
    """Raise BlockFailedError if the constructor fails or makes a lazy layer.

    Returns:
        Notes on weights that the constructor sets and the network draws again, and on frozen parameters.
    """
    module, notes = trial.build(), []
    for name, parameter in module.named_parameters():
        if is_lazy(parameter):
            raise trial.failed(
                "a layer has no weights until its first batch, so nothing initializes them",
                "use nn.Conv2d(in_channels, ...) or nn.Linear(in_features, ...) instead of a lazy layer",
                name,
            )
        if not parameter.requires_grad:
            notes.append(f"{name} is never trained: its requires_grad is False")
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.weight.min() == layer.weight.max():
            notes.append(
                f"all weights of {name} start at {layer.weight.min():g}, but ResNet draws the weights of all "
                "convolutions after the constructor: use an nn.Parameter, or a method zero_init_residual"
            )
    return notes


def check_registration(trial: Trial) -> list[str]:
    """Raise BlockFailedError unless every weight is registered, under one name, in one block only."""
    module, other = trial.build(), trial.build()
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if first := names.get(id(parameter)):
            raise trial.failed(
                f"one parameter is registered twice, as {first} and as {name}",
                "keep one name and call that layer twice, or create a second layer",
                name,
                f"{name} {tuple(parameter.shape)}",
            )
        names[id(parameter)] = name
    for name, parameter in other.named_parameters():
        if id(parameter) in names:
            raise trial.failed(
                f"two blocks share a weight: the second contains {name} of the first",
                "create every layer in __init__; a default such as layers=[] is made once and kept",
                name,
                f"{name} {tuple(parameter.shape)}",
            )
    registered = {*map(id, module.modules()), *names, *map(id, module.buffers())}
    for path, value in _plain_attributes(module):
        if isinstance(value, nn.Module | Tensor) and id(value) not in registered:
            raise trial.failed(
                f"torch does not find what is in {path}: it is neither trained, moved nor saved",
                "create it in __init__ as nn.ModuleList, nn.ModuleDict, nn.Parameter or "
                "self.register_buffer(...)",
                f"attribute {path}",
            )
    return []


def _plain_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of what torch does not register, with the values in lists, tuples and dicts."""
    for name, layer in module.named_modules():
        for attribute, value in vars(layer).items():
            if attribute not in TORCH_ATTRIBUTES:
                values = value.values() if isinstance(value, dict) else value
                for each in values if isinstance(value, list | tuple | dict) else [value]:
                    yield f"{name}.{attribute}".removeprefix("."), each
