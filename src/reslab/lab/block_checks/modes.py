"""Check eval mode: the same answer twice, each image by itself, and the difference from train mode."""

from __future__ import annotations

import dis
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .construction import class_attributes
from .problem import BlockFailedError
from .trial import SAME, TRIAL_BATCH, Place, Subject, difference, quote, record_calls

BATCHES = 1e-4  # relative difference of one image in two batches: kernels differ by the size of a batch
ATTEMPTS = 8  # seeds of the passes in train mode: random layers may drop nothing in some


def check_determinism(subject: Subject) -> list[str]:
    """Run two equal blocks on the same images under different seeds, in eval mode."""
    for place in subject.trials:
        x = place.images(TRIAL_BATCH)
        with torch.no_grad():
            outputs = [
                subject.run(subject.build_trained(place).eval(), x, place, seed=seed) for seed in (0, 1)
            ]
        if difference(*outputs) > SAME:
            raise BlockFailedError(
                "the same images give another output the second time in eval mode",
                subject.where(place, _random_layer(subject, place)),
                f"{tuple(x.shape)} -> {tuple(outputs[0].shape)}, they differ by {difference(*outputs):.1%}",
                "draw random numbers only if self.training; F.dropout needs training=self.training",
            )
    return []


def check_independence(subject: Subject) -> list[str]:
    """Run one image alone and among others, in eval mode: its output must stay."""
    for place in subject.trials:
        module, x = subject.build_trained(place).eval(), place.images(TRIAL_BATCH)
        others = torch.cat([x[:1], 3 * place.images(TRIAL_BATCH - 1, seed=1)])
        with torch.no_grad():
            alone, among, elsewhere = (subject.run(module, each, place)[:1] for each in (x[:1], x, others))
        worst = max(difference(among, alone), difference(elsewhere, alone))
        if worst > BATCHES:
            raise BlockFailedError(
                "the output for an image depends on the other images of the batch in eval mode",
                subject.where(place, _mixing_layer(subject, place, x)),
                f"{tuple(x[:1].shape)} alone and in {tuple(x.shape)}, the outputs differ by {worst:.1%}",
                "average over channels or positions, axes 1 to 3, and never over axis 0; keep "
                "track_running_stats=True in a batch norm",
            )
    return []


def check_train_mode(subject: Subject) -> list[str]:
    """Compare train and eval mode, with batch norm frozen: the rest may differ only at random."""
    for place in subject.trials:
        x = place.images(TRIAL_BATCH)
        evaluated, trained = subject.build_trained(place).eval(), subject.build_trained(place).train()
        others = [subject.build_trained(place).train() for _ in range(ATTEMPTS - 1)]
        buffers = {name: buffer.clone() for name, buffer in trained.named_buffers()}
        with torch.no_grad(), FrozenBatchNorm():
            with record_calls(evaluated) as eval_calls, record_calls(trained) as train_calls:
                expected = subject.run(evaluated, x, place)
                outputs = [subject.run(trained, x, place)]
            outputs += [subject.run(other, x, place, seed=seed + 1) for seed, other in enumerate(others)]
        if all(difference(output, expected) <= SAME for output in outputs):
            continue
        if any(difference(output, outputs[0]) > SAME for output in outputs[1:]):
            return ["it is random in train mode, as dropout and stochastic depth are"]
        kept = [(n, b) for n, b in trained.named_buffers() if b.is_floating_point()]
        if any(not torch.equal(buffer, buffers[name]) for name, buffer in kept):
            return ["its train mode keeps statistics for eval mode, as batch norm does"]
        layer = next(
            (
                call.name
                for call, other in zip(train_calls, eval_calls, strict=False)
                if isinstance(call.value, Tensor) and difference(call.value, other.value) > SAME
            ),
            "",
        )
        raise BlockFailedError(
            "train mode computes something else than eval mode, without batch norm or randomness",
            subject.where(place, layer, _line_with_training(trained)),
            f"{tuple(x.shape)} -> {tuple(expected.shape)}, they differ by "
            f"{difference(outputs[0], expected):.1%}",
            "compute the same in both modes: what is trained has to be what is evaluated",
        )
    return []


class FrozenBatchNorm(TorchFunctionMode):
    """Let batch norm use and keep its running statistics in train mode, too."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.nn.functional.batch_norm and args[1] is not None:  # running_mean
            kwargs = {**kwargs, "training": False}
        return func(*args, **kwargs)


def _random_layer(subject: Subject, place: Place) -> str:
    """Return the first layer whose outputs differ between two seeds in eval mode, or ""."""
    first, second = subject.build_trained(place).eval(), subject.build_trained(place).eval()
    x = place.images(TRIAL_BATCH)
    with torch.no_grad(), record_calls(first) as calls, record_calls(second) as others:
        subject.run(first, x, place, seed=0)
        subject.run(second, x, place, seed=1)
    for call, other in zip(calls, others, strict=False):
        if isinstance(call.value, Tensor) and difference(call.value, other.value) > SAME:
            return f"{call.name} ({type(call.module).__name__})"
    return ""


def _mixing_layer(subject: Subject, place: Place, x: Tensor) -> str:
    """Return the first layer whose output for an image depends on the batch in eval mode, or ""."""
    module = subject.build_trained(place).eval()
    with torch.no_grad(), record_calls(module) as alone:
        subject.run(module, x[:1], place)
    with torch.no_grad(), record_calls(module) as among:
        subject.run(module, x, place)
    for call, other in zip(among, alone, strict=False):
        if isinstance(call.value, Tensor) and difference(call.value[:1], other.value) > BATCHES:
            return f"{call.name} ({type(call.module).__name__})"
    return ""


def _line_with_training(module: nn.Module) -> str:
    """Return the first line of the user's code that reads `training`, or ""."""
    for _, _, function in class_attributes(module):
        code = getattr(function, "__code__", None)
        for instruction in dis.get_instructions(code) if code else ():
            if instruction.argval == "training" and instruction.positions:
                return quote(code.co_filename, instruction.positions.lineno or 0)
    return ""
