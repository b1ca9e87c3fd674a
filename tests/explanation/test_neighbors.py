"""Nearest photos: the same as scikit-learn's, with equal ones in the order of their indices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from reslab.explanation import neighbors
from reslab.explanation.neighbors import count_of_own_class, nearest


@pytest.mark.parametrize("block", [2**22, 250])
def test_scikit_learn_agrees(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "MAX_BLOCK_VALUES", block)
    rng = np.random.default_rng(0)
    features, reference = rng.normal(size=(40, 8)).astype(np.float32), rng.normal(size=(90, 8))
    indices, similarities = nearest(features, reference, 5)
    oracle = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(reference)
    distances, expected = oracle.kneighbors(features)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_allclose(similarities, 1 - distances, atol=1e-6)


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_equal_photos_are_in_the_order_of_their_indices(k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = rng.normal(size=(3, 5)).astype(np.float32)
    reference = kinds[rng.integers(0, 3, 12)]
    indices, similarities = nearest(kinds, reference, k)
    for row, values in zip(indices.tolist(), similarities.tolist(), strict=True):
        assert len(set(row)) == k
        pairs = [(-value, index) for value, index in zip(values, row, strict=True)]
        assert pairs == sorted(pairs)


def test_unread_photos_are_no_neighbors_and_have_none() -> None:
    reference = np.array([[1, 0], [np.nan, np.nan], [0, 1], [0, 0]], np.float32)
    features = np.array([[1, 0.1], [np.nan, np.nan]], np.float32)
    indices, similarities = nearest(features, reference, 10)
    assert indices.tolist() == [[0, 2, 3], [-1, -1, -1]]
    assert similarities[0, 2] == 0  # zeros are similar to nothing
    assert np.isnan(similarities[1]).all()
    assert nearest(features, reference[1:2], 3)[0].shape == (2, 0)
    assert count_of_own_class(indices, np.array([5, 5, 5, 6]), np.array([5, 5])).tolist() == [2, 0]
