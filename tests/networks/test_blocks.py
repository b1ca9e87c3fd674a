"""Blocks and shortcuts against torchvision's blocks and formulas written out here."""

from __future__ import annotations

from functools import partial
from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, relu
from torchvision.models import resnet as oracle

import reslab
from reslab.errors import NetworkError
from reslab.networks.blocks import Block, make_shortcut

BLOCKS: dict[str, Block] = {
    "basic": reslab.BasicBlock,
    "basic A": partial(reslab.BasicBlock, shortcut="A"),
    "basic C": partial(reslab.BasicBlock, shortcut="C"),
    "bottleneck": reslab.Bottleneck,
    "bottleneck A": partial(reslab.Bottleneck, shortcut="A"),
    "bottleneck C": partial(reslab.Bottleneck, shortcut="C"),
    "preactivation": reslab.PreActivationBlock,
    "preactivation A": partial(reslab.PreActivationBlock, shortcut="A"),
    "preactivation C": partial(reslab.PreActivationBlock, shortcut="C"),
    "plain": reslab.PlainBlock,
    "textbook": reslab.TextbookBlock,
}


def randomized(module: nn.Module) -> Any:
    """Fill weights, biases and statistics with random numbers, in place of their defaults 0 and 1."""
    generator = torch.Generator().manual_seed(7)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) / 3)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return module


def normalized(x: Tensor, bn: nn.BatchNorm2d) -> Tensor:
    assert bn.running_mean is not None
    return batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)


