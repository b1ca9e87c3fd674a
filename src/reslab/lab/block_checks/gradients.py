"""Check that a gradient reaches every parameter and the input of a block."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .construction import layer_of
from .problem import BlockFailedError
from .trial import SAME, TRIAL_BATCH, Place, Subject, difference, line_of, reason, record_calls, shift

ATTEMPTS = 8  # initial weights and images: a ReLU can be dead, and a random branch dropped, by chance
STEPS = 3  # optimizer steps after which a gate that starts at zero passes a gradient
LEARNING_RATE = 0.1


def check_gradients(subject: Subject) -> list[str]:
    """Train the block for a few steps, and check that every parameter gets a gradient.

    A parameter that gets its first gradient after a step gives a note: it is multiplied by a gate of zero.
    """
    notes = []
    for place in subject.trials:
        module = subject.build(place)
        _check_leaves(subject, place, module)
        _check_zeros(subject, place, module)
        wanted = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
        frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]
        notes += [f"{name} is never trained: its requires_grad is False" for name in frozen[:1]]
        late = _unreached(subject, place, wanted, steps=0)
        if late:
            if lost := _unreached(subject, place, late, steps=STEPS):
                raise _not_reached(subject, place, _first(lost, module))
            more = f" and {len(late) - 1} more parameters" * (len(late) > 1)
            notes.append(
                f"a gate starts at zero: no gradient reaches {_first(late, module)}{more} in the first step, "
                f"but one does within {STEPS} steps"
            )
        if hasattr(module, "zero_init_residual") and (
            lost := _unreached(subject, place, wanted, steps=STEPS, starts_at_zero=True)
        ):
            raise _not_reached(subject, place, _first(lost, module), "after zero_init_residual() ")
    return notes


def _unreached(
    subject: Subject, place: Place, names: set[str], steps: int, starts_at_zero: bool = False
) -> set[str]:
    """Return those of the parameters that no gradient reaches, after so many optimizer steps.

    Args:
        starts_at_zero: call the block's zero_init_residual() first.
    """
    names = set(names)
    for attempt in range(ATTEMPTS):
        module: Any = subject.build(place, attempt).train()
        if starts_at_zero:
            module.zero_init_residual()
        optimizer = torch.optim.SGD(module.parameters(), LEARNING_RATE) if names else None
        for step in range(steps + 1):
            _backward(subject, place, module, place.images(TRIAL_BATCH, attempt * ATTEMPTS + step), attempt)
            reached = {n for n, p in module.named_parameters() if p.grad is not None and p.grad.any()}
            names -= reached
            if not names:
                return names
            if optimizer and step < steps:
                optimizer.step()
    return names


def _backward(subject: Subject, place: Place, module: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    """Compute the gradients of a random function of the output. Return that of the input.

    Raises:
        BlockFailedError: the forward or the backward pass fails, or no gradient reaches the input.
    """
    module.zero_grad()
    image = x.clone().requires_grad_()
    y = subject.run(module, image * 1, place, seed=seed)  # * 1: in a network the input is no leaf
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed))
    if not y.requires_grad:
        raise BlockFailedError(
            "no gradient passes through the block: its output is detached",
            subject.where(place, _last_layer_with_gradient(subject, place, module)),
            f"{tuple(x.shape)} -> {tuple(y.shape)}",
            "remove detach(), .data, torch.no_grad() or argmax from the way to the output",
        )
    try:
        (y * weights).mean().backward()
    except RuntimeError as error:
        raise BlockFailedError(
            f"the backward pass fails: {reason(error)}",
            subject.where(place, line=line_of(error)),
            f"{tuple(x.shape)} -> {tuple(y.shape)}",
            "change no tensor in place that a gradient needs: x = x + y, not x += y",
        ) from error
    if image.grad is None or not image.grad.any():
        raise BlockFailedError(
            "no gradient reaches the block's input, so no earlier layer would be trained",
            subject.where(place, _last_layer_with_gradient(subject, place, module)),
            f"{tuple(x.shape)} -> {tuple(y.shape)}",
            "remove detach(), .data, torch.no_grad() or argmax from the way of the input",
        )
    return image.grad


def _check_leaves(subject: Subject, place: Place, module: nn.Module) -> None:
    """Raise BlockFailedError if the output depends on weights that are not among the module's parameters."""
    known = {id(parameter) for parameter in module.parameters()}
    y = subject.run(module.train(), place.images(2), place)
    waiting, seen = [y.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [following for following, _ in node.next_functions]
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor) and id(leaf) not in known:
            raise BlockFailedError(
                "the output depends on weights that are not among the block's parameters",
                subject.where(place),
                f"weights {tuple(leaf.shape)}",
                "keep each layer and each nn.Parameter as an attribute of the module: self.conv1 = ...",
            )


def _check_zeros(subject: Subject, place: Place, module: nn.Module) -> None:
    """Raise BlockFailedError if an image of zeros, as a ReLU can leave, has gradients that are not finite."""
    x = place.images(TRIAL_BATCH)
    x[0] = 0
    gradients = {"the input": _backward(subject, place, module.train(), x)}
    gradients |= {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    for name, gradient in gradients.items():
        if not gradient.isfinite().all():
            raise BlockFailedError(
                f"the gradient of {name} is not finite for an image of zeros",
                subject.where(place, tensor=name if name != "the input" else ""),
                str(tuple(gradient.shape)),
                "the derivative of a square root, norm or std is infinite at 0: add 1e-5 to its argument",
            )


def _not_reached(subject: Subject, place: Place, name: str, when: str = "") -> BlockFailedError:
    """Return the error for a parameter without gradient, by its cause: unused, or used without gradient."""
    module, x = subject.build(place).train(), place.images(TRIAL_BATCH)
    with torch.no_grad(), record_calls(module) as calls:
        for weight in module.parameters():  # gates of zero hide what lies before them
            shift(weight)
        before = subject.run(module, x, place)
        layer_is_called = any(call.name == layer_of(name) for call in calls)
        parameter = module.get_parameter(name)
        shift(parameter)
        after = subject.run(module, x, place)
    where, shapes = subject.where(place, tensor=name), f"{name} {tuple(parameter.shape)}"
    if difference(after, before) <= SAME:
        cause = f"{name} is{' called, but its result is' * layer_is_called} never used"
        return BlockFailedError(cause, where, shapes, f"use {layer_of(name)} in forward, or remove it")
    return BlockFailedError(
        f"{when}no gradient reaches {name}, in {ATTEMPTS} trials of {STEPS} optimizer steps",
        where,
        shapes,
        "remove detach(), .data, torch.no_grad() or argmax after it; two gates of zero never open",
    )


def _last_layer_with_gradient(subject: Subject, place: Place, module: nn.Module) -> str:
    """Return the last layer to whose output the input's gradient gets, or "" if it is lost before any."""
    module.requires_grad_(False)
    with record_calls(module) as calls:
        subject.run(module, place.images(2).requires_grad_(), place)
    passing = [c.name for c in calls if isinstance(c.value, Tensor) and c.value.requires_grad]
    return passing[-1] if passing else ""


def _first(names: set[str], module: nn.Module) -> str:
    """Return that of the parameters which the module registers first."""
    return next(name for name, _ in module.named_parameters() if name in names)
