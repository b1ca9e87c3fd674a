"""Prediction backends: only those within their tolerance of the network are used."""

import copy
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from materials import network_of
from torch import Tensor, nn
from torch.nn import functional

from reslab.evaluation.fast import backends
from reslab.evaluation.fast.backends import (
    BF16_TOLERANCE,
    FP32_TOLERANCE,
    Backend,
    available_backends,
    choose_backend,
)

# a processor without AVX-512 has no bf16
BF16 = [BF16_TOLERANCE] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else []


def exact(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(network).eval()(images)
    return logits


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "in_channels"),
    [("resnet18", 3), ("cifar_resnet20", 3), ("textbook_resnet18", 1), ("torchvision:resnext50_32x4d", 3)],
)
def test_every_backend_agrees_and_the_network_is_unchanged(name: str, in_channels: int) -> None:
    network, images = network_of(name, in_channels), torch.randn(5, in_channels, 32, 32)
    before, expected = copy.deepcopy(network.state_dict()), exact(network, images)
    *bf16, fp32 = available_backends(network, approximate=True)
    assert [backend.tolerance for backend in bf16] == BF16
    assert fp32.tolerance == FP32_TOLERANCE
    assert fp32.agrees(fp32.predict(images), expected)
    for backend in bf16:
        assert backend.agrees(backend.predict(images), expected)
        assert not fp32.agrees(backend.predict(images), expected)
    assert [backend.name for backend in available_backends(network, approximate=False)] == [fp32.name]
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class Forking(nn.Module):
    """Branches on its input, which torch.fx cannot trace."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.mean() > 0 else -x.mean((2, 3))


def test_networks_with_hooks_or_branches_have_no_backend() -> None:
    assert list(available_backends(Forking(), approximate=True)) == []
    network = network_of("cifar_resnet20")
    network.get_submodule("layer1").register_forward_hook(lambda *_: None)
    assert list(available_backends(network, approximate=True)) == []


@pytest.mark.parametrize("padding", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_unusual_padding_is_computed_correctly_or_refused(padding: dict[str, object]) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, **padding), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))  # type: ignore[arg-type]
    network, images = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4)).eval(), torch.randn(16, 3, 16, 16)
    expected, backend = choose_backend(network, lambda x: exact(network, x), images, approximate=True)
    assert torch.equal(expected, exact(network, images))
    assert backend is None or backend.agrees(backend.predict(images), expected)


def doubled(conv: nn.Conv2d, x: Tensor) -> Tensor:
    y = conv(x)
    return torch.relu(y + y)


def shifted(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return functional.relu(conv(x) + 1.0, inplace=True)


def weighed(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return torch.add(conv(x), x, alpha=2)


def twice(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return conv(torch.relu(conv(x))) + x


def kept(conv: nn.Conv2d, x: Tensor) -> Tensor:
    y = conv(x)
    return torch.relu(y) - y


def overwritten(conv: nn.Conv2d, x: Tensor) -> Tensor:
    y = conv(x)
    return y + functional.relu(x, inplace=True)


def broadcast(conv: nn.Conv2d, x: Tensor) -> Tensor:
    return conv(x) + x.mean((2, 3), keepdim=True)


class Odd(nn.Module):
    """A convolution in the middle, followed by `then`."""

    def __init__(self, then: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.conv, self.fc = (
            nn.Conv2d(3, 16, 1),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Linear(16, 4),
        )
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        x = self.then(self.conv, self.first(x))
        return self.fc(x.mean((2, 3)))


NOT_FUSED = (overwritten, broadcast)


@pytest.mark.parametrize("then", [doubled, shifted, weighed, twice, kept, overwritten, broadcast])
def test_operations_after_a_convolution_are_computed_correctly_or_refused(
    then: Callable[[nn.Conv2d, Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    network, images = Odd(then).eval(), torch.randn(16, 3, 16, 16)
    expected, backend = choose_backend(network, lambda x: exact(network, x), images, approximate=False)
    assert torch.equal(expected, exact(network, images))
    assert backend is None or backend.agrees(backend.predict(images), expected)
    correct = [b for b in available_backends(network, approximate=True) if _is_correct(b, images, expected)]
    assert len(correct) == 1 + len(BF16) or then in NOT_FUSED


def _is_correct(backend: Backend, images: Tensor, expected: Tensor) -> bool:
    with suppress(RuntimeError):
        return backend.agrees(backend.predict(images), expected)
    return False


class Overwriting(nn.Module):
    """Writes into its input."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x.mul_(-2)).mean((2, 3)))


