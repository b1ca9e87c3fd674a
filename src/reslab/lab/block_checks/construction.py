"""Check the constructor: it builds everywhere, registers every weight once and shares none between blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from .problem import BlockFailedError
from .trial import Place, Subject

TORCH_ATTRIBUTES = frozenset(vars(nn.Module()))
MAX_CONTAINER_DEPTH = 3  # lists in lists in lists


def check_constructor(subject: Subject) -> list[str]:
    """Build the block at every place. Raise BlockFailedError where that fails or a layer is lazy."""
    for place in subject.places:
        module = subject.build(place)
        for name, parameter in module.named_parameters():
            if isinstance(parameter, UninitializedParameter):
                raise BlockFailedError(
                    "a layer has no weights until its first batch, so nothing initializes them",
                    subject.where(place, tensor=name),
                    "",
                    "use nn.Conv2d(in_channels, ...) or nn.Linear(in_features, ...) instead of a lazy layer",
                )
    return _overwritten(subject)


def check_registration(subject: Subject) -> list[str]:
    """Raise BlockFailedError unless every weight is registered, under one name, in one block only."""
    for place in subject.trials:
        module, other = subject.build(place), subject.build(place)
        if module is other:
            raise BlockFailedError(
                "every call returns the same block, so all places would share its weights",
                subject.where(place),
                "",
                "build a new module in each call",
            )
        _check_class_attributes(subject, place, module)
        _check_shared(subject, place, module, other)
        _check_twice(subject, place, module)
        _check_hidden(subject, place, module)
    return []


def layer_of(tensor_name: str) -> str:
    """Return the layer of a parameter or buffer: "se.fc1" of "se.fc1.weight"; its own name at the top."""
    return tensor_name.rpartition(".")[0] or tensor_name


def plain_attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of the attributes that torch does not register, of all layers, by their paths."""
    for name, layer in module.named_modules():
        for attribute, value in vars(layer).items():
            if attribute not in TORCH_ATTRIBUTES:
                yield f"{name}.{attribute}" if name else attribute, value


def contents(value: Any, depth: int = 0) -> Iterator[Any]:
    """Yield the value, and all values in it if it is a list, tuple, set or dict."""
    yield value
    if depth < MAX_CONTAINER_DEPTH and isinstance(value, list | tuple | set | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from contents(each, depth + 1)


def class_attributes(module: nn.Module) -> Iterator[tuple[str, str, Any]]:
    """Yield (layer, attribute, value) of the attributes of the user's classes, which all blocks share."""
    for name, layer in module.named_modules():
        for kind in type(layer).__mro__:
            if not kind.__module__.startswith("torch.") and kind is not object:
                for attribute, value in vars(kind).items():
                    if not attribute.startswith("__"):
                        yield name, attribute, value


def _overwritten(subject: Subject) -> list[str]:
    """Return a note if the constructor sets initial weights that ResNet draws again after it."""
    for place in subject.trials:
        for name, layer in subject.build(place).named_modules():
            if isinstance(layer, nn.Conv2d) and len(values := layer.weight.detach().unique()) == 1:
                return [
                    f"all weights of {name} start at {values.item():g}, but ResNet draws "
                    "the weights of all convolutions after the constructor: set them in a method "
                    "zero_init_residual, or use an nn.Parameter"
                ]
    return []


def _check_class_attributes(subject: Subject, place: Place, module: nn.Module) -> None:
    for name, attribute, value in class_attributes(module):
        if any(isinstance(each, nn.Module | Tensor) for each in contents(value)):
            raise BlockFailedError(
                f"{attribute} belongs to the class, so all blocks of the network share it",
                subject.where(place, attribute=f"{name}.{attribute}".strip(".")),
                "",
                f"create it in __init__: self.{attribute} = ...",
            )


def _check_shared(subject: Subject, place: Place, module: nn.Module, other: nn.Module) -> None:
    own = {id(tensor): name for name, tensor in _tensors(module)}
    for name, tensor in _tensors(other):
        if id(tensor) in own:
            raise BlockFailedError(
                "two blocks share a layer: the second contains a weight of the first",
                subject.where(place, tensor=own[id(tensor)]),
                f"{name} {tuple(tensor.shape)}",
                "create every layer in __init__; a default such as layers=[] is made once and kept",
            )


def _check_twice(subject: Subject, place: Place, module: nn.Module) -> None:
    names: dict[int, str] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if first := names.get(id(parameter)):
            raise BlockFailedError(
                f"one parameter is registered twice, as {first} and as {name}",
                subject.where(place, tensor=name),
                f"{name} {tuple(parameter.shape)}",
                f"keep one name and call that layer twice, or create a second layer for {layer_of(name)}",
            )
        names[id(parameter)] = name


def _check_hidden(subject: Subject, place: Place, module: nn.Module) -> None:
    registered = {id(each) for each in [*module.modules(), *(tensor for _, tensor in _tensors(module))]}
    for path, value in plain_attributes(module):
        for each in contents(value):
            if id(each) in registered:
                continue
            weights = list(each.state_dict().values()) if isinstance(each, nn.Module) else [each]
            for weight in weights:
                trained = isinstance(weight, Tensor) and weight.requires_grad and weight.is_leaf
                if trained or isinstance(each, nn.Module):
                    raise BlockFailedError(
                        f"torch does not find the weights in {path} ({type(value).__name__}): they would be "
                        "neither trained, moved nor saved",
                        subject.where(place, attribute=path),
                        str(tuple(weight.shape)),
                        _registered_form(value),
                    )


def _registered_form(value: Any) -> str:
    if isinstance(value, dict):
        return "use nn.ModuleDict, or nn.ParameterDict for parameters"
    if isinstance(value, Tensor):
        return "make it an nn.Parameter"
    return "use nn.ModuleList, or nn.ParameterList for parameters"


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
