"""Check exercise 2: a residual block that chooses its shortcut from its three arguments."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import nn

from reslab.course.feedback import NotSolvedError, call, expect, formula

from .network import build, check_tensor

# (in_channels, out_channels, stride, height and width): every way in which a block can change its shape
CASES = [
    (64, 64, 1, 56),
    (64, 128, 2, 56),
    (64, 64, 2, 56),
    (64, 128, 1, 56),
    (128, 64, 1, 28),
    (16, 32, 2, 7),
]


def check(answer: Any) -> str:
    """Check the properties of MyBlock in the learner's module.

    Return what was checked. Raise NotSolvedError at the first property of a residual block that it lacks.
    """
    torch.manual_seed(0)
    for case in CASES:
        _check_shape(answer.MyBlock, *case)
    _check_parameters(answer.MyBlock)
    _check_identity(answer.MyBlock)
    _check_relu(answer.MyBlock)
    _check_gradients(answer.MyBlock)
    return (
        f"{len(CASES)} shapes, the number of parameters, the shortcut, the place of the ReLU, and a gradient "
        "for every weight"
    )


def _build(make: Any, in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return build(make, f"MyBlock({in_channels}, {out_channels}, {stride})", in_channels, out_channels, stride)


def _check_shape(make: Any, in_channels: int, out_channels: int, stride: int, size: int) -> None:
    block = _build(make, in_channels, out_channels, stride)
    x = torch.rand(4, in_channels, size, size)
    before = x.clone()
    what = f"MyBlock({in_channels}, {out_channels}, stride={stride}) on {tuple(x.shape)}"
    y = call(what, block, x, hint=partial(_shape_hint, in_channels, out_channels, stride, size))
    check_tensor(y, what)
    side = (size - 1) // stride + 1
    right = (4, out_channels, side, side)
    if y.shape != right:
        lines = [f"{what} returns {tuple(y.shape)}", f"expected {right}"]
        if y.shape[-1] != side:
            lines.append(f"with kernel 3, padding 1 and stride {stride}: {formula(size, 3, stride, 1)}")
        if y.shape[1] != out_channels:
            lines.append(f"the block is asked for {out_channels} channels and returns {y.shape[1]}")
        raise NotSolvedError(*lines)
    expect(
        torch.equal(x, before),
        f"{what} changes its input x",
        "an in-place operation overwrites x, which the caller may still need",
        "use nn.ReLU(), not nn.ReLU(inplace=True), on x",
    )


def _shape_hint(in_channels: int, out_channels: int, stride: int, size: int, message: str) -> str:
    """Return an explanation, by the block's arguments, of torch's message about shapes that do not fit.

    Return "" for any other message.

    Args:
        in_channels: of the block.
        out_channels: of the block.
        stride: of the block.
        size: height and width of its input.
        message: of torch's error.
    """
    if found := re.search(r"expected input.* to have (\d+) channels, but got (\d+) channels", message):
        return (
            f"a convolution made for {found[1]} channels gets {found[2]}: the first goes from {in_channels} "
            f"to {out_channels}, the second from {out_channels} to {out_channels}, the shortcut's from "
            f"{in_channels} to {out_channels}"
        )
    if not re.search(r"size of tensor a \(\d+\) must match", message):
        return ""
    side = (size - 1) // stride + 1
    hint = (
        "the two summands differ in shape: the convolutions make "
        f"(4, {out_channels}, {side}, {side}), {formula(size, 3, stride, 1)}"
    )
    if stride > 1 or in_channels != out_channels:
        hint += (
            f"\nx is (4, {in_channels}, {size}, {size}): the shortcut needs a projection, a convolution with "
            f"kernel 1 and stride {stride}, {in_channels} -> {out_channels} channels: "
            f"{formula(size, 1, stride)}"
            "\na projection is needed if the channels change OR if the stride is not 1"
        )
    return hint


def _check_parameters(make: Any) -> None:
    """Raise NotSolvedError unless the block has the right number of parameters.

    64 -> 64 channels are checked first, then 64 -> 128 with a projection. Biases, and a bias or batch norm of
    the projection, are optional. `make` is the learner's class.
    """
    without, biases = 2 * 3 * 3 * 64 * 64 + 2 * 2 * 64, 2 * 64
    count = _parameters(_build(make, 64, 64, 1))
    if count in (without, without + biases):
        projected, projection = _parameters(_build(make, 64, 128, 2)), 64 * 128
        plain = 3 * 3 * 64 * 128 + 3 * 3 * 128 * 128 + 2 * 2 * 128
        extra = projected - plain - (count - without) * 2
        expect(
            extra in (projection, projection + 128, projection + 256, projection + 384),
            f"MyBlock(64, 128, stride=2) has {projected:,} parameters, {extra:,} of them outside its two "
            "3x3 convolutions and their batch norms",
            f"expected a projection of 1·1·64·128 = {projection:,} weights, and its bias or batch norm",
            "No parameter is registered: keep it as an attribute, not in a plain list." if extra == 0 else "",
        )
        return
    reasons = {
        -without: "No parameter is registered: keep layers as attributes, self.conv1 = ..., not in a list.",
        64 * 64: "A 1x1 convolution of 64·64 = 4,096 too many: the shape stays, the shortcut is x itself.",
        -128: "64 + 64 = 128 too few: each of the two convolutions has a batch norm of its own.",
        -256: "2·(64 + 64) = 256 too few: there is no batch norm.",
        -(9 * 64 * 64 + 128): "There is only one convolution with its batch norm; the block has two.",
        -9 * 64 * 64: "There is only one 3x3 convolution; the block has two, each with its own weights.",
    }
    optional = (0, biases, 64, 128, 192)  # biases, and the projection's bias or batch norm
    raise NotSolvedError(
        f"MyBlock(64, 64, stride=1) has {count:,} parameters",
        f"expected 2·(3·3·64·64) + 2·(64 + 64) = {without:,}: two 3x3 convolutions, two batch norms"
        f" ({without + biases:,} with biases)",
        next((why for difference, why in reasons.items() if count - without - difference in optional), ""),
    )


def _check_identity(make: Any) -> None:
    """Raise NotSolvedError unless the block returns ReLU(x) if all its weights are 0."""
    block = _build(make, 64, 64, 1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    x = torch.randn(2, 64, 8, 8)
    y = call("MyBlock(64, 64, 1) with all weights set to zero", block, x)
    if torch.allclose(y, x.relu()):
        return
    if not y.any():
        why = "it returns zeros: x is not added, so this is a plain block without its shortcut"
    elif torch.allclose(y, x):
        why = "it returns x with its negative values: the ReLU after the sum is missing"
    elif torch.allclose(y, 2 * x.relu()) or torch.allclose(y, 2 * x):
        why = "it returns twice that: x is added twice"
    else:
        why = "the convolutions then add 0, so the result must be ReLU(0 + x) = ReLU(x)"
    raise NotSolvedError("with all its weights set to zero, MyBlock(64, 64, 1) does not return ReLU(x)", why)


def _check_relu(make: Any) -> None:
    """Raise NotSolvedError unless a ReLU follows the sum, and none is between the last batch norm and it."""
    x = torch.rand(4, 64, 16, 16)
    y = call("MyBlock(64, 64, 1)", _build(make, 64, 64, 1), x)
    expect(
        bool((y >= 0).all()),
        "MyBlock(64, 64, 1) returns negative values",
        "y = ReLU(branch(x) + x): the last ReLU comes after the sum",
    )
    expect(
        bool((y < x - 1e-6).any()),
        "MyBlock(64, 64, 1) never returns less than x where x >= 0, so its convolutions can only add",
        "y = ReLU(branch(x) + x): there is no ReLU between the second batch norm and the sum",
    )


def _check_gradients(make: Any) -> None:
    for out_channels, stride in ((64, 1), (128, 2)):
        block = _build(make, 64, out_channels, stride)
        block(torch.rand(4, 64, 8, 8)).square().sum().backward()
        unused = [name for name, parameter in block.named_parameters() if parameter.grad is None]
        expect(
            not unused,
            f"no gradient reaches {', '.join(unused)} of MyBlock(64, {out_channels}, {stride})",
            "forward() does not use them, or uses another layer twice in their place",
        )


def _parameters(block: nn.Module) -> int:
    return sum(parameter.numel() for parameter in block.parameters())
