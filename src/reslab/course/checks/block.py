"""Exercise 2: a residual block that sees its own shapes."""

from __future__ import annotations

import re
from typing import Any

from reslab.course.feedback import NotSolvedError, call, expect, formula, shown

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
    """Raises NotSolvedError at the first property of a residual block that the reader's MyBlock lacks."""
    import torch

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


def build(make: Any, in_channels: int, out_channels: int, stride: int) -> Any:
    """The reader's block. Raises NotSolvedError if there comes none out."""
    from torch import nn

    text = f"MyBlock({in_channels}, {out_channels}, {stride})"
    block = call(text, make, in_channels, out_channels, stride)
    expect(
        isinstance(block, nn.Module),
        f"{text} gives {shown(block)}",
        "expected a module: write a class MyBlock(nn.Module), or a function that returns one",
    )
    return block


def _check_shape(make: Any, in_channels: int, out_channels: int, stride: int, size: int) -> None:
    import torch

    block = build(make, in_channels, out_channels, stride)
    x = torch.rand(4, in_channels, size, size)
    before = x.clone()
    what = f"MyBlock({in_channels}, {out_channels}, stride={stride}) on {tuple(x.shape)}"
    hint = _SumHint(in_channels, out_channels, stride, size)
    y = call(what, block, x, hint=hint)
    side = (size - 1) // stride + 1
    right = (4, out_channels, side, side)
    expect(isinstance(y, torch.Tensor), f"{what} gives {shown(y)}", "expected a tensor: is a return missing?")
    if tuple(y.shape) != right:
        lines = [f"{what} returns {tuple(y.shape)}", f"expected {right}"]
        if y.shape[-1] != side:
            lines.append(f"with kernel 3, padding 1 and stride {stride}: {formula(size, 3, stride, 1)}")
        if y.shape[1] != out_channels:
            lines.append(f"the block is asked for {out_channels} channels and returns {y.shape[1]}")
        raise NotSolvedError("\n".join(lines))
    expect(
        torch.equal(x, before),
        f"{what} changes its input x",
        "an in-place operation works on x itself, and whoever holds x gets other numbers",
        "use nn.ReLU(), not nn.ReLU(inplace=True), on x",
    )


