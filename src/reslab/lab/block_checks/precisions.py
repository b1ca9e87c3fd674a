"""Check a block in bf16, in channels_last and on another device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reslab.networks.precision import UNCOMPILED

from .construction import contents, plain_attributes
from .problem import BlockFailedError
from .trial import TRIAL_BATCH, Place, Subject, difference, reason

MAX_DIFFERENCE = {"fp32": 1e-3, "bf16": 0.1}  # relative, of the output to that in fp32
ACROSS_DEVICES = ("copy_", "_to_copy", "index", "index_put_")  # operations on tensors of two devices


def check_precisions(subject: Subject) -> list[str]:
    """Compare the output in bf16 and in channels_last with that in fp32, and compute gradients in each."""
    for place in subject.trials:
        x, cpu = place.images(TRIAL_BATCH), torch.device("cpu")
        with torch.no_grad():
            expected = subject.run(subject.build_trained(place).eval(), x, place)
        for name, precision in UNCOMPILED.items():
            module = precision.place(subject.build_trained(place), cpu)
            images = precision.place_images(x, cpu)
            with precision.autocast(cpu):
                with torch.no_grad():
                    y = subject.run(module.eval(), images, place, f"in {name}")
                images = images.clone().requires_grad_() * 1  # in a network the input is no leaf
                trained = subject.run(module.train(), images, place, f"in {name}")
            how_much = difference(y.float(), expected)
            if not how_much <= MAX_DIFFERENCE[precision.number_format]:
                raise BlockFailedError(
                    f"in {name} the output is another than in fp32",
                    subject.where(place),
                    f"{tuple(x.shape)} -> {tuple(y.shape)}, differs by {how_much:.1%}",
                    "compute sums, exponentials and differences of large numbers in x.float()",
                )
            _check_backward(subject, place, module, trained, name)
    return []


def check_devices(subject: Subject) -> list[str]:
    """Run the block on device "meta", whose tensors mix with no others, and on a GPU if there is one."""
    for place in subject.trials:
        module = subject.build(place).to("meta")
        try:
            with _OneDevice():
                y = subject.run(module, place.images(2).to("meta"), place, "on another device")
        except BlockFailedError as failed:
            if not isinstance(failed.__cause__, DeviceError):
                continue  # its forward depends on values, which device "meta" does not have
            raise _with_attribute(failed, subject, place, module, failed.__cause__.shape) from failed
        if not y.is_meta:
            raise BlockFailedError(
                "the output stays on the CPU when the block is moved to another device",
                subject.where(place),
                str(tuple(y.shape)),
                "create tensors on the device of the input: x.new_zeros(...)",
            )
        if torch.cuda.is_available():
            subject.run(subject.build(place).to("cuda"), place.images(2).to("cuda"), place, "on a GPU")
    return []


class DeviceError(RuntimeError):
    """A tensor of this shape stays on the CPU."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(f"a tensor {shape} stays on the CPU")
        self.shape = shape


class _OneDevice(TorchDispatchMode):
    """Raise DeviceError where an operation has tensors on "meta" and on another device."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        name = func.overloadpacket.__name__
        if any(tensor.is_meta for tensor in tensors):
            others = [t for t in tensors if not t.is_meta and t.dim() and name not in ACROSS_DEVICES]
            target = kwargs.get("device")
            if others:
                raise DeviceError(tuple(others[0].shape))
            if name == "_to_copy" and target is not None and target.type != "meta":
                raise DeviceError(tuple(tensors[0].shape))
        return func(*args, **kwargs)


def _with_attribute(
    failed: BlockFailedError, subject: Subject, place: Place, module: nn.Module, shape: tuple[int, ...]
) -> BlockFailedError:
    """Return the error with the attribute that holds a tensor of this shape, if there is one."""
    problem, where = failed.problem, failed.problem.where
    for path, value in plain_attributes(module):
        if any(isinstance(each, Tensor) and tuple(each.shape) == shape for each in contents(value)):
            where = subject.where(place, attribute=path)
    return BlockFailedError(
        problem.cause,
        where,
        problem.shapes,
        "register the tensor, self.register_buffer(...), or create it with device=x.device",
    )


def _check_backward(subject: Subject, place: Place, module: nn.Module, y: Tensor, name: str) -> None:
    try:
        y.float().square().mean().backward()
    except RuntimeError as error:
        raise BlockFailedError(
            f"the backward pass fails in {name}: {reason(error)}",
            subject.where(place),
            str(tuple(y.shape)),
            "give constants the type of the other tensor: constant.to(x.dtype)",
        ) from error
    for parameter_name, parameter in module.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            raise BlockFailedError(
                f"the gradient of {parameter_name} is not finite in {name}",
                subject.where(place, tensor=parameter_name),
                str(tuple(parameter.shape)),
                "compute sums and exponentials in x.float()",
            )
