"""Blocks from the literature against timm's and torchvision's own, with the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import timm.layers
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers.cbam import CbamModule
from timm.models import resnet as timm_resnet
from torch import Tensor, nn

import reslab
from reslab.errors import NetworkError
from reslab.inspection.drawing.stages import chain
from reslab.networks.attention_blocks import EfficientChannelAttention, SqueezeExcitation
from reslab.networks.block_variants import BlurPool
from reslab.networks.from_text import network_from_text
from reslab.networks.precision import parse_precision
from reslab.training.runs import checkpoint
from reslab.training.setup import TrainingSetup

NAMES = {
    "se": reslab.SEBlock,
    "eca": reslab.ECABlock,
    "cbam": reslab.CBAMBlock,
    "resnetd": reslab.ResNetDBlock,
    "blurpool": reslab.BlurPoolBlock,
    "stochastic_depth": reslab.StochasticDepthBlock,
    "layerscale": reslab.LayerScaleBlock,
}
# parameters and multiply-adds added to ResNet-18 (224 pixels) and to ResNet-20 for CIFAR with shortcut B
ADDED = {
    "se": ((90_112, 88_064), (5_784, 5_376)),
    "eca": ((36, 9_344), (27, 1_008)),
    "cbam": ((88_864, 992_468), (6_276, 405_888)),
    "resnetd": ((0, 0), (0, 0)),
    "blurpool": ((0, 520_224_768), (0, 7_077_888)),
    "stochastic_depth": ((0, 0), (0, 0)),
    "layerscale": ((1_920, 0), (336, 0)),
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


def timm_block(
    in_channels: int, out_channels: int, stride: int, average: bool = False, **options: Any
) -> nn.Module:
    make_projection = timm_resnet.downsample_avg if average else timm_resnet.downsample_conv
    same_shape = in_channels == out_channels and stride == 1
    projection = None if same_shape else make_projection(in_channels, out_channels, 1, stride)
    return timm_resnet.BasicBlock(in_channels, out_channels, stride, projection, **options)


class TimmLayerScale(timm_resnet.BasicBlock):
    """timm's BasicBlock with timm's LayerScale2d where timm drops paths."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        projection = timm_block(in_channels, out_channels, stride).downsample
        super().__init__(in_channels, out_channels, stride, projection)
        self.drop_path = timm.layers.LayerScale2d(out_channels)


ORACLES: dict[str, Any] = {
    "se": partial(timm_block, attn_layer="se"),
    "eca": partial(timm_block, attn_layer="eca"),
    # timm's CBAM has 1 hidden channel for 16 channels, ours at least 8
    "cbam": partial(timm_block, attn_layer=partial(CbamModule, rd_channels=8)),
    "resnetd": partial(timm_block, average=True),
    "stochastic_depth": partial(timm_block, drop_path=timm.layers.DropPath(0.1)),
    "layerscale": TimmLayerScale,
}
RENAMED = (
    ("eca.", "se."),
    ("channel_attention.", "se.channel."),
    ("spatial_attention.conv.", "se.spatial.conv.conv."),
    ("spatial_attention.bn.", "se.spatial.conv.bn."),
)


def timm_name(name: str) -> str:
    for ours, theirs in RENAMED:
        if name.startswith(ours):
            return name.replace(ours, theirs)
    return "drop_path.gamma" if name == "gamma" else name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("in_channels", "stride", "size"), [(16, 1, (8, 8)), (16, 2, (7, 9)), (8, 2, (8, 5))]
)
@pytest.mark.parametrize("name", ORACLES)
def test_a_block_gives_timms_output(
    name: str, in_channels: int, stride: int, size: tuple[int, int], training: bool
) -> None:
    ours = randomized(NAMES[name](in_channels, 16, stride)).train(training)
    theirs = ORACLES[name](in_channels, 16, stride).train(training)
    theirs.load_state_dict({timm_name(k): v for k, v in ours.state_dict().items()})
    x = torch.randn(6, in_channels, *size, requires_grad=True)
    torch.manual_seed(3)  # stochastic depth
    out = ours(x)
    torch.manual_seed(3)
    expected = theirs(x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    gradients = [torch.autograd.grad((y**2).sum(), x)[0] for y in (out, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 8), (9, 9)])
