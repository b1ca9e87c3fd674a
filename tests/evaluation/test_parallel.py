"""Parallel prediction: the labels of the network, in order, with any backend."""

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
from reslab.evaluation.fast import parallel
from reslab.evaluation.fast.backends import Backend, Predict, available_backends
from reslab.evaluation.fast.parallel import BATCH_SIZE

PREPROCESS = Preprocess(size=32, resize=36)
Choose = Callable[[nn.Module, Predict, Tensor, bool], tuple[Tensor, Backend | None]]


def classifier_of(network: nn.Module) -> Classifier:
    return Classifier(network.eval(), tuple("abcd"), PREPROCESS, device="cpu")


def choose_first(
    network: nn.Module, exact: Predict, images: Tensor, approximate: bool
) -> tuple[Tensor, Backend | None]:
    """Choose the first backend, without timing."""
    return exact(images), next(available_backends(network, approximate), None)


def pretending(predict: Predict) -> Choose:
    def choose(network: nn.Module, exact: Predict, *rest: object) -> tuple[Tensor, Backend]:
        return exact(*rest[:1]), Backend("pretender", predict, 1e-4)  # type: ignore[arg-type]

    return choose


@pytest.fixture
def photos(photo_folder: Callable[..., Path]) -> list[Path | str | bytes]:
    """40 photos that cannot be read, then 80 good ones with missing files in between."""
    paths = sorted(photo_folder(test=80).rglob("*.jpg"))
    mixed: list[Path | str | bytes] = [b"none"] * 40
    for number, path in enumerate(paths):
        mixed.append((path, str(path), path.read_bytes())[number % 3])
        mixed += [Path("missing.jpg")] * (number % 7 == 0)
    return mixed


@pytest.fixture(autouse=True)
def predict_few_photos_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "MIN_PHOTOS_FOR_BACKEND_CHOICE", 2)
    monkeypatch.setattr(parallel, "cores", lambda: 1)


def one_by_one(classifier: Classifier, photos: list[Path | str | bytes]) -> list[tuple[str | None, bool]]:
    rows = [next(classifier.predict_all([photo])) for photo in photos]
    return [(row.label, row.error is None) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.0, 1e-3])  # the second makes every photo ambiguous
def test_many_photos_get_the_same_labels_as_one_by_one(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    network = network_of("cifar_resnet20")
    with torch.no_grad():
        network.get_submodule("fc").weight.mul_(scale)  # type: ignore[operator, union-attr]
    classifier = classifier_of(network)
    monkeypatch.setattr(parallel, "choose_backend", choose_first)
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
        network: nn.Module, exact: Predict, images: Tensor, approximate: bool
    ) -> tuple[Tensor, Backend | None]:
        asked.append(approximate)
        return choose_first(network, exact, images, approximate)

    monkeypatch.setattr(parallel, "choose_backend", choose)
    folder = next(photo.parent.parent for photo in photos if isinstance(photo, Path) and photo.exists())
    renamed = Classifier(classifier.network, ("blue", "red", "c", "d"), PREPROCESS, device="cpu")
    found = renamed.evaluate(folder)
    monkeypatch.setattr(parallel, "MIN_PHOTOS_FOR_BACKEND_CHOICE", 10**9)
    exact = renamed.evaluate(folder)
    assert asked == [False]
    assert found.loss == pytest.approx(exact.loss, rel=1e-4)
    assert found.accuracy == exact.accuracy


@pytest.mark.slow
def test_a_backend_that_goes_wrong_later_is_dropped_with_a_warning(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = network_of("cifar_resnet20").eval()
    classifier = classifier_of(network)

    def wrong(images: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.as_tensor(copy.deepcopy(network)(images)) + torch.tensor([9.0, 0, 0, 0])

    monkeypatch.setattr(parallel, "choose_backend", pretending(wrong))
    with caplog.at_level(logging.WARNING, "reslab"):
        found = [(row.label, row.error is None) for row in classifier.predict_all(photos)]
    assert [record.getMessage() for record in caplog.records] == [
        "pretender failed or left its tolerance: continuing with the network"
    ]
    assert found == one_by_one(classifier, photos)


@pytest.mark.slow
def test_the_chosen_backend_gives_the_same_labels(photos: list[Path | str | bytes]) -> None:
    classifier = classifier_of(network_of("cifar_resnet20"))
    found = [(row.label, row.error is None) for row in classifier.predict_all(photos)]
    assert found == one_by_one(classifier, photos)


def test_unreadable_photos_and_no_photos() -> None:
    classifier = classifier_of(network_of("cifar_resnet20"))
    assert all(row.error for row in classifier.predict_all([b"none"] * (2 * BATCH_SIZE)))
    assert list(classifier.predict_all([])) == []


def test_logits_that_are_not_finite_raise(photos: list[Path | str | bytes]) -> None:
    network = network_of("cifar_resnet20")
    network.get_submodule("fc").bias.data.fill_(torch.nan)  # type: ignore[union-attr]
    with pytest.raises(ClassifierError, match="not finite"):
        list(classifier_of(network).predict_all(photos))


def test_stopping_early_ends_all_threads_and_restores_their_number(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "choose_backend", choose_first)
    classifier = classifier_of(network_of("cifar_resnet20"))
    before, threads = torch.get_num_threads(), threading.active_count()
    torch.set_num_threads(3)
    try:
        rows = classifier.logits(photos, approximate=True)
        for _ in range(60):
            next(rows)
        assert torch.get_num_threads() == 3
        rows.close()  # type: ignore[attr-defined]
        of_new_thread: list[int] = []
        other = threading.Thread(target=lambda: of_new_thread.append(torch.get_num_threads()))
        other.start()
        other.join()
        assert (torch.get_num_threads(), of_new_thread) == (3, [3])
        assert threading.active_count() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_a_backend_that_fails_later_is_dropped_and_no_prediction_is_lost(
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

    monkeypatch.setattr(parallel, "choose_backend", pretending(failing))
    with caplog.at_level(logging.WARNING, "reslab"):
        found = [(row.label, row.error is None) for row in classifier.predict_all(photos)]
    assert [record.getMessage() for record in caplog.records] == [
        "pretender failed or left its tolerance: continuing with the network"
    ]
    assert found == one_by_one(classifier, photos)


def test_larger_images_are_predicted_in_smaller_batches(
    photos: list[Path | str | bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reslab.evaluation.inference.FULL_BATCH_IMAGE_SIZE", 16)  # the images have 32 pixels
    network, sizes = network_of("cifar_resnet20").eval(), []

    def noting(images: Tensor) -> Tensor:
        sizes.append(len(images))
        with torch.no_grad():
            return torch.as_tensor(network(images))

    monkeypatch.setattr(parallel, "choose_backend", pretending(noting))
    classifier = classifier_of(network)
    labels = [row.label for row in classifier.predict_all(photos)]
    assert max(sizes) == BATCH_SIZE // 4
    sizes.clear()
    network.register_forward_hook(lambda module, images, logits: sizes.append(len(logits)))
    monkeypatch.setattr(parallel, "MIN_PHOTOS_FOR_BACKEND_CHOICE", 10**9)
    assert [row.label for row in classifier.predict_all(photos)] == labels
    assert 8 < max(sizes) <= 64 // 4
