"""Many photos: the network's own labels in the order of the photos, whatever the engine makes of them."""

import copy
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from materials import network_of
from torch import Tensor, nn

from reslab import Classifier, Preprocess
from reslab.errors import ClassifierError
from reslab.evaluation.fast import parallel as many
from reslab.evaluation.fast.backends import Answer, Engine, candidates
from reslab.evaluation.fast.parallel import BATCH_SIZE

LOOK = Preprocess(size=32, resize=36)
Choose = Callable[[nn.Module, Answer, Tensor, bool], tuple[Tensor, Engine | None]]


def classifier_of(network: nn.Module) -> Classifier:
    return Classifier(network.eval(), tuple("abcd"), LOOK, device="cpu")


def first_of(network: nn.Module, exact: Answer, images: Tensor, rough: bool) -> tuple[Tensor, Engine | None]:
    """The first engine, whatever the stopwatch would say."""
    return exact(images), next(candidates(network, rough), None)


def pretending(answer: Answer) -> Choose:
    def choose(network: nn.Module, exact: Answer, *rest: object) -> tuple[Tensor, Engine]:
        return exact(*rest[:1]), Engine("pretender", answer, 1e-4)  # type: ignore[arg-type]

    return choose


@pytest.fixture
def photos(photo_folder: Callable[..., Path]) -> list[Path | str | bytes]:
    """With 40 that cannot be read before the others, and more among them."""
    paths = sorted(photo_folder(test=140).rglob("*.jpg"))
    mixed: list[Path | str | bytes] = [b"none"] * 40
    for number, path in enumerate(paths):
        mixed.append((path, str(path), path.read_bytes())[number % 3])
        mixed += [Path("missing.jpg")] * (number % 7 == 0)
    return mixed


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "MANY", 2)
    monkeypatch.setattr(many, "cores", lambda: 1)  # as far as the photos have to suffice


def one_by_one(classifier: Classifier, photos: list[Path | str | bytes]) -> list[tuple[str | None, bool]]:
    rows = [next(classifier.predict_all([photo])) for photo in photos]
    return [(row.label, row.error is None) for row in rows]


