"""Precision: number format, memory layout and compilation as one value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import reslab
from reslab.errors import RecipeError
from reslab.networks.precision import FP32, UNCOMPILED, Precision, parse_precision

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return reslab.cifar_resnet20(block=reslab.BasicBlock).eval()


def is_channels_last(tensor: torch.Tensor) -> bool:
    """Return True if the layout is channels last and not also contiguous."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def test_a_precision_is_parsed_from_its_name() -> None:
    assert list(UNCOMPILED) == ["fp32", "bf16", "fp32+channels_last", "bf16+channels_last"]
    for name in UNCOMPILED:
        assert str(parse_precision(name)) == name
    assert parse_precision("bf16+channels_last") == Precision("bf16", channels_last=True)
    assert parse_precision("fp32") == FP32 == Precision()


def test_unknown_names_and_formats_are_refused(refuses: Any) -> None:
    with refuses(RecipeError, "no precision 'bf61'", "did you mean 'bf16'", "auto"):
        parse_precision("bf61")
    with refuses(RecipeError, "no number format 'fp16'", "'bf16'"):
        Precision("fp16")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", UNCOMPILED)
def test_placing_a_network_keeps_its_parameters_and_values(name: str, network: nn.Module) -> None:
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
    assert is_channels_last(placed)
    assert torch.equal(placed, images)
    assert is_channels_last(network.layer2[0].conv1.weight)
    with torch.no_grad(), precision.autocast(CPU):
        x = placed
        for name, layer in network.named_children():
            x = layer(x)
            if name.startswith(("conv", "layer")):
                assert is_channels_last(x), name
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
    dtypes: list[torch.dtype] = []
    network.layer3[0].conv2.register_forward_hook(lambda module, args, out: dtypes.append(out.dtype))
    with torch.no_grad():
        with precision.autocast(CPU):
            logits = network(precision.place_images(images, CPU))
        expected = exact(images)
    assert dtypes == [torch.bfloat16]
    assert not torch.equal(logits.float(), expected)
    assert (logits.float() - expected).abs().max() < 0.05 * expected.abs().max()

    network.train()
    with precision.autocast(CPU):
        network(images).float().sum().backward()
    tensors = [*network.parameters(), *network.buffers(), *(p.grad for p in network.parameters())]
    assert {t.dtype for t in tensors} == {torch.float32, torch.int64}


@pytest.mark.parametrize("channels_last", [False, True])
def test_fp32_gives_the_networks_own_logits(channels_last: bool, network: nn.Module) -> None:
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