def test_blur_pool_is_timms_with_a_border_of_zeros(stride: int, size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    oracle = timm.layers.BlurPool2d(3, 3, stride, pad_mode="constant")
    oracle.padding = [1] * 4  # timm's own padding for stride 3 gives another size
    torch.testing.assert_close(BlurPool(stride)(x), oracle(x))


def test_inside_the_border_blur_pool_is_the_papers() -> None:
    x = torch.randn(2, 3, 9, 12)
    inside = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(BlurPool(2)(x)[inside], timm.layers.BlurPool2d(3)(x)[inside])


@pytest.mark.parametrize("training", [True, False])
def test_a_blur_pool_block_pools_after_the_first_relu_and_before_the_projection(training: bool) -> None:
    block = randomized(reslab.BlurPoolBlock(4, 8, 2)).train(training)
    blur = timm.layers.BlurPool2d(pad_mode="constant")
    x = torch.randn(3, 4, 9, 7)
    body = torch.relu(block.bn1(nn.functional.conv2d(x, block.conv1.weight, padding=1)))
    body = block.bn2(nn.functional.conv2d(blur(body), block.conv2.weight, padding=1))
    projected = block.downsample[2](nn.functional.conv2d(blur(x), block.downsample[1].weight))
    torch.testing.assert_close(block(x), torch.relu(body + projected), rtol=1e-5, atol=1e-5)


def test_blur_makes_a_block_react_less_to_a_shift() -> None:
    x = torch.randn(8, 8, 32, 32)
    changes = []
    for kind in (reslab.BasicBlock, reslab.BlurPoolBlock):
        block = kind(8, 8, 2)
        first, shifted = (block(y)[..., 2:-2, 2:-2] for y in (x, x.roll((1, 1), (2, 3))))
        changes.append(((first - shifted).square().mean() / first.var()).item())
    assert changes[1] < 0.7 * changes[0]


def test_stochastic_depth_is_torchvisions_and_keeps_the_mean() -> None:
    block = randomized(reslab.StochasticDepthBlock(4, 4, drop_rate=0.25))
    basic = reslab.BasicBlock(4, 4)
    basic.load_state_dict(block.state_dict())
    x = torch.rand(400, 4, 5, 5)
    torch.manual_seed(5)
    out = block.train()(x)
    torch.manual_seed(5)
    residual = basic.bn2(basic.conv2(basic.relu(basic.bn1(basic.conv1(x)))))
    expected = torch.relu(torchvision.ops.stochastic_depth(residual, 0.25, "row") + x)
    torch.testing.assert_close(out, expected)
    skipped = (out == x).flatten(1).all(1).float().mean().item()
    assert abs(skipped - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 400)
    basic.load_state_dict(block.state_dict())  # training moved the batch norm's statistics
    assert torch.equal(block.eval()(x), basic.eval()(x))


@pytest.mark.slow
def test_a_resumed_training_with_stochastic_depth_has_the_same_weights(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """The draws depend on the step, not on what was drawn before."""
    photos = reslab.Photos(photo_folder(train=40))
    recipe = reslab.Recipe(epochs=2, size=16, resize=18, batch_size=8, precision="fp32")

    def setup() -> TrainingSetup:
        torch.manual_seed(1)
        network = reslab.cifar_resnet20(num_classes=2, block=reslab.StochasticDepthBlock)
        return reslab.prepare(network, photos, recipe, progress=False)

    def train(started: TrainingSetup, steps: int | None = None) -> dict[str, Tensor]:
        list(islice(reslab.training_loop(started.state, started.train, started.validate(False)), steps))
        return started.state.network.state_dict()

    whole = train(setup())
    stopped = setup()
    train(stopped, steps=2)
    checkpoint.save(stopped.state, [], tmp_path)
    torch.manual_seed(99)
    resumed = setup()
    checkpoint.load(resumed.state, tmp_path, now=0.0)
    torch.rand(1000)
    for name, tensor in train(resumed).items():
        assert torch.equal(tensor, whole[name]), name


@pytest.mark.parametrize("drop_rate", [-0.1, 1.0, 10])
def test_a_drop_rate_is_a_probability(drop_rate: float, refuses: Any) -> None:
    with refuses(NetworkError, f"drop_rate={drop_rate}", "under 1"):
        reslab.StochasticDepthBlock(4, 4, drop_rate=drop_rate)


def test_squeeze_excitation_is_torchvisions() -> None:
    ours = randomized(SqueezeExcitation(64))
    theirs = torchvision.ops.SqueezeExcitation(64, squeeze_channels=8)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 64, 5, 3)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("channels", "hidden"), [(16, 8), (64, 8), (128, 8), (256, 16), (512, 32), (2048, 128)]
)
def test_squeeze_excitation_has_as_many_hidden_channels_as_timms(channels: int, hidden: int) -> None:
    assert SqueezeExcitation(channels).fc1.out_channels == hidden
    assert timm.layers.SEModule(channels).fc1.out_channels == hidden


