"""The quicker copy: the same logits within the tolerance, never another label, and the network stays."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reslab import Classifier, Preprocess
from reslab.evaluation import classifier as module
from reslab.evaluation.engines import TOLERANCE, agree, folded, settle
from reslab.networks.named import NetworkSpec


def network_of(name: str, in_channels: int = 3) -> nn.Module:
    """Random weights, and batch norm statistics that are not those of the beginning."""
    torch.manual_seed(0)
    network = NetworkSpec(name, 4, in_channels).build().train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, in_channels, 32, 32) * 3)
    return network


@pytest.mark.parametrize(
    ("name", "in_channels"), [("resnet18", 3), ("cifar_resnet20", 3), ("textbook_resnet18", 1)]
)
def test_a_folded_copy_agrees_and_the_network_stays_as_it_was(name: str, in_channels: int) -> None:
    network, images = network_of(name, in_channels), torch.randn(5, in_channels, 32, 32)
    before = copy.deepcopy(network.state_dict())
    quick = folded(network)
    assert quick is not None
    found = quick(images)
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(images)
    assert agree(found, expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = network(images)
    assert not agree(rough.float(), expected)  # bf16 is no candidate


class Forking(nn.Module):
    """Goes another way for bright images, which no fixed graph can."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.mean() > 0 else -x.mean((2, 3))


def test_what_cannot_be_folded_or_has_hooks_is_left_alone() -> None:
    assert folded(Forking()) is None
    network = network_of("cifar_resnet20")
    network.get_submodule("layer1").register_forward_hook(lambda *_: None)
    assert folded(network) is None


def test_a_photo_that_is_close_to_call_is_decided_by_the_network() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False)).train()
    images = torch.tensor([[5.0, 0, 0], [1, 1, 1], [0, 5, 0]]).view(3, 3, 1, 1)
    with torch.no_grad():
        exact = network(images)
        network[1].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 1e-5]]))
        exact = network(images)
    off = exact + torch.tensor([TOLERANCE, -TOLERANCE]) / 2  # another label for the second
    assert off.argmax(1).tolist() != exact.argmax(1).tolist()
    found = settle(network, images, off.clone())
    assert torch.equal(found[1], exact[1].detach())
    assert torch.equal(found[[0, 2]], off[[0, 2]].detach())
    assert network.training


def test_many_photos_get_the_labels_that_they_get_one_by_one(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Path | str | bytes] = [b"none"] * 64 + sorted(photo_folder(test=140).rglob("*.jpg"))
    answers = Classifier(network_of("cifar_resnet20").eval(), tuple("abcd"), Preprocess(size=32, resize=36))
    quick = list(answers.predict_all(paths))
    monkeypatch.setattr(module, "WORTH_FOLDING", 10**9)
    exact = list(answers.predict_all(paths))
    assert [row.label for row in quick] == [row.label for row in exact]
    for a, b in zip(quick[64:], exact[64:], strict=True):
        assert list(a.probabilities.values()) == pytest.approx(list(b.probabilities.values()), abs=TOLERANCE)


def test_a_copy_that_disagrees_is_not_used(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(photo_folder(test=140).rglob("*.jpg"))
    answers = Classifier(network_of("cifar_resnet20").eval(), tuple("abcd"), Preprocess(size=32, resize=36))
    monkeypatch.setattr(module, "folded", lambda network: lambda images: network(images).detach() + 1)
    found = list(answers.predict_all(paths))
    monkeypatch.setattr(module, "folded", lambda network: None)
    assert found == list(answers.predict_all(paths))
