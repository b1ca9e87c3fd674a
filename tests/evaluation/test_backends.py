"""Quicker engines: within their tolerance of the network, and what is not is not used."""

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from materials import network_of
from torch import Tensor, nn
from torch.nn import functional

from reslab.evaluation.fast import backends as engines
from reslab.evaluation.fast.backends import BF16_TOLERANCE, FP32_TOLERANCE, Engine, candidates, choose

# without AVX-512 a processor has none
ROUGH = [BF16_TOLERANCE] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else []


def exact(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(network).eval()(images)
    return logits


@pytest.mark.parametrize(
    ("name", "in_channels"),
    [("resnet18", 3), ("cifar_resnet20", 3), ("textbook_resnet18", 1), ("torchvision:resnext50_32x4d", 3)],
)
def test_every_engine_agrees_and_the_network_stays_as_it_was(name: str, in_channels: int) -> None:
    network, images = network_of(name, in_channels), torch.randn(5, in_channels, 32, 32)
    before, expected = copy.deepcopy(network.state_dict()), exact(network, images)
    *rough, fine = candidates(network, rough=True)
    assert [engine.tolerance for engine in rough] == ROUGH
    assert fine.tolerance == FP32_TOLERANCE
    assert fine.agrees(fine.answer(images), expected)
    for engine in rough:
        assert engine.agrees(engine.answer(images), expected)
        assert not fine.agrees(engine.answer(images), expected)  # bf16 is no fp32
    assert [engine.name for engine in candidates(network, rough=False)] == [fine.name]
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())


class Forking(nn.Module):
    """Goes another way for bright images, which no fixed graph can."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) if x.mean() > 0 else -x.mean((2, 3))


def test_what_cannot_be_folded_or_has_hooks_is_left_alone() -> None:
    assert list(candidates(Forking(), rough=True)) == []
    network = network_of("cifar_resnet20")
    network.get_submodule("layer1").register_forward_hook(lambda *_: None)
    assert list(candidates(network, rough=True)) == []


@pytest.mark.parametrize("padding", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_an_unusual_convolution_is_computed_right_or_refused(padding: dict[str, object]) -> None:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, **padding), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))  # type: ignore[arg-type]
    network, images = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 4)).eval(), torch.randn(16, 3, 16, 16)
    expected, engine = choose(network, lambda x: exact(network, x), images, rough=True)
    assert torch.equal(expected, exact(network, images))
    assert engine is None or engine.agrees(engine.answer(images), expected)


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
    """A convolution in the middle, and what is done with it."""

    def __init__(self, way: Callable[[nn.Conv2d, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.conv, self.fc = (
            nn.Conv2d(3, 16, 1),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Linear(16, 4),
        )
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        x = self.way(self.conv, self.first(x))
        return self.fc(x.mean((2, 3)))


LEFT_ALONE = (overwritten, broadcast)  # no single operation does it


@pytest.mark.parametrize("way", [doubled, shifted, weighed, twice, kept, overwritten, broadcast])
def test_whatever_follows_a_convolution_is_computed_right_or_refused(
    way: Callable[[nn.Conv2d, Tensor], Tensor],
) -> None:
    torch.manual_seed(0)
    network, images = Odd(way).eval(), torch.randn(16, 3, 16, 16)
    expected, engine = choose(network, lambda x: exact(network, x), images, rough=False)
    assert torch.equal(expected, exact(network, images))
    assert engine is None or engine.agrees(engine.answer(images), expected)
    right = [each for each in candidates(network, rough=True) if _answers(each, images, expected)]
    assert len(right) == 1 + len(ROUGH) or way in LEFT_ALONE


def _answers(engine: Engine, images: Tensor, expected: Tensor) -> bool:
    with suppress(RuntimeError):
        return engine.agrees(engine.answer(images), expected)
    return False


class Overwriting(nn.Module):
    """Begins by writing into the images that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x.mul_(-2)).mean((2, 3)))


