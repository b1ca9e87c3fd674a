"""evaluate_corrupted: the accuracy that a classifier has on each corrupted photo, each photo read once."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reslab import Classifier, Preprocess
from reslab.errors import ClassifierError, PhotosError, UsageError
from reslab.evaluation import robustness
from reslab.evaluation.corruptions import CORRUPTIONS, corrupt
from reslab.evaluation.intervals import accuracy_interval
from reslab.evaluation.robustness import Robustness, evaluate_corrupted
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD

SIZE = 32


class Warmth(nn.Module):
    """Calls an image red if its red is stronger than its blue by a margin, which noise can hide."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, images: Tensor) -> Tensor:
        warmth = (images[:, 0] - images[:, -1]).abs().mean((1, 2)) - 1.6
        return self.dropout(torch.stack([-warmth, warmth], 1))  # (N, 2)


def classifier(channels: int = 3) -> Classifier:
    grey = {"channels": 1, "mean": GREY_MEAN, "std": GREY_STD} if channels == 1 else {}
    return Classifier(Warmth().train(), ("blue", "red"), Preprocess(size=SIZE, resize=36, **grey))


@pytest.mark.slow
def test_every_accuracy_is_that_of_the_corrupted_photos(photo_folder: Callable[..., Path]) -> None:
    subject, photos = classifier(), photo_folder(test=21)
    found = evaluate_corrupted(subject, photos, (5, 2, 2), progress=False)
    assert subject.network.training
    assert (found.photos, found.unread, found.severities) == (21, 0, (2, 5))
    clean = subject.evaluate(photos)
    assert found.accuracy == pytest.approx(clean.accuracy)
    images = torch.stack(
        [subject.preprocess.evaluation(subject.preprocess.read(clean.rows.file(i))) for i in range(21)]
    )
    network = Warmth().eval()
    for figures in found.corrupted:
        pixels = corrupt(images, figures.corruption, figures.severity)
        predicted = network(subject.preprocess.normalize(pixels)).argmax(1).numpy()
        correct = int((predicted == clean.rows.labels).sum())
        assert figures.accuracy == pytest.approx(correct / 21)
        assert (figures.low, figures.high) == pytest.approx(accuracy_interval(correct, 21))
        assert figures.fall == pytest.approx(clean.accuracy - correct / 21)
    assert [(c.corruption, c.severity) for c in found.corrupted] == [
        (n, s) for n in CORRUPTIONS for s in (2, 5)
    ]
    assert found.worst.accuracy == min(c.accuracy for c in found.corrupted)
    assert found.mean == pytest.approx(np.mean([c.accuracy for c in found.corrupted]))
    assert len({c.accuracy for c in found.corrupted}) > 3  # else this test would show little


@pytest.mark.slow
def test_cores_and_batches_change_nothing_and_each_photo_is_read_once(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, read, original = photo_folder(test=12), list[object](), robustness.read_photo
    monkeypatch.setattr(robustness, "read_photo", lambda *args: read.append(args[0]) or original(*args))
    found = evaluate_corrupted(classifier(), photos, progress=False)
    assert len(read) == len(set(read)) == 12
    monkeypatch.setattr(robustness, "BATCH_SIZE", 1)
    monkeypatch.setattr("reslab.parallel.cores", lambda: 1)
    assert evaluate_corrupted(classifier(), photos, progress=False) == found


def test_text_and_json_show_the_same_figures(photo_folder: Callable[..., Path]) -> None:
    found = evaluate_corrupted(classifier(), photo_folder(test=4), progress=False)
    content = found.as_json()
    assert content["worst"] == vars(found.worst)
    assert len(content["corrupted"]) == len(CORRUPTIONS) == 15
    lines = found.table().splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(CORRUPTIONS)
    for line, figures in zip(lines[2:], content["corrupted"], strict=True):
        assert line.split()[1:] == [f"{figures['accuracy']:.3f}", f"{-figures['fall']:+.3f}"]
    assert str(found).startswith(f"worst: {found.worst.corruption} at severity 3, accuracy")


def test_a_grey_classifier_and_an_unreadable_photo(photo_folder: Callable[..., Path]) -> None:
    photos = photo_folder(test=4)
    (photos / "test/red/broken.jpg").write_bytes(b"no photo")
    found = evaluate_corrupted(classifier(channels=1), photos, progress=False)
    assert isinstance(found, Robustness)
    assert (found.photos, found.unread) == (4, 1)


def test_what_cannot_be_measured_is_refused(photo_folder: Callable[..., Path]) -> None:
    photos = photo_folder(test=2)
    for severities in ((), (0,), (3, 6)):
        with pytest.raises(UsageError, match="severities"):
            evaluate_corrupted(classifier(), photos, severities, progress=False)
    other = Classifier(Warmth(), ("blue", "red", "green"), Preprocess(size=SIZE, resize=36))
    with pytest.raises(ClassifierError, match="2,"):
        evaluate_corrupted(other, photos, progress=False)
    for photo in photos.glob("test/*/*.jpg"):
        photo.write_bytes(b"no photo")
    with pytest.raises(PhotosError, match="none of 2 photos"):
        evaluate_corrupted(classifier(), photos, progress=False)