def test_a_network_that_writes_into_its_input_does_not_change_the_images() -> None:
    torch.manual_seed(0)
    network = Overwriting().eval()
    images = torch.randn(16, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    given, expected = images.clone(), exact(network, images.clone())
    for approximate in (False, True):
        own, backend = choose_backend(network, lambda x: exact(network, x), images, approximate)
        assert torch.equal(own, expected)
        assert torch.equal(images, given)
        assert backend is None or backend.agrees(backend.predict(images.clone()), expected)


logit = st.floats(-50, 50, width=32)


@given(
    st.lists(st.lists(logit, min_size=3, max_size=3), min_size=1, max_size=8),
    st.floats(0, 0.999),
    st.sampled_from([1e-4, 2e-2]),
    st.randoms(use_true_random=False),
)
def test_a_photo_is_ambiguous_if_the_tolerance_allows_another_label(
    rows: list[list[float]], share: float, tolerance: float, random: object
) -> None:
    expected = torch.tensor(rows, dtype=torch.float64)
    backend = Backend("", lambda images: images, tolerance, scale=max(1.0, float(expected[0].abs().max())))
    seed = random.getrandbits(32)  # type: ignore[attr-defined]
    signs = torch.randint(0, 2, expected.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    # the tolerance is relative to the exact logits, and the backend only knows its own
    off = share * tolerance * expected.abs().amax(1, keepdim=True).clamp(min=backend.scale) / (1 + tolerance)
    found = expected + signs * off
    assert backend.agrees(found, expected)
    other = found.argmax(1) != expected.argmax(1)
    assert backend.is_ambiguous(found)[other].all()


def test_close_logits_and_nan_are_ambiguous() -> None:
    backend = Backend("", lambda images: images, 0.01, scale=10.0)
    logits = torch.tensor([[0.0, 0.3], [0.0, 0.1], [40.0, 39.5], [torch.nan, 1.0]])
    assert backend.is_ambiguous(logits).tolist() == [False, True, True, True]
    assert not backend.is_ambiguous(torch.tensor([[1.0], [torch.nan]])).any()  # one class


def raising(images: Tensor) -> Tensor:
    raise RuntimeError("no kernel")


def test_a_backend_that_disagrees_or_fails_is_logged_and_not_chosen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, images = network_of("resnet18"), torch.randn(16, 3, 64, 64)
    expected = exact(network, images)
    size = float(expected.abs().max())
    jolted = expected.clone()
    jolted[3, 1] += 0.9 * BF16_TOLERANCE * max(1, size)  # one large error among small ones is accepted
    honest = Backend("honest", lambda images: jolted, BF16_TOLERANCE)

    def cheats(network: nn.Module, approximate: bool) -> Iterator[Backend]:
        for name, predict in {
            "another": lambda images: expected + BF16_TOLERANCE * 1.01 * max(1, size),
            "all of it": lambda images: expected + BF16_TOLERANCE * 0.9 * max(1, size),
            "no number": lambda images: expected * torch.nan,
            "shape": lambda images: expected[:, :2],
            "fails": raising,
        }.items():
            yield Backend(name, predict, BF16_TOLERANCE)
        yield honest

    monkeypatch.setattr(backends, "available_backends", cheats)
    with caplog.at_level(logging.INFO, "reslab"):
        own, chosen = choose_backend(network, lambda x: exact(network, x), images, approximate=True)
    assert torch.equal(own, expected)
    assert chosen is not None
    assert (chosen.name, chosen.scale) == ("honest", pytest.approx(max(1, size)))
    assert [record.getMessage().split(" is not")[0].split(" cannot")[0] for record in caplog.records] == [
        "another", "all of it", "no number", "shape", "fails"
    ]  # fmt: skip


def test_networks_are_traced_in_the_main_thread_only() -> None:
    """torch.fx patches nn.Module for all threads while it traces."""
    network, found = network_of("cifar_resnet20"), []
    other = threading.Thread(target=lambda: found.append(list(available_backends(network, approximate=True))))
    other.start()
    other.join()
    assert found == [[]]
    assert list(available_backends(network, approximate=True))
