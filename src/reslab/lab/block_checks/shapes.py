"""Check the output: its shape at every place and at odd sizes, its type, and its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from .problem import BlockFailedError
from .trial import Call, Place, Subject, record_calls

ODD_SIDES = (7, 13)  # pixels


def check_shapes(subject: Subject) -> list[str]:
    """Run two images through the block at every place, in both modes, and check the output."""
    for place in subject.places:
        module = subject.build(place)
        before = {name for name, _ in module.named_parameters()}
        for train in (True, False):
            try:
                _check_output(subject, module.train(train), place, 2)
            except BlockFailedError as failed:
                raise _fixed_to_one_image(subject, module, place) or failed from None
        if new := [name for name, _ in module.named_parameters() if name not in before]:
            layer, _, _ = new[0].rpartition(".")
            raise BlockFailedError(
                "the forward creates a layer, which comes too late for the optimizer",
                subject.where(place, layer),
                f"{new[0]} {tuple(module.get_parameter(new[0]).shape)}",
                "create it in __init__, from in_channels, out_channels and stride",
            )
    return []


def check_odd_sizes(subject: Subject) -> list[str]:
    """Check the output for sides of 7 and 13 pixels: a stride of 2 leaves 4 and 7."""
    for place in subject.trials:
        for side in ODD_SIDES:
            _check_output(subject, subject.build(place).eval(), replace(place, side=side), 2, "an odd size: ")
    return []


def check_batch_of_one(subject: Subject) -> list[str]:
    """Run one image in eval mode, which has to work, and in train mode, where a failure is a note."""
    notes = []
    for place in subject.trials:
        module = subject.build(place)
        _check_output(subject, module.eval(), place, 1, "a batch of one: ")
        try:
            subject.run(module.train(), place.images(1), place)
        except BlockFailedError as error:
            notes.append(f"a batch of one image cannot be trained on: {error.problem.cause}")
    return notes[:1]


def check_values(subject: Subject) -> list[str]:
    """Check that the output is finite, also for an image of zeros, and that the input stays as it was."""
    for place in subject.trials:
        for train in (True, False):
            module = subject.build(place).train(train)
            for x in (place.images(4), place.images(4) * torch.tensor([1.0, 1.0, 1.0, 0.0]).view(4, 1, 1, 1)):
                before = x.clone()
                with torch.no_grad(), record_calls(module) as calls:
                    y = subject.run(module, x, place)
                black = " for an image of zeros" * (not x[3].any())
                if not y.isfinite().all():
                    layer = _first(calls, _is_not_finite)
                    raise BlockFailedError(
                        f"the output{black} has values that are not finite",
                        subject.where(place, layer),
                        f"{tuple(x.shape)} -> {tuple(y.shape)}, {int((~y.isfinite()).sum()):,} not finite",
                        "keep divisors, square roots and logarithms away from 0: add 1e-5 to their argument",
                    )
                if not torch.equal(x, before):
                    raise BlockFailedError(
                        "it changes its input, which other layers may still need",
                        subject.where(place, _changing_layer(module)),
                        f"{tuple(x.shape)}, {int((x != before).sum()):,} values changed",
                        "use nn.ReLU(), not nn.ReLU(inplace=True), on x, and x = x + y, not x += y",
                    )
    return []


def _check_output(subject: Subject, module: nn.Module, place: Place, batch: int, context: str = "") -> None:
    x, expected = place.images(batch), place.output(batch)
    with torch.no_grad(), record_calls(module) as calls:
        y = subject.run(module, x, place, f"for {context.removesuffix(': ')}" * bool(context))
    if not isinstance(y, Tensor):
        raise BlockFailedError(
            f"the forward returns {type(y).__name__} instead of a tensor",
            subject.where(place),
            f"{tuple(x.shape)} -> {type(y).__name__}",
            f"return one tensor {expected}",
        )
    got, shapes = tuple(y.shape), f"{tuple(x.shape)} -> {tuple(y.shape)}, expected {expected}"
    if len(got) != 4 or got[0] != batch:
        raise BlockFailedError(
            f"{context}the output has the shape of another batch",
            subject.where(place),
            shapes,
            "keep the first axis: x.view(x.shape[0], ...) or x.flatten(1)",
        )
    if got[1] != place.out_channels:
        layer = _first(calls, lambda call: len(call.output) == 4 and call.output[1] == got[1])
        raise BlockFailedError(
            f"{context}the output has {got[1]} channels instead of {place.out_channels}",
            subject.where(place, layer),
            shapes,
            "give the last layer out_channels output channels",
        )
    if got != expected:
        layer = _first(calls, lambda call: len(call.output) == 4 and call.output[2:] == got[2:])
        raise BlockFailedError(
            f"{context}the output is {got[2]}x{got[3]} instead of {expected[2]}x{expected[3]}",
            subject.where(place, layer),
            shapes,
            _side_advice(place, got[2]),
        )
    if y.dtype != torch.float32:
        layer = _first(calls, lambda call: isinstance(call.value, Tensor) and call.value.dtype == y.dtype)
        raise BlockFailedError(
            f"the output is {y.dtype} for an input of torch.float32",
            subject.where(place, layer),
            shapes,
            "create tensors in the type of the input: x.new_zeros(...), or dtype=x.dtype",
        )


def _fixed_to_one_image(subject: Subject, module: nn.Module, place: Place) -> BlockFailedError | None:
    """Return the error for a block that takes one image but not two; None for any other."""
    try:
        _check_output(subject, module.eval(), place, 1)
    except BlockFailedError:
        return None
    try:
        _check_output(subject, module, place, 2)
    except BlockFailedError as failed:
        return BlockFailedError(
            f"it takes one image, but not two: {failed.problem.cause}",
            failed.problem.where,
            failed.problem.shapes,
            "keep the first axis: x.view(x.shape[0], ...), not x.view(1, ...)",
        )
    return None


def _side_advice(place: Place, got: int) -> str:
    if got == place.side and place.stride > 1:
        return "give the first convolution stride=stride, and the shortcut too"
    if got == place.side // place.stride:
        return "round up: padding=1 for a kernel of 3, padding=0 for 1, ceil_mode=True for a pooling"
    return "use padding = kernel_size // 2, and the stride in one layer of each branch"


def _first(calls: list[Call], matches: Callable[[Call], bool]) -> str:
    """Return name and class of the first layer whose call matches, without containers, or ""."""
    leaves = [call for call in calls if not list(call.module.children())]
    for call in [*leaves, *calls]:
        if matches(call):
            return f"{call.name} ({type(call.module).__name__})"
    return ""


def _is_not_finite(call: Call) -> bool:
    return isinstance(call.value, Tensor) and not call.value.isfinite().all()


def _changing_layer(module: nn.Module) -> str:
    """Return the first layer with inplace=True, or ""."""
    for name, layer in module.named_modules():
        if getattr(layer, "inplace", False):
            return f"{name} ({type(layer).__name__})"
    return ""
