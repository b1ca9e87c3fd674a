"""Cutting: nothing lost, equal files together, and nothing but content decides."""

import hashlib
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from reslab.photos.folder import split
from reslab.photos.folder.photo_list import Photo, PhotoList

CONTENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=80)
FRACTIONS = st.floats(0.01, 0.99)


def item(name: str, label: int, content: str) -> Photo:
    return Photo(name, label, hashlib.blake2b(content.encode(), digest_size=16).hexdigest())


def items(drawn: list[tuple[int, int]]) -> list[Photo]:
    """Photos of few contents: copies within a class and across classes are common."""
    return [item(f"{i}.jpg", label, f"content {content}") for i, (label, content) in enumerate(drawn)]


def cut(photos: list[Photo], fraction: float, seed: int, purpose: str) -> tuple[list[Photo], list[Photo]]:
    kept, off = split.split_off(PhotoList.of(photos), fraction, seed, purpose)
    return list(kept), list(off)


@given(CONTENTS, FRACTIONS, st.integers(0, 5))
def test_every_photo_is_on_one_side_and_equal_ones_are_on_the_same(
    drawn: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    photos = items(drawn)
    kept, off = cut(photos, fraction, seed, "test")
    assert Counter([*kept, *off]) == Counter(photos)
    assert not {p.digest for p in kept} & {p.digest for p in off}
    order = {photo: i for i, photo in enumerate(photos)}
    for side in (kept, off):
        assert side == sorted(side, key=order.__getitem__)


@given(CONTENTS, FRACTIONS, st.integers(0, 5))
def test_every_class_keeps_a_photo(drawn: list[tuple[int, int]], fraction: float, seed: int) -> None:
    photos = items(drawn)
    kept, _ = cut(photos, fraction, seed, "test")
    assert {p.label for p in kept} == {p.label for p in photos}


@given(CONTENTS, FRACTIONS, st.integers(0, 5))
def test_a_class_of_its_own_contents_loses_the_fraction_or_as_near_as_copies_allow(
    drawn: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    photos = [
        item(p.path, p.label, f"{p.label} {p.digest}") for p in items(drawn)
    ]  # no copies across classes
    _, off = cut(photos, fraction, seed, "test")
    lost, sizes = Counter(p.label for p in off), Counter(p.label for p in photos)
    for label, size in sizes.items():
        copies = Counter(p.digest for p in photos if p.label == label)
        wanted = max(1, round(fraction * size))
        if len(copies) == 1:
            assert lost[label] == 0
        else:
            assert 1 <= lost[label] <= max(wanted, min(copies.values()))
            assert wanted - lost[label] <= max(copies.values())


@given(st.integers(2, 200), st.integers(2, 50), FRACTIONS)
def test_without_copies_the_fraction_is_exact_in_each_class(large: int, small: int, fraction: float) -> None:
    photos = [item("", label, f"{label} {i}") for label, n in enumerate((large, small)) for i in range(n)]
    _, off = cut(photos, fraction, 0, "test")
    for label, n in enumerate((large, small)):
        assert sum(p.label == label for p in off) == min(n - 1, max(1, round(fraction * n)))


@given(CONTENTS, FRACTIONS, st.randoms(use_true_random=False))
def test_neither_names_nor_order_decide(drawn: list[tuple[int, int]], fraction: float, random) -> None:  # type: ignore[no-untyped-def]
    photos = items(drawn)
    other = [Photo(f"renamed {random.random()}", p.label, p.digest) for p in photos]
    random.shuffle(other)
    assert {p.digest for p in cut(photos, fraction, 0, "test")[1]} == {
        p.digest for p in cut(other, fraction, 0, "test")[1]
    }


def test_another_seed_or_purpose_cuts_off_others_and_one_more_photo_moves_few() -> None:
    photos = [item("", 0, f"{i}") for i in range(500)]
    off = [{p.digest for p in cut(photos, 0.2, s, what)[1]} for s, what in ((0, "a"), (1, "a"), (0, "b"))]
    assert all(len(side) == 100 for side in off)
    assert len(off[0] & off[1]) < 40
    assert len(off[0] & off[2]) < 40
    more = {p.digest for p in cut([*photos, item("", 0, "new")], 0.2, 0, "a")[1]}
    assert len(more ^ off[0]) <= 2


def test_no_photos_are_cut_into_none() -> None:
    assert cut([], 0.5, 0, "test") == ([], [])