@given(
    name=st.sampled_from(sorted(BLOCKS)),
    in_channels=st.integers(1, 12),
    out_channels=st.integers(1, 12),
    stride=st.integers(1, 3),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
)
@settings(max_examples=150, deadline=None)
def test_every_block_returns_the_requested_shape(
    name: str, in_channels: int, out_channels: int, stride: int, size: tuple[int, int]
) -> None:
    assume("bottleneck" not in name or out_channels % 4 == 0)
    assume(not name.endswith("A") or out_channels >= in_channels)
    block = BLOCKS[name](in_channels, out_channels, stride).eval()
    expected = (2, out_channels, ceil(size[0] / stride), ceil(size[1] / stride))
    assert block(torch.randn(2, in_channels, *size)).shape == expected


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_block_does_not_change_its_input(name: str) -> None:
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    BLOCKS[name](8, 8, 1)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(("in_channels", "stride"), [(8, 1), (8, 2), (4, 1), (4, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_basic_block_and_bottleneck_give_torchvisions_outputs_exactly(
    in_channels: int, stride: int, training: bool
) -> None:
    x = torch.randn(3, in_channels, 9, 9)
    for ours, theirs_kind in (
        (reslab.BasicBlock(in_channels, 8, stride), oracle.BasicBlock),
        (reslab.Bottleneck(in_channels, 8, stride), oracle.Bottleneck),
    ):
        projection = None
        if in_channels != 8 or stride != 1:
            projection = nn.Sequential(nn.Conv2d(in_channels, 8, 1, stride, bias=False), nn.BatchNorm2d(8))
        planes = 8 // theirs_kind.expansion
        theirs = theirs_kind(in_channels, planes, stride, projection)
        randomized(ours)
        theirs.load_state_dict(ours.state_dict())
        assert torch.equal(ours.train(training)(x), theirs.train(training)(x))


def test_shortcut_a_is_the_identity_padded_with_zeros() -> None:
    x = torch.randn(2, 3, 5, 5)
    padded = torch.zeros(2, 7, 3, 3)
    padded[:, :3] = x[:, :, [0, 2, 4]][:, :, :, [0, 2, 4]]
    shortcut = make_shortcut(3, 7, 2, "A")
    assert shortcut is not None
    assert torch.equal(shortcut(x), padded)
    assert not list(shortcut.parameters())
    assert make_shortcut(3, 3, 1, "A") is None

    block = randomized(reslab.BasicBlock(3, 7, stride=2, shortcut="A")).eval()
    body = normalized(conv2d(x, block.conv1.weight, stride=2, padding=1), block.bn1)
    body = normalized(conv2d(relu(body), block.conv2.weight, padding=1), block.bn2)
    torch.testing.assert_close(block(x), relu(body + padded))


def test_shortcut_b_projects_where_the_shape_changes_and_c_everywhere() -> None:
    assert make_shortcut(4, 4, 1, "B") is None
    for option, shape in (("B", (4, 6, 1)), ("B", (4, 4, 2)), ("C", (4, 4, 1)), ("C", (4, 6, 2))):
        shortcut = make_shortcut(*shape, option)  # type: ignore[arg-type]
        assert shortcut is not None
        conv, bn = randomized(shortcut).eval()
        x = torch.randn(2, 4, 6, 6)
        torch.testing.assert_close(shortcut(x), normalized(conv2d(x, conv.weight, stride=shape[2]), bn))
    block = randomized(reslab.BasicBlock(4, 4, 1, shortcut="C")).eval()
    without = randomized(reslab.BasicBlock(4, 4, 1)).eval()
    assert block.downsample is not None
    assert without.downsample is None


class Residual(nn.Module):
    """Block of Dive into Deep Learning, section 8.6."""

    def __init__(self, input_channels: int, num_channels: int, use_1x1conv: bool, strides: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_channels, num_channels, 3, padding=1, stride=strides)
        self.conv2 = nn.Conv2d(num_channels, num_channels, 3, padding=1)
        self.conv3 = nn.Conv2d(input_channels, num_channels, 1, stride=strides) if use_1x1conv else None
        self.bn1, self.bn2 = nn.BatchNorm2d(num_channels), nn.BatchNorm2d(num_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
        return relu(y + (self.conv3(x) if self.conv3 else x))


@pytest.mark.parametrize(("in_channels", "stride"), [(6, 1), (6, 2), (3, 1), (3, 2)])
def test_textbook_block_gives_the_textbooks_outputs_exactly(in_channels: int, stride: int) -> None:
    ours = randomized(reslab.TextbookBlock(in_channels, 6, stride))
    theirs = Residual(in_channels, 6, use_1x1conv=in_channels != 6 or stride != 1, strides=stride)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, in_channels, 7, 7)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("stride", [1, 2])
def test_preactivation_normalizes_before_each_convolution_and_not_after_the_sum(stride: int) -> None:
    block = randomized(reslab.PreActivationBlock(4, 4, stride)).eval()
    x = torch.randn(2, 4, 8, 8)
    body = conv2d(relu(normalized(x, block.bn1)), block.conv1.weight, stride=stride, padding=1)
    body = conv2d(relu(normalized(body, block.bn2)), block.conv2.weight, padding=1)
    identity = x if stride == 1 else block.downsample(x)
    torch.testing.assert_close(block(x), body + identity)
    assert (block(x) < 0).any()


@pytest.mark.parametrize(("in_channels", "stride"), [(5, 1), (3, 2)])
def test_plain_block_is_the_basic_block_without_its_shortcut(in_channels: int, stride: int) -> None:
    plain = randomized(reslab.PlainBlock(in_channels, 5, stride)).eval()
    basic = reslab.BasicBlock(in_channels, 5, stride).eval()
    kept = {k: v for k, v in basic.state_dict().items() if not k.startswith("downsample")}
    assert list(plain.state_dict()) == list(kept)
    basic.load_state_dict(plain.state_dict(), strict=False)
    basic.downsample = nn.Conv2d(in_channels, 5, 1, stride, bias=False)
    nn.init.zeros_(basic.downsample.weight)
    x = torch.randn(2, in_channels, 6, 6)
    assert torch.equal(plain(x), basic(x))


@pytest.mark.parametrize("name", ["basic", "bottleneck", "textbook", "preactivation"])
def test_zero_init_makes_a_block_the_identity(name: str) -> None:
    block: Any = BLOCKS[name](8, 8, 1)
    block.zero_init_residual()
    x = torch.rand(3, 8, 6, 6)  # like the output of a ReLU
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("out_channels", [0, 1, 3, 6, 63])
def test_a_bottleneck_needs_a_multiple_of_four_channels(out_channels: int, refuses: Any) -> None:
    with refuses(NetworkError, f"{out_channels} output channels", "a quarter", "multiple of 4"):
        reslab.Bottleneck(8, out_channels)


def test_shortcut_a_cannot_remove_channels(refuses: Any) -> None:
    with refuses(NetworkError, "from 8 to 4 channels", "shortcut B or C"):
        reslab.BasicBlock(8, 4, shortcut="A")


def test_an_unknown_shortcut_is_refused_even_where_none_is_needed(refuses: Any) -> None:
    with refuses(NetworkError, "no shortcut 'D'", "'A', 'B' or 'C'"):
        reslab.BasicBlock(8, 8, shortcut="D")  # type: ignore[arg-type]
