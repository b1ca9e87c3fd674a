"""PhotoList behaves like a list of Photo, for any path."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.photos.folder import photo_list
from reslab.photos.folder.photo_list import Photo, PhotoList

PATHS = st.text(st.characters(), max_size=8)  # with surrogates, as in names that are not UTF-8
PHOTOS = st.lists(
    st.builds(Photo, PATHS, st.integers(0, 9), st.binary(min_size=16, max_size=16).map(bytes.hex))
)


@given(PHOTOS, PHOTOS, st.data())
def test_a_photo_list_is_a_sequence_of_its_photos(
    photos: list[Photo], more: list[Photo], data: st.DataObject
) -> None:
    listed = PhotoList.of(iter(photos))
    assert list(listed) == photos
    assert listed.paths == [photo.path for photo in photos]
    assert list(listed + PhotoList.of(more)) == photos + more
    assert (listed == PhotoList.of(more)) == (photos == more)
    assert pickle.loads(pickle.dumps(listed)) == listed
    part = data.draw(st.slices(len(photos)))
    assert list(listed[part]) == photos[part]
    for index in range(-len(photos), len(photos)):
        assert listed[index] == photos[index]
    with pytest.raises(IndexError):
        listed[len(photos)]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(photos), max_size=len(photos))), bool)
    assert list(listed.take(mask)) == [photo for photo, kept in zip(photos, mask, strict=True) if kept]


def test_photos_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_list, "TAKEN_AT_ONCE", 3)
    photos = [Photo(f"{'é' * i}{i}.jpg", i, f"{i:032x}") for i in range(20)]
    order = np.random.default_rng(0).permutation(20)
    assert list(PhotoList.of(photos).take(order)) == [photos[i] for i in order]


@pytest.mark.parametrize("digests", [["12"], ["0" * 16, "0" * 48], ["g" * 32]])
def test_a_wrong_digest_is_an_error(digests: list[str]) -> None:
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        PhotoList.of(Photo("a.jpg", 0, digest) for digest in digests)


def test_a_name_that_is_not_utf8_survives() -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    assert os.fsencode(PhotoList.of([Photo(name, 0, "0" * 32)])[0].path) == b"\xff\xfe.jpg"