@pytest.mark.parametrize("scale", [1.0, 1e-3])  # the second: every photo is close to call
def test_many_photos_get_the_labels_that_they_get_one_by_one(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    network = network_of("cifar_resnet20")
    with torch.no_grad():
        network.get_submodule("fc").weight.mul_(scale)  # type: ignore[operator, union-attr]
    classifier = classifier_of(network)
    monkeypatch.setattr(many, "choose", first_of)
    found = list(classifier.predict_all(photos))
    expected = [next(classifier.predict_all([photo])) for photo in photos]
    assert [(row.label, row.error is None) for row in found] == [(e.label, e.error is None) for e in expected]
    assert [row.path for row in found if row.error is None] == [
        f"photo {i}" if isinstance(photo, bytes) else str(photo)
        for i, photo in enumerate(photos)
        if found[i].error is None
    ]
    for a, b in zip(found, expected, strict=True):
        assert list(a.probabilities.values()) == pytest.approx(list(b.probabilities.values()), abs=0.02)


def test_an_evaluation_stays_in_fp32(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier, asked = classifier_of(network_of("cifar_resnet20")), []

    def choose(
        network: nn.Module, exact: Answer, images: Tensor, rough: bool
    ) -> tuple[Tensor, Engine | None]:
        asked.append(rough)
        return first_of(network, exact, images, rough)

    monkeypatch.setattr(many, "choose", choose)
    folder = next(photo.parent.parent for photo in photos if isinstance(photo, Path) and photo.exists())
    renamed = Classifier(classifier.network, ("blue", "red", "c", "d"), LOOK, device="cpu")
    found = renamed.evaluate(folder)
    monkeypatch.setattr(many, "MANY", 10**9)
    exact = renamed.evaluate(folder)
    assert asked == [False]
    assert found.loss == pytest.approx(exact.loss, rel=1e-4)
    assert found.accuracy == exact.accuracy


def test_an_engine_that_goes_wrong_later_is_given_up_with_a_word(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of("cifar_resnet20").eval()
    classifier = classifier_of(network)

    def wrong(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.as_tensor(copy.deepcopy(network)(images)) + torch.tensor([9.0, 0, 0, 0])

    monkeypatch.setattr(many, "choose", pretending(wrong))
    with caplog.at_level(logging.WARNING, "reslab"):
        found = [(row.label, row.error is None) for row in classifier.predict_all(photos)]
    assert [record.getMessage() for record in caplog.records] == [
        "pretender failed or left its tolerance: the network itself goes on"
    ]
    assert found == one_by_one(classifier, photos)


def test_the_stopwatch_s_own_choice_gives_the_same_labels(photos: list[Path | str | bytes]) -> None:
    classifier = classifier_of(network_of("cifar_resnet20"))
    found = [(row.label, row.error is None) for row in classifier.predict_all(photos)]
    assert found == one_by_one(classifier, photos)


def test_no_readable_photo_and_no_photo_at_all() -> None:
    classifier = classifier_of(network_of("cifar_resnet20"))
    assert all(row.error for row in classifier.predict_all([b"none"] * (2 * BATCH_SIZE)))
    assert list(classifier.predict_all([])) == []


def test_a_network_that_has_diverged_says_so(photos: list[Path | str | bytes]) -> None:
    network = network_of("cifar_resnet20")
    network.get_submodule("fc").bias.data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(ClassifierError, match="not finite"):
        list(classifier_of(network).predict_all(photos))


def test_stopped_half_way_no_thread_stays_and_torch_computes_with_as_many_as_before(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "choose", first_of)
    classifier = classifier_of(network_of("cifar_resnet20"))
    before, threads = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(3)
    try:
        rows = classifier.logits(photos, rough=True)
        for _ in range(60):
            next(rows)
        assert torch.get_num_threads() == 3
        rows.close()  # type: ignore[attr-defined]
        seen: list[int] = []
        another = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        another.start()
        another.join()
        assert (torch.get_num_threads(), seen) == (3, [3])
        assert threading.active_count() == threads
    finally:
        torch.set_num_threads(before)


def test_an_engine_that_fails_later_is_given_up_and_no_answer_is_lost(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network, calls = network_of("cifar_resnet20").eval(), []
    classifier = classifier_of(network)

    def failing(images: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) > 3:
            raise ZeroDivisionError
        with torch.no_grad():
            return torch.as_tensor(copy.deepcopy(network)(images))

    monkeypatch.setattr(many, "choose", pretending(failing))
    with caplog.at_level(logging.WARNING, "reslab"):
        found = [(row.label, row.error is None) for row in classifier.predict_all(photos)]
    assert [record.getMessage() for record in caplog.records] == [
        "pretender failed or left its tolerance: the network itself goes on"
    ]
    assert found == one_by_one(classifier, photos)


def test_larger_pictures_are_computed_fewer_at_once(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.evaluation.inference.LARGE", 16)  # 32 pixels are twice that
    network, sizes = network_of("cifar_resnet20").eval(), []

    def noting(images: Tensor) -> Tensor:
        sizes.append(len(images))
        with torch.no_grad():
            return torch.as_tensor(network(images))

    monkeypatch.setattr(many, "choose", pretending(noting))
    classifier = classifier_of(network)
    labels = [row.label for row in classifier.predict_all(photos)]
    assert max(sizes) == BATCH_SIZE // 4
    sizes.clear()
    network.register_forward_hook(lambda module, images, logits: sizes.append(len(logits)))
    monkeypatch.setattr(many, "MANY", 10**9)
    assert [row.label for row in classifier.predict_all(photos)] == labels
    assert 8 < max(sizes) <= 64 // 4
