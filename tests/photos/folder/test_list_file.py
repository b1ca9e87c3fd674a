"""A list of photos that is damaged, foreign or outdated is refused with an error that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reslab
from reslab.errors import PhotosError, ReslabError
from reslab.photos.checking.fix import fix
from reslab.photos.folder.list_file import is_list, read

Row = dict[str, Any]


@pytest.fixture
def listed(photo_folder: Callable[..., Path], tmp_path: Path) -> Path:
    fix(reslab.check(photo_folder(train=8, test=4)), tmp_path / "list.jsonl")
    return tmp_path / "list.jsonl"


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_list_gives_the_same_photos_as_its_folder(listed: Path) -> None:
    assert is_list(listed)
    assert not is_list(listed.parent)
    assert reslab.Photos(listed) == reslab.Photos(listed.parent / "photos")


def test_a_missing_or_changed_photo_is_named_by_all_that_take_a_list(listed: Path) -> None:
    photo = listed.parent / "photos/test/red/003.jpg"
    photo.write_bytes(photo.read_bytes() + b"\0")
    uses = (reslab.Photos, reslab.check, lambda path: read(path).evaluation_paths())
    for use in uses:
        with pytest.raises(PhotosError) as refused:
            use(listed)
        assert refused.value.what.startswith("1 of the 12 photos in ")
        assert refused.value.what.endswith("photos, the first is test/red/003.jpg")
        assert "have changed since the list was written" in refused.value.what
        assert refused.value.do.startswith("write a new list: reslab check ")
    photo.unlink()
    for use in uses:
        with pytest.raises(PhotosError, match="1 of the 12 photos in .* are missing from"):
            use(listed)


def test_a_missing_folder_is_not_reported_as_missing_photos(listed: Path) -> None:
    (listed.parent / "photos").rename(listed.parent / "moved")
    with pytest.raises(PhotosError, match="lists photos of .*photos, which does not exist"):
        reslab.Photos(listed)


HEADERS: dict[str, tuple[Row, str]] = {
    "format": ({"format": "another"}, "is neither a folder nor a list of photos"),
    "version": ({"version": 2}, "is a list of version 2"),
    "classes": ({"classes": "blue"}, "different names"),
    "class": ({"classes": ["blue", 3]}, "different names"),
    "twice": ({"classes": ["blue", "red", "red"]}, "different names"),
    "fewer": ({"classes": ["blue"]}, "class 'red', but there are only 1 classes (blue)"),
    "count": ({"photos": 11}, "announces 11 photos, but 12 follow"),
    "no count": ({"photos": True}, "a count"),
    "folder": ({"folder": 3}, "a path"),
    "no folder": ({"folder": "a\0b"}, "which does not exist"),
    "long": ({"folder": "x" * 5000}, "which does not exist"),
}
ROWS: dict[str, tuple[Row, str]] = {
    "path": ({"path": 3}, "photo 1 in "),
    "empty": ({"path": ""}, "path ''"),
    "null": ({"path": "a\0"}, "are missing from"),
    "absolute": ({"path": "/etc/passwd"}, "'/etc/passwd' leads out of the folder"),
    "above": ({"path": "train/../../secret.jpg"}, "leads out of the folder"),
    "twice": ({"path": "train/blue/002.jpg"}, "is listed twice"),
    "gone": ({"path": "\ud800.jpg"}, "are missing from"),
    "class": ({"class": "green"}, "class 'green', but there are only 2 classes (blue, red)"),
    "split": ({"split": "tset"}, "split 'tset', which is not one of all, train, val, test"),
    "mixed": ({"split": "all"}, "some photos are in split all, others in train"),
    "digest": ({"digest": "12"}, "digest '12', which is not 32 hexadecimal digits"),
    "no digest": ({"digest": None}, "digest None"),
    "another": ({"digest": "0" * 32}, "have changed since the list was written"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_an_invalid_first_line_is_refused(case: str, listed: Path) -> None:
    first, *rest = rows_of(listed)
    change, message = HEADERS[case]
    write(listed, [first | change, *rest])
    with pytest.raises(PhotosError) as refused:
        reslab.Photos(listed)
    assert message in str(refused.value)
    assert str(listed) in refused.value.what
    assert refused.value.do


@pytest.mark.parametrize("case", ROWS)
def test_an_invalid_row_is_refused(case: str, listed: Path) -> None:
    first, row, *rest = rows_of(listed)
    change, message = ROWS[case]
    write(listed, [first, row | change, *rest])
    with pytest.raises(PhotosError) as refused:
        reslab.Photos(listed)
    assert message in str(refused.value)
    assert refused.value.do
    str(refused.value).encode()


def test_other_files_are_not_lists(tmp_path: Path) -> None:
    for content in (b"", b"\n", b"cat.jpg\ndog.jpg\n", b"\xff\xd8\xff\xe0" * 99, b"[" * 100_000, b"{}"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(PhotosError, match="is neither a folder nor a list of photos"):
            reslab.check(tmp_path / "file")


def test_a_list_cut_short_at_any_byte_is_never_taken_for_a_shorter_one(listed: Path) -> None:
    content = listed.read_bytes()
    for end in range(0, len(content) - 1, 7):
        listed.write_bytes(content[:end])
        with pytest.raises(PhotosError):
            read(listed)


@given(data=st.data())
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_as_many_photos_or_an_error(data: st.DataObject, listed: Path) -> None:
    content = listed.read_bytes()
    good = read(listed)
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        piece = data.draw(st.binary(max_size=6))
        damaged[at : at + data.draw(st.integers(0, 6))] = piece
    listed.write_bytes(damaged)
    try:
        other = read(listed)
    except ReslabError as error:
        other, do = good, error.do
    else:
        do = "nothing"
    finally:
        listed.write_bytes(content)
    assert do
    assert len(other) == len(good)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), st.lists, max_leaves=4
)


@given(change=st.dictionaries(st.sampled_from(["path", "class", "split", "digest"]), VALUES, min_size=1))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_in_a_row_is_accepted_or_refused(change: Row, listed: Path) -> None:
    content = listed.read_bytes()
    first, row, *rest = rows_of(listed)
    try:
        write(listed, [first, row | change, *rest])
        read(listed)
    except ReslabError as error:
        str(error).encode()
    finally:
        listed.write_bytes(content)