class _SumHint:
    """Turns torch's words about two shapes into where they come from."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, size: int) -> None:
        self.in_channels, self.out_channels, self.stride, self.size = in_channels, out_channels, stride, size

    def __call__(self, message: str) -> str:
        if re.search(r"size of tensor a \(\d+\) must match", message):
            return self._of_sum()
        if found := re.search(r"expected input.* to have (\d+) channels, but got (\d+) channels", message):
            return (
                f"a convolution made for {found[1]} channels gets {found[2]}: the first goes from "
                f"{self.in_channels} to {self.out_channels}, the second from {self.out_channels} to "
                f"{self.out_channels}, the shortcut's from {self.in_channels} to {self.out_channels}"
            )
        return ""

    def _of_sum(self) -> str:
        side = (self.size - 1) // self.stride + 1
        lines = [
            "the two summands differ in shape: the convolutions make "
            f"(4, {self.out_channels}, {side}, {side}), {formula(self.size, 3, self.stride, 1)}"
        ]
        if self.stride > 1 or self.in_channels != self.out_channels:
            lines.append(
                f"x is (4, {self.in_channels}, {self.size}, {self.size}): the shortcut needs a projection, "
                f"a convolution with kernel 1 and stride {self.stride}, {self.in_channels} -> "
                f"{self.out_channels} channels: {formula(self.size, 1, self.stride)}"
            )
            lines.append("a projection is needed if the channels change OR if the stride is not 1")
        return "\n".join(lines)


def _check_parameters(make: Any) -> None:
    """64 -> 64 without a projection: two convolutions (bias or not) and two batch norms."""
    without, biases = 2 * 3 * 3 * 64 * 64 + 2 * 2 * 64, 2 * 64
    count = _parameters(build(make, 64, 64, 1))
    projected, projection = _parameters(build(make, 64, 128, 2)), 64 * 128
    if count in (without, without + biases):
        plain = 3 * 3 * 64 * 128 + 3 * 3 * 128 * 128 + 2 * 2 * 128
        extra = projected - plain - (count - without) * 2
        expect(
            extra in (projection, projection + 128, projection + 256, projection + 384),
            f"MyBlock(64, 128, stride=2) has {projected:,} parameters, {extra:,} of them outside its two "
            "3x3 convolutions and their batch norms",
            f"expected a projection of 1·1·64·128 = {projection:,} weights, and its bias or batch norm",
            "None are registered: keep it as an attribute, not in a plain list." if extra == 0 else "",
        )
        return
    lines = [
        f"MyBlock(64, 64, stride=1) has {count:,} parameters",
        f"expected 2·(3·3·64·64) + 2·(64 + 64) = {without:,}: two 3x3 convolutions, two batch norms"
        f" ({without + biases:,} with biases)",
    ]
    reasons = {
        0: "None are registered: keep layers as attributes, self.conv1 = ..., not in a plain list.",
        64
        * 64: "A 1x1 convolution of 64·64 = 4,096 too many: nothing changes here, the shortcut is x itself.",
        -128: "64 + 64 = 128 too few: each of the two convolutions has a batch norm of its own.",
        -256: "2·(64 + 64) = 256 too few: there is no batch norm.",
        -(9 * 64 * 64 + 128): "There is only one convolution with its batch norm; the block has two.",
        -9 * 64 * 64: "Only one 3x3 convolution is there; the block has two, each with its own weights.",
    }
    near = [0, biases, 64, 128, 192]  # with biases, batch norm in the projection
    for difference, reason in reasons.items():
        off = count if difference == 0 else count - without - difference
        if off in near and (difference != 0 or count == 0):
            lines.append(reason)
            break
    raise NotSolvedError("\n".join(lines))


def _check_identity(make: Any) -> None:
    """With all weights zero the convolutions add nothing: what is left is the shortcut."""
    import torch

    block = build(make, 64, 64, 1)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    x = torch.randn(2, 64, 8, 8)
    y = call("MyBlock(64, 64, 1) with all weights set to zero", block, x)
    if torch.allclose(y, x.relu()):
        return
    lines = ["with all its weights set to zero, MyBlock(64, 64, 1) does not return ReLU(x)"]
    if not y.any():
        lines.append("it returns zeros: x is not added, so this is a plain block without its shortcut")
    elif torch.allclose(y, x):
        lines.append("it returns x with its negative values: the ReLU after the sum is missing")
    elif torch.allclose(y, 2 * x.relu()) or torch.allclose(y, 2 * x):
        lines.append("it returns twice that: x is added twice")
    else:
        lines.append("the convolutions then add 0, and ReLU(0 + x) = ReLU(x) must be left")
    raise NotSolvedError("\n".join(lines))


def _check_relu(make: Any) -> None:
    """The ReLU stands after the sum, and the second batch norm straight before it."""
    import torch

    block, x = build(make, 64, 64, 1), torch.rand(4, 64, 16, 16)
    y = call("MyBlock(64, 64, 1)", block, x)
    expect(
        bool((y >= 0).all()),
        "MyBlock(64, 64, 1) returns negative values",
        "y = ReLU(branch(x) + x): the last ReLU comes after the sum",
    )
    expect(
        bool((y < x - 1e-6).any()),
        "MyBlock(64, 64, 1) never returns less than x where x >= 0, so its convolutions can only add",
        "y = ReLU(branch(x) + x): between the second batch norm and the sum stands no ReLU",
    )


def _check_gradients(make: Any) -> None:
    import torch

    for out_channels, stride in ((64, 1), (128, 2)):
        block = build(make, 64, out_channels, stride)
        block(torch.rand(4, 64, 8, 8)).square().sum().backward()
        idle = [name for name, parameter in block.named_parameters() if parameter.grad is None]
        expect(
            not idle,
            f"no gradient reaches {', '.join(idle)} of MyBlock(64, {out_channels}, {stride})",
            "forward() does not use them, or uses another layer twice in their place",
        )


def _parameters(block: Any) -> int:
    return sum(parameter.numel() for parameter in block.parameters())
