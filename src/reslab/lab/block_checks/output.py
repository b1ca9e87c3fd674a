"""Check the output: its shape and type at every place, for odd sides and for one image, and its values."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from .trial import BlockFailedError, Pass, Trial

ODD_SIDES = (7, 13)  # pixels
AXES = ("batch size", "number of channels", "height", "width")
SIDE_ADVICE = (
    "give the first convolution and the shortcut stride=stride; use padding = kernel_size // 2, "
    "and ceil_mode=True for a pooling"
)
ADVICE = (
    "keep the first axis: x.view(x.shape[0], ...) or x.flatten(1)",
    "give the last layer and the shortcut out_channels output channels",
    SIDE_ADVICE,
    SIDE_ADVICE,
)


def check_shapes(trial: Trial) -> list[str]:
    """Run two images through the block in both modes, and check the output."""
    module = trial.build()
    for train in (True, False):
        _check_output(trial, module.train(train), 2)
    return []


def check_odd_sizes(trial: Trial) -> list[str]:
    """Check the output for sides of 7 and 13 pixels: a stride of 2 leaves 4 and 7."""
    for side in ODD_SIDES:
        _check_output(replace(trial, side=side), trial.build().eval(), 2, " for an odd size")
    return []


def check_batch_of_one(trial: Trial) -> list[str]:
    """Run one image in eval mode, which has to work, and in train mode, where a failure is a note."""
    module = trial.build()
    _check_output(trial, module.eval(), 1, " for a batch of one")
    try:
        trial.run(module.train(), trial.images(1))
    except BlockFailedError:
        return ["it cannot be trained on a batch of one image, like a batch norm of one value per image"]
    return []


def _check_output(trial: Trial, module: nn.Module, batch: int, during: str = "") -> None:
    """Raise BlockFailedError if the output has a wrong type, shape or value, or if the input is changed."""
    x = trial.images(batch)
    before = x.clone()
    run = trial.run(module, x, during=during)
    side = -(-trial.side // trial.stride)
    expected, y = (batch, trial.out_channels, side, side), run.output
    if not isinstance(y, Tensor) or y.dtype != x.dtype or y.dim() != len(expected):
        got = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise trial.failed(
            f"the forward returns {got} instead of a tensor {expected} of {x.dtype}",
            "return one tensor; create tensors in the type of the input: x.new_zeros(...)",
            shapes=f"{tuple(x.shape)} comes to the block",
        )
    shapes = f"{tuple(x.shape)} -> {tuple(y.shape)}, expected {expected}"
    for axis, wanted in enumerate(expected):
        if y.shape[axis] != wanted:
            raise trial.failed(
                f"the {AXES[axis]} of the output is {y.shape[axis]} instead of {wanted}{during}",
                ADVICE[axis],
                _first_with(run, axis, y.shape[axis]),
                shapes,
            )
    if not y.isfinite().all():
        raise trial.failed(
            "the output has values that are not finite",
            "add 1e-5 to what is divided by, and to the arguments of sqrt and log: an image may be all zeros",
            shapes=shapes,
        )
    if not torch.equal(x, before):
        raise trial.failed(
            "it changes its input, which other layers may still need",
            "use nn.ReLU(), not nn.ReLU(inplace=True), on x, and x = x + y, not x += y",
            shapes=shapes,
        )


def _first_with(run: Pass, axis: int, size: int) -> str:
    """Return the first layer whose output (N, C, H, W) has this size along the axis, or ""."""
    for name, output in run.layers.items():
        if output.dim() == len(AXES) and output.shape[axis] == size:
            return name
    return ""
