"""Paths in two arrays are what a list of str would be, and what belongs to each is found by it."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.photos.folder.paths import ByPath, Paths

TEXTS = st.lists(st.text(st.characters(), max_size=8))  # surrogates too, as names that are no UTF-8 have


@given(TEXTS, TEXTS, st.data())
def test_they_are_a_sequence_like_a_list_of_the_same(
    texts: list[str], more: list[str], data: st.DataObject
) -> None:
    paths = Paths.of(iter(texts))
    assert list(paths) == texts
    assert paths == texts == paths
    assert (paths == more) == (texts == more)
    assert list(Paths.joined([paths, more, texts])) == texts + more + texts
    part = data.draw(st.slices(len(texts)))
    assert list(paths[part]) == texts[part]
    for index in range(-len(texts), len(texts)):
        assert paths[index] == texts[index]
    with pytest.raises(IndexError):
        paths[len(texts)]


@given(TEXTS)
def test_what_belongs_to_a_path_is_found_and_to_another_one_is_not(texts: list[str]) -> None:
    values = np.random.default_rng(0).integers(0, 256, (len(texts), 16), np.uint8)
    by_path = ByPath(Paths.of(texts), values)
    usual: dict[str, bytes] = {}
    for text, value in zip(texts, values, strict=True):
        usual.setdefault(text, value.tobytes())
    assert len(by_path) == len(texts)
    assert list(by_path) == texts
    assert all(by_path[text] == value for text, value in usual.items())
    assert "never there, for it is too long" not in by_path
    repeated = next((i for i, text in enumerate(texts) if text in texts[:i]), None)
    assert by_path.first_repeated() == repeated


def test_a_name_that_is_no_utf8_comes_back_to_the_byte() -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    assert os.fsencode(Paths.of([name])[0]) == b"\xff\xfe.jpg"
