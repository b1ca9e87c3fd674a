import math

import pytest
import torch
from torch import nn

import reslab
from reslab.networks.initialization import initialized_by_name


class Gate(reslab.BasicBlock):
    """A basic block with further weights of several kinds, some of them drawn before its convolutions."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        nn.Linear(3, 3)  # moves the random numbers on
        super().__init__(in_channels, out_channels, stride)
        self.gate = nn.Linear(out_channels, out_channels)
        self.noise = nn.Parameter(torch.randn(out_channels))
        nn.init.trunc_normal_(self.gate.weight, std=0.02)


def test_equal_names_and_shapes_have_equal_weights_in_two_variants() -> None:
    plain = initialized_by_name(lambda: reslab.cifar_resnet20(block=reslab.BasicBlock), 0).state_dict()
    gated = initialized_by_name(lambda: reslab.cifar_resnet20(block=Gate), 0).state_dict()
    shared = [name for name in plain if name in gated]
    assert len(shared) == len(plain)
    assert all(torch.equal(plain[name], gated[name]) for name in shared)


@pytest.mark.parametrize("name", ["cifar_resnet20", "torchvision:mobilenet_v3_small"])
def test_weights_depend_on_the_seed_and_keep_their_distribution(name: str) -> None:
    def build(seed: int) -> dict[str, torch.Tensor]:
        return dict(initialized_by_name(lambda: reslab.create_network(name), seed).named_parameters())

    first, again, other = build(0), build(0), build(1)
    torch.manual_seed(0)
    usual = dict(reslab.create_network(name).named_parameters())
    for key, weight in first.items():
        assert torch.equal(weight, again[key])
        if (deviation := usual[key].std().item()) > 0:
            assert not torch.equal(weight, other[key])
            assert weight.std().item() == pytest.approx(deviation, rel=5 / math.sqrt(weight.numel()) + 0.02)
        else:
            assert torch.equal(weight, usual[key])


def test_the_last_initialization_of_a_tensor_counts() -> None:
    network = initialized_by_name(lambda: reslab.cifar_resnet20(block=Gate), 0)
    gate = network.layer1[0].gate.weight
    assert 0.015 < gate.std() < 0.025  # trunc_normal_, not Linear's own
    started = initialized_by_name(lambda: reslab.resnet18(2, zero_init_residual=True), 0)
    assert not started.layer1[0].bn2.weight.any()


def test_the_random_state_stays_as_it_was() -> None:
    before = torch.get_rng_state()
    initialized_by_name(lambda: reslab.cifar_resnet20(), 0)
    assert torch.equal(before, torch.get_rng_state())
