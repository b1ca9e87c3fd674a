"""The networks of the family against torchvision's."""

from __future__ import annotations

import pickle
import pydoc
from math import sqrt
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn.functional import cross_entropy

import reslab
from reslab.networks.resnet import FAMILY

IMAGENET = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "cifar_resnet20": 269_722,
    "cifar_resnet32": 464_154,
    "cifar_resnet44": 658_586,
    "cifar_resnet56": 853_018,
    "cifar_resnet110": 1_727_962,
    "textbook_resnet18": 11_178_378,
}


def oracle(name: str, **settings: Any) -> nn.Module:
    network: nn.Module = torchvision.models.get_model(name, weights=None, **settings)
    return network


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("name", FAMILY)
def test_every_network_has_its_number_of_parameters_and_its_function(name: str) -> None:
    with torch.device("meta"):
        network = getattr(reslab, name)()
        assert shapes(reslab.create_resnet(name)) == shapes(network)
    assert sum(p.numel() for p in network.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", IMAGENET)
def test_the_state_dict_is_torchvisions(name: str) -> None:
    for settings_ in ({}, {"num_classes": 7}):
        with torch.device("meta"):
            ours, theirs = getattr(reslab, name)(**settings_), oracle(name, **settings_)
        assert list(shapes(ours).items()) == list(shapes(theirs).items())
        assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("resnet18", 75), ("resnet34", 64), ("resnet50", 64)])
def test_the_same_weights_give_torchvisions_logits_exactly(name: str, size: int) -> None:
    x = torch.randn(2, 3, size, size)
    ours, theirs = getattr(reslab, name)(), oracle(name)
    for source, target in ((theirs, ours), (ours, theirs)):
        for parameter in source.parameters():
            if parameter.dim() == 1:  # batch norms and biases, which start as 0 and 1
                parameter.data.add_(torch.randn_like(parameter) / 10)
        target.load_state_dict(source.state_dict())
        with torch.no_grad():
            assert torch.equal(ours.train()(x), theirs.train()(x))
            logits = ours.eval()(x)
            assert logits.isfinite().all()
            assert torch.equal(logits, theirs.eval()(x))
        assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


def test_gradients_are_torchvisions() -> None:
    ours, theirs = reslab.resnet18(num_classes=5), oracle("resnet18", num_classes=5)
    theirs.load_state_dict(ours.state_dict())
    x, y = torch.randn(4, 3, 48, 48), torch.tensor([0, 4, 2, 2])
    for network in (ours, theirs):
        cross_entropy(network(x), y).backward()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize("zero_init_residual", [False, True])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_same_seed_gives_torchvisions_initial_weights(name: str, zero_init_residual: bool) -> None:
    torch.manual_seed(5)
    ours = getattr(reslab, name)(zero_init_residual=zero_init_residual)
    torch.manual_seed(5)
    theirs = oracle(name, zero_init_residual=zero_init_residual)
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize("name", ["resnet34", "cifar_resnet56", "textbook_resnet18"])
def test_convolutions_start_normal_with_variance_two_over_fan_out(name: str) -> None:
    torch.manual_seed(0)
    for label, module in getattr(reslab, name)().named_modules():
        if isinstance(module, nn.Conv2d):
            values, n = module.weight.detach(), module.weight.numel()
            expected = sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
            assert values.std().item() == pytest.approx(expected, rel=5 / sqrt(2 * n)), label
            assert abs(values.mean().item()) < 5 * expected / sqrt(n), label
            within = (values.abs() < expected).float().mean().item()  # 68.27 % of a normal distribution
            assert within == pytest.approx(0.6827, abs=5 * sqrt(0.6827 * 0.3173 / n)), label
            assert module.bias is None or not module.bias.any(), label


@pytest.mark.parametrize("name", FAMILY)
def test_help_shows_the_signature_with_the_networks_defaults(name: str) -> None:
    function, row = getattr(reslab, name), FAMILY[name]
    text = pydoc.plain(pydoc.render_doc(function))
    assert (
        f"{name}(num_classes: 'int' = {row.num_classes}, in_channels: 'int' = {row.in_channels}, *, " in text
    )
    assert f"stem: 'Stem' = '{row.stem}'" in text
    assert f"{row.title}: (N, in_channels, H, W) -> logits (N, num_classes). {row.source}." in text
    for part in ("Args:", "weights: ", "Raises:", "WeightsError: "):
        assert f"    {part}" in text
    assert pickle.loads(pickle.dumps(function)) is function