def test_a_network_that_overwrites_its_images_spoils_nobody_elses() -> None:
    torch.manual_seed(0)
    network = Overwriting().eval()
    images = torch.randn(16, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    given, expected = images.clone(), exact(network, images.clone())
    for rough in (False, True):
        own, engine = choose(network, lambda x: exact(network, x), images, rough=rough)
        assert torch.equal(own, expected)
        assert torch.equal(images, given)
        assert engine is None or engine.agrees(engine.answer(images.clone()), expected)


def test_no_engine_is_made_while_the_network_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    network, images = network_of("cifar_resnet20"), torch.randn(16, 3, 32, 32)
    computing, made = threading.Event(), list[bool]()

    def slow(images: Tensor) -> Tensor:
        computing.set()
        time.sleep(0.3)
        logits = exact(network, images)
        computing.clear()
        return logits

    def watched(network: nn.Module, rough: bool) -> Iterator[Engine]:
        time.sleep(0.1)  # in which it would begin
        made.append(computing.is_set())
        yield Engine("fails", raising, FP32_TOLERANCE)
        made.append(computing.is_set())
        yield from candidates(network, rough)

    monkeypatch.setattr(engines, "candidates", watched)
    own, _ = choose(network, slow, images, rough=False)
    assert made == [False, False]
    assert torch.equal(own, exact(network, images))


logit = st.floats(-50, 50, width=32)


@given(
    st.lists(st.lists(logit, min_size=3, max_size=3), min_size=1, max_size=8),
    st.floats(0, 0.999),
    st.sampled_from([1e-4, 2e-2]),
    st.randoms(use_true_random=False),
)
def test_where_an_engine_within_its_tolerance_names_another_label_the_photo_is_close(
    rows: list[list[float]], share: float, tolerance: float, random: object
) -> None:
    expected = torch.tensor(rows, dtype=torch.float64)
    engine = Engine("", lambda images: images, tolerance, size=max(1.0, float(expected[0].abs().max())))
    seed = random.getrandbits(32)  # type: ignore[attr-defined]
    signs = torch.randint(0, 2, expected.shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    # what is allowed grows with the larger of the two logits, and the engine has to know by its own
    off = share * tolerance * expected.abs().amax(1, keepdim=True).clamp(min=engine.size) / (1 + tolerance)
    found = expected + signs * off
    assert engine.agrees(found, expected)
    other = found.argmax(1) != expected.argmax(1)
    assert engine.close(found)[other].all()


def test_what_is_far_apart_is_not_close_and_what_is_no_number_is() -> None:
    engine = Engine("", lambda images: images, 0.01, size=10.0)
    assert engine.close(torch.tensor([[0.0, 0.3], [0.0, 0.1], [40.0, 39.5], [torch.nan, 1.0]])).tolist() == [
        False, True, True, True
    ]  # fmt: skip
    assert not engine.close(torch.tensor([[1.0], [torch.nan]])).any()  # one class: no other label


def raising(images: Tensor) -> Tensor:
    raise RuntimeError("no kernel")


def test_an_engine_that_disagrees_or_fails_is_not_chosen_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, images = network_of("resnet18"), torch.randn(16, 3, 64, 64)
    expected = exact(network, images)
    size = float(expected.abs().max())
    jolted = expected.clone()
    jolted[3, 1] += 0.9 * BF16_TOLERANCE * max(1, size)  # one large error is rounding, if most are small
    honest = Engine("honest", lambda images: jolted, BF16_TOLERANCE)

    def cheats(network: nn.Module, rough: bool) -> Iterator[Engine]:
        for name, answer in {
            "another": lambda images: expected + BF16_TOLERANCE * 1.01 * max(1, size),
            "all of it": lambda images: expected + BF16_TOLERANCE * 0.9 * max(1, size),
            "no number": lambda images: expected * torch.nan,
            "shape": lambda images: expected[:, :2],
            "fails": raising,
        }.items():
            yield Engine(name, answer, BF16_TOLERANCE)
        yield honest

    monkeypatch.setattr(engines, "candidates", cheats)
    with caplog.at_level(logging.INFO, "reslab"):
        own, chosen = choose(network, lambda x: exact(network, x), images, rough=True)
    assert torch.equal(own, expected)
    assert chosen is not None
    assert (chosen.name, chosen.size) == ("honest", pytest.approx(max(1, size)))
    assert [record.getMessage().split(" is not")[0].split(" cannot")[0] for record in caplog.records] == [
        "another", "all of it", "no number", "shape", "fails"
    ]  # fmt: skip


def test_while_other_threads_may_compute_no_network_is_traced() -> None:
    """torch changes nn.Module for every thread meanwhile."""
    network, found = network_of("cifar_resnet20"), []
    beside = threading.Thread(target=lambda: found.append(list(candidates(network, rough=True))))
    beside.start()
    beside.join()
    assert found == [[]]
    assert list(candidates(network, rough=True))
