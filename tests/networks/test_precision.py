"""Number format and memory layout as one value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import reslab
from reslab.errors import RecipeError
from reslab.networks.precision import CANDIDATES, FP32, Precision, parse_precision

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return reslab.cifar_resnet20(block=reslab.BasicBlock).eval()


def strided(tensor: torch.Tensor) -> bool:
    """In the order of channels last, and not at the same time in the order of channels first."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def test_every_precision_is_known_by_its_name() -> None:
    assert list(CANDIDATES) == ["fp32", "bf16", "fp32+channels_last", "bf16+channels_last"]
    for name in CANDIDATES:
        assert str(parse_precision(name)) == name
    assert parse_precision("bf16+channels_last") == Precision("bf16", channels_last=True)
    assert parse_precision("fp32") == FP32 == Precision()


def test_unknown_names_and_formats_are_answered(refuses: Any) -> None:
    with refuses(RecipeError, "no precision 'bf61'", "did you mean 'bf16'", "auto"):
        parse_precision("bf61")
    with refuses(RecipeError, "no number format 'fp16'", "'bf16'"):
        Precision("fp16")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CANDIDATES)
def test_placing_keeps_every_value_and_parameter(name: str, network: nn.Module) -> None:
    before = {k: v.clone() for k, v in network.state_dict().items()}
    parameters = list(network.parameters())
    placed = parse_precision(name).place(network, CPU)
    assert placed is network
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    for key, value in network.state_dict().items():
        assert value.dtype == before[key].dtype
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("number_format", ["fp32", "bf16"])
def test_channels_last_is_the_layout_of_weights_images_and_activations(
    number_format: Any, network: Any
) -> None:
    precision = Precision(number_format, channels_last=True)
    precision.place(network, CPU)
    images = torch.randn(2, 3, 32, 32)
    placed = precision.place_images(images, CPU)
    assert strided(placed)
    assert torch.equal(placed, images)
    assert strided(network.layer2[0].conv1.weight)
    with torch.no_grad(), precision.autocast(CPU):
        x = placed
        for name, layer in network.named_children():
            x = layer(x)
            if name.startswith(("conv", "layer")):
                assert strided(x), name
    FP32.place(network, CPU)
    assert network.layer2[0].conv1.weight.is_contiguous()
    assert FP32.place_images(placed, CPU).is_contiguous()


@pytest.mark.parametrize("channels_last", [False, True])
def test_bf16_computes_in_bf16_and_keeps_weights_and_statistics_in_fp32(
    channels_last: bool, network: Any
) -> None:
    precision = Precision("bf16", channels_last)
    exact = copy.deepcopy(network)
    precision.place(network, CPU)
    images = torch.randn(8, 3, 32, 32)
    seen: list[torch.dtype] = []
    network.layer3[0].conv2.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    with torch.no_grad():
        with precision.autocast(CPU):
            logits = network(precision.place_images(images, CPU))
        expected = exact(images)
    assert seen == [torch.bfloat16]
    assert not torch.equal(logits.float(), expected)
    assert (logits.float() - expected).abs().max() < 0.05 * expected.abs().max()

    network.train()
    with precision.autocast(CPU):
        network(images).float().sum().backward()
    tensors = [*network.parameters(), *network.buffers(), *(p.grad for p in network.parameters())]
    assert {t.dtype for t in tensors} == {torch.float32, torch.int64}


@pytest.mark.parametrize("channels_last", [False, True])
def test_fp32_is_plain_arithmetic(channels_last: bool, network: nn.Module) -> None:
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        precision = Precision("fp32", channels_last)
        precision.place(network, CPU)
        with precision.autocast(CPU):
            assert not torch.is_autocast_enabled("cpu")
            logits = network(precision.place_images(images, CPU))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, expected)
