"""Labels to look at: flipped labels come first, and a photo is never judged by a model that knows it."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials import make_photo, network_of
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from reslab import Classifier, PhotosError
from reslab.explanation.label_ranking import (
    FOLDS,
    INVERSE_REGULARIZATION,
    _deal,
    out_of_fold_probabilities,
    rank_labels,
    rank_photo_labels,
)
from reslab.photos.loading.preprocess import Preprocess

Refuses = Callable[..., AbstractContextManager[None]]


def blobs(classes: int, each: int, spread: float = 0.4) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    centers = rng.normal(size=(classes, 6))
    return (centers[labels] + rng.normal(size=(len(labels), 6)) * spread).astype(np.float32), labels


def tiny_classifier() -> Classifier:
    return Classifier(network_of("cifar_resnet20"), tuple("abcd"), Preprocess(size=16, resize=16))


@pytest.mark.parametrize("classes", [2, 10])
def test_flipped_labels_come_first(classes: int) -> None:
    features, truth = blobs(classes, 400 // classes)
    labels, flipped = truth.copy(), np.arange(0, 400, 50)
    labels[flipped] = (labels[flipped] + 1) % classes
    first = np.argsort(rank_labels(features, labels))[: 2 * len(flipped)]
    assert np.isin(flipped, first).mean() >= 0.8
    probabilities = out_of_fold_probabilities(features, labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities.argmax(axis=1)[flipped] == truth[flipped]).mean() >= 0.8


def test_scikit_learn_agrees_on_each_fold() -> None:
    features, labels = blobs(3, 40)
    probabilities = out_of_fold_probabilities(features, labels, 7)
    folds = _deal(labels, np.arange(len(labels)), 7)
    for fold in range(FOLDS):
        train, held_out = folds != fold, folds == fold
        scaler = StandardScaler().fit(features[train].astype(np.float64))
        model = LogisticRegression(C=INVERSE_REGULARIZATION, max_iter=200)
        model.fit(scaler.transform(features[train]), labels[train])
        expected = model.predict_proba(scaler.transform(features[held_out]))
        np.testing.assert_allclose(probabilities[held_out], expected, rtol=1e-5)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60), st.integers(0, 9), st.data())
def test_folds_are_stratified_and_keep_equal_files_together(
    classes: list[int], seed: int, data: st.DataObject
) -> None:
    labels = np.array(classes)
    contents = np.array(data.draw(st.lists(st.integers(0, 40), min_size=len(labels), max_size=len(labels))))
    folds = _deal(labels, contents, seed)
    for content in np.unique(contents):
        assert len(set(folds[contents == content].tolist())) == 1
    different = _deal(labels, np.arange(len(labels)), seed)
    for label in np.unique(labels):
        sizes = np.bincount(different[labels == label], minlength=FOLDS)
        assert sizes.max() - sizes.min() <= 1
    assert (different == _deal(labels, np.arange(len(labels)), seed)).all()


def test_photos_that_cannot_be_judged_are_nan() -> None:
    """Unread photos, and the only photo of a class."""
    features, labels = blobs(3, 20)
    features, labels = features[:41], labels[:41]  # one photo of the third class
    features[5] = np.nan
    ranked = rank_labels(features, labels)
    assert np.flatnonzero(np.isnan(ranked)).tolist() == [5, 40]
    assert np.isnan(rank_labels(features[:20], labels[:20])).all()  # one class
    assert np.isnan(rank_labels(np.empty((4, 0), np.float32), labels[:4])).all()
    assert rank_labels(features[:0], labels[:0]).shape == (0,)
    grey = np.zeros((20, 6), np.float32)
    np.testing.assert_allclose(rank_labels(grey, np.arange(20) % 2), 0.5, atol=0.01)


def test_equal_files_in_two_classes_do_not_judge_each_other() -> None:
    features, labels = blobs(2, 30, spread=3.0)
    features[30:40] = features[:10]  # ten files are in both classes
    contents = np.concatenate([np.arange(30), np.arange(10), np.arange(40, 60)])
    probabilities = out_of_fold_probabilities(features, labels, contents=contents)
    np.testing.assert_allclose(probabilities[:10], probabilities[30:40])


def test_a_folder_is_ranked(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for label, color in (("red, or so", (220, 40, 40)), ('"blue"', (40, 40, 220))):
        for i in range(20):
            make_photo(folder / label / f"{i:02}.jpg", i + color[0], color)
    wrong = folder / "red, or so" / "wrong\n.jpg"
    shutil.move(folder / '"blue"' / "00.jpg", wrong)
    (folder / '"blue"' / "bad.jpg").write_bytes(b"not a photo")
    ranking = rank_photo_labels(tiny_classifier(), folder)
    first = ranking.labels[0]
    assert (first.path, first.label, first.suggested) == ("red, or so/wrong\n.jpg", "red, or so", '"blue"')
    assert ranking.doubtful == (first,)
    assert (len(ranking.labels), ranking.skipped, ranking.is_weak) == (40, 1, False)
    assert "1 of 40 photos resemble another class; 1 cannot be judged" in str(ranking)
    assert "red, or so/wrong\\n.jpg" in str(ranking)
    assert [row["path"] for row in ranking.as_json()] == [first.path]
    ranking.write(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == [ranked.path for ranked in ranking.labels]
    assert float(rows[0]["probability"]) == first.probability
    assert rank_photo_labels(tiny_classifier(), folder) == ranking


def test_a_network_that_cannot_tell_the_classes_apart_is_named(tmp_path: Path) -> None:
    for i in range(24):
        make_photo(tmp_path / "photos" / "ab"[i % 2] / f"{i}.jpg", i, (90, 90, 90))
    ranking = rank_photo_labels(tiny_classifier(), tmp_path / "photos")
    assert ranking.is_weak
    assert "this ranking says little" in str(ranking)


def test_folders_that_cannot_be_ranked_are_refused(tmp_path: Path, refuses: Refuses) -> None:
    make_photo(tmp_path / "one/cat/1.jpg", 1, (9, 9, 9))
    with refuses(PhotosError, "only one class: cat"):
        rank_photo_labels(tiny_classifier(), tmp_path / "one")
    make_photo(tmp_path / "one/dog/1.jpg", 2, (9, 9, 9))
    with refuses(PhotosError, "cannot be ranked"):
        rank_photo_labels(tiny_classifier(), tmp_path / "one")
