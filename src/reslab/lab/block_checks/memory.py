"""Check that a block keeps nothing between batches, blocks, validation and training, but in its buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .construction import class_attributes, contents, plain_attributes
from .problem import BlockFailedError
from .trial import SAME, TRIAL_BATCH, Place, Subject, difference

PRIMITIVES = (int, float, complex, str, bytes, bool, type(None))


def check_memory(subject: Subject) -> list[str]:
    """Run other images through a block, or through another block, and check that its output stays."""
    notes = []
    for place in subject.trials:
        _check_shared_state(subject, place)
        _check_eval_state(subject, place)
        _check_validation(subject, place)
        _check_state_dict(subject, place)
        module = subject.build_trained(place)
        before = fingerprints(dict(plain_attributes(module)))
        subject.run(module, place.images(TRIAL_BATCH), place)
        for name, value in plain_attributes(module):
            if before.get(name) != fingerprint(value) and any(isinstance(v, Tensor) for v in contents(value)):
                notes.append(f"{name} keeps a tensor between batches")
    return notes


def fingerprints(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return {name: fingerprint of the value}."""
    return {name: fingerprint(value) for name, value in values.items()}


def fingerprint(value: Any) -> Any:
    """Return a small value that changes whenever a tensor, number or container does. Others have an id."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.detach().double().flatten().tolist()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return [(str(key), fingerprint(each)) for key, each in value.items()]
    if isinstance(value, list | tuple | deque):
        return [fingerprint(each) for each in value]
    return value if isinstance(value, PRIMITIVES) else id(value)


def shared_values(module: nn.Module) -> dict[str, Any]:
    """Return what all blocks share, by name: class attributes, default arguments, and globals in use."""
    values = {f"class attribute {name}": value for _, name, value in class_attributes(module)}
    for layer in module.modules():
        if type(layer).__module__.startswith("torch."):
            continue
        for function in vars(type(layer)).values():
            code = getattr(function, "__code__", None)
            if code is None:
                continue
            for i, default in enumerate(function.__defaults__ or ()):
                values[f"default {i + 1} of {function.__name__}"] = default
            for name in code.co_names:
                if isinstance(function.__globals__.get(name), list | dict | deque | Tensor | int | float):
                    values[f"global {name}"] = function.__globals__[name]
    return values


def _check_shared_state(subject: Subject, place: Place) -> None:
    """Raise BlockFailedError if running one block changes the output of another."""
    x, other_images = place.images(TRIAL_BATCH), place.images(TRIAL_BATCH, seed=1)
    for train in (False, True):
        module = subject.build_trained(place).train(train)
        before = fingerprints(shared_values(module))
        with torch.no_grad():
            first = subject.run(module, x, place)
            for mode in (True, False):
                subject.run(subject.build_trained(place).train(mode), other_images, place)
            second = subject.run(subject.build_trained(place).train(train), x, place)
        if difference(second, first) > SAME:
            raise BlockFailedError(
                "a block changes its output after another block has run: they share state",
                subject.where(place, line=_changed(before, shared_values(module))),
                f"{tuple(x.shape)} -> {tuple(first.shape)}, differs by {difference(second, first):.1%}",
                "keep state in the block itself, as a buffer: self.register_buffer(...)",
            )


def _check_eval_state(subject: Subject, place: Place) -> None:
    """Raise BlockFailedError if a batch in eval mode changes a buffer or a later output."""
    x, module = place.images(TRIAL_BATCH), subject.build_trained(place).eval()
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    before = fingerprints(dict(plain_attributes(module)))
    with torch.no_grad():
        first = subject.run(module, x, place)
        subject.run(module, place.images(TRIAL_BATCH, seed=1), place)
        second = subject.run(module, x, place)
    for name, buffer in module.named_buffers():
        if name in buffers and not torch.equal(buffer, buffers[name]):
            raise BlockFailedError(
                f"eval mode changes {name}: validation photos would change what is trained",
                subject.where(place, tensor=name),
                f"{name} {tuple(buffer.shape)}",
                "change buffers only if self.training",
            )
    if difference(second, first) > SAME:
        raise BlockFailedError(
            "an earlier batch changes the output in eval mode",
            subject.where(place, attribute=_changed(before, dict(plain_attributes(module)))),
            f"{tuple(x.shape)} -> {tuple(first.shape)}, differs by {difference(second, first):.1%}",
            "compute the output from the input alone in eval mode",
        )


def _check_validation(subject: Subject, place: Place) -> None:
    """Raise BlockFailedError if a batch in eval mode changes what a later batch gives in train mode."""
    x, module = place.images(TRIAL_BATCH), subject.build_trained(place)
    before = fingerprints(dict(plain_attributes(module)))
    with torch.no_grad():
        subject.run(module.eval(), place.images(TRIAL_BATCH, seed=1), place)
        after_validation = subject.run(module.train(), x, place)
        alone = subject.run(subject.build_trained(place).train(), x, place)
    if difference(after_validation, alone) > SAME:
        raise BlockFailedError(
            "what it keeps from validation changes the training after it",
            subject.where(place, attribute=_changed(before, dict(plain_attributes(module)))),
            f"{tuple(x.shape)} -> {tuple(alone.shape)}, differs by {difference(after_validation, alone):.1%}",
            "keep nothing in eval mode: set attributes only if self.training",
        )


def _check_state_dict(subject: Subject, place: Place) -> None:
    """Raise BlockFailedError if a block resumed from the state dict goes on with another output."""
    x, module = place.images(TRIAL_BATCH), subject.build_trained(place).train()
    before = fingerprints(dict(plain_attributes(module)))
    with torch.no_grad():
        subject.run(module, place.images(TRIAL_BATCH, seed=1), place)
        resumed = load(subject, place, module, subject.build_trained(place))
        for train in (True, False):
            going_on = subject.run(module.train(train), x, place)
            after_resume = subject.run(resumed.train(train), x, place)
            if difference(going_on, after_resume) > SAME:
                raise BlockFailedError(
                    "it keeps state of earlier batches outside its buffers: a resumed run would differ",
                    subject.where(place, attribute=_changed(before, dict(plain_attributes(module)))),
                    f"{tuple(x.shape)} -> {tuple(going_on.shape)}, "
                    f"differs by {difference(going_on, after_resume):.1%}",
                    "register it, so that it is saved and restored: self.register_buffer(...)",
                )


def load(subject: Subject, place: Place, module: nn.Module, target: nn.Module) -> nn.Module:
    """Load the module's state dict into `target`, which is returned.

    Raises:
        BlockFailedError: their names or shapes differ.
    """
    try:
        target.load_state_dict(module.state_dict())
    except (RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise BlockFailedError(
            "its saved weights do not fit into a new block",
            subject.where(place),
            " ".join(str(error).split())[:200],
            "create the same layers in every __init__, and none later",
        ) from error
    return target


def _changed(before: dict[str, Any], values: Mapping[str, Any]) -> str:
    """Return the names of the values that are new or whose fingerprint has changed, with commas."""
    after = fingerprints(values)
    return " and ".join(name for name in after if name not in before or before[name] != after[name])