@pytest.mark.parametrize(
    ("channels", "kernel_size"), [(4, 1), (8, 3), (16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (2048, 7)]
)
def test_eca_takes_its_kernel_size_from_the_channels(channels: int, kernel_size: int) -> None:
    assert EfficientChannelAttention(channels).conv.kernel_size == (kernel_size,)
    if channels >= 8:
        assert timm.layers.EcaModule(channels).conv.kernel_size == (kernel_size,)


@given(scale=st.floats(0.01, 20), name=st.sampled_from(["se", "eca", "cbam"]))
@settings(max_examples=20)
def test_a_gate_is_between_0_and_1(scale: float, name: str) -> None:
    block: Any = NAMES[name](16, 16).eval()
    gates: list[Tensor] = []
    for module in block.modules():
        if isinstance(module, nn.Sigmoid):
            module.register_forward_hook(lambda _, inputs, output: gates.append(output))
    block(torch.randn(3, 16, 6, 6) * scale)
    assert len(gates) == (2 if name == "cbam" else 1)
    assert all(0 <= gate.min() <= gate.max() <= 1 for gate in gates)
    assert len(gates[0].unique()) > 3  # not the same for every channel and image


@given(
    name=st.sampled_from(sorted(NAMES)),
    in_channels=st.integers(1, 12),
    out_channels=st.integers(1, 12),
    stride=st.integers(1, 3),
    size=st.tuples(st.integers(1, 17), st.integers(1, 17)),
)
@settings(max_examples=100)
def test_every_block_returns_the_requested_shape(
    name: str, in_channels: int, out_channels: int, stride: int, size: tuple[int, int]
) -> None:
    block = NAMES[name](in_channels, out_channels, stride).eval()
    expected = (2, out_channels, *(math.ceil(side / stride) for side in size))
    x = torch.randn(2, in_channels, *size)
    before = x.clone()
    assert block(x).shape == expected
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter(name: str) -> None:
    network = reslab.create_network(f"cifar_resnet20:{name}")
    network(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("name", NAMES)
def test_zero_init_makes_a_block_the_identity(name: str) -> None:
    block: Any = NAMES[name](8, 8, 1)
    block.zero_init_residual()
    x = torch.rand(3, 8, 6, 6)  # like the output of a ReLU
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("precision", ["fp32+channels_last", "bf16+channels_last"])
@pytest.mark.parametrize("name", NAMES)
def test_a_block_trains_in_channels_last_and_bf16(name: str, precision: str) -> None:
    cpu = torch.device("cpu")
    chosen = parse_precision(precision)
    block = chosen.place(NAMES[name](8, 16, 2), cpu)
    out = chosen.forward(block, 4)(chosen.place_images(torch.randn(4, 8, 9, 9), cpu))
    assert out.is_contiguous(memory_format=torch.channels_last)
    out.float().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in block.parameters())


@cache
def taken(name: str) -> reslab.Anatomy:
    named = network_from_text(name, meta=True)
    return reslab.anatomy(named.network, named.input_shape)


@pytest.mark.parametrize("network", ["resnet18", "cifar_resnet20"])
@pytest.mark.parametrize("name", NAMES)
def test_anatomy_knows_cost_and_receptive_field_of_every_layer(name: str, network: str) -> None:
    block, basic = taken(f"{network}:{name}"), taken(f"{network}:basic")
    added = block.parameters - basic.parameters, block.multiply_adds - basic.multiply_adds
    assert added == ADDED[name][network == "cifar_resnet20"]
    assert block.complete
    assert [layer.name for layer in block.layers if layer.output and layer.receptive_field is None] == []
    assert "?" not in block.table(depth=3)


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_shows_every_shortcut(name: str) -> None:
    drawn = chain(taken(f"cifar_resnet20:{name}"))
    kinds = [kind for stage in drawn.stages for unit in stage.units for kind in unit.shortcuts]
    assert kinds == ["identity"] * 3 + (["projection"] + ["identity"] * 2) * 2
