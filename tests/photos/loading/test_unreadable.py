"""Photos that cannot be read: found before a training, whatever the cache does, and left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from materials import make_photo
from odd_files import half

import reslab
from reslab import Photos
from reslab.errors import PhotosError
from reslab.photos.folder import list_file as listing
from reslab.photos.folder.photo_list import Photo
from reslab.photos.loading.pixel_cache import cache_folder, open_pixels
from reslab.photos.loading.pixel_store import PixelCache, PixelFiles
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.unreadable import ReadablePhotos, SkippedPhotos, skip_unreadable

PREPROCESS = Preprocess(size=16, resize=20)
Folder = Callable[..., Path]
BAD = {"train/red/cut.jpg", "train/blue/page.jpg", "val/red/none.jpg", "test/blue/cut again.jpg"}


def found_in(photos: Photos, **options: bool) -> ReadablePhotos:
    return skip_unreadable(photos, PREPROCESS, progress=False, **options)


def paths(photos: Photos) -> dict[str, list[str]]:
    return {name: [photo.path for photo in split] for name, split in photos.splits.items()}


@pytest.fixture
def spoiled(photo_folder: Folder) -> Path:
    """Photos in three splits, and BAD among them."""
    folder = photo_folder(train=20, val=6, test=8)
    for path in BAD:
        content = b"" if "none" in path else half("JPEG") if "cut" in path else b"<html>404</html>"
        (folder / path).write_bytes(content + (b"\0" if "again" in path else b""))
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The path of every photo that is decoded from now on."""
    seen, read = list[str](), PixelFiles.read

    def counted(self: PixelFiles, photo: Photo) -> torch.Tensor:
        seen.append(photo.path)
        return read(self, photo)

    monkeypatch.setattr(PixelFiles, "read", counted)
    return seen


def test_they_are_left_out_of_every_split_and_named_with_the_reason(spoiled: Path) -> None:
    photos = Photos(spoiled)
    found = found_in(photos)
    expected = {name: [p for p in listed if p not in BAD] for name, listed in paths(photos).items()}
    assert paths(found.photos) == expected
    assert found.photos.classes == photos.classes
    assert "20 train, 6 val, 8 test" in str(found.photos)
    assert found.skipped.counts == {"train": 2, "val": 1, "test": 1}
    assert found.skipped.reasons.keys() == BAD
    assert "truncated" in found.skipped.reasons["test/blue/cut again.jpg"]
    assert "not one of JPEG" in found.skipped.reasons["train/blue/page.jpg"]
    files = PixelFiles(spoiled, PREPROCESS)
    for split in found.photos.splits.values():
        assert all(torch.equal(found.pixels.read(photo), files.read(photo)) for photo in split)


def test_where_all_can_be_read_nothing_changes(photo_folder: Folder) -> None:
    photos = Photos(photo_folder(train=20, test=8))
    found = found_in(photos)
    assert found.photos is photos
    assert found.skipped == SkippedPhotos()


def test_who_is_in_which_split_does_not_depend_on_who_can_be_read(tmp_path: Path) -> None:
    for i in range(60):
        make_photo(tmp_path / "photos" / ("red", "blue")[i % 2] / f"{i}.jpg", i, (90, 90, 90))
    for i in range(6):
        (tmp_path / "photos/red" / f"bad{i}.jpg").write_bytes(b"no photo" + bytes([i]))
    photos = Photos(tmp_path / "photos")
    kept = found_in(photos).photos
    assert sum(len(split) for split in kept.splits.values()) == 60
    for name, listed in paths(kept).items():
        assert listed == [path for path in paths(photos)[name] if "bad" not in path]


def test_the_verdict_is_the_same_without_a_cache_on_a_full_disk_and_after_a_check(
    spoiled: Path,
    small_disk: Callable[..., Path],
    decoded: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photos = Photos(spoiled)
    first = found_in(photos)
    bare = found_in(photos, cache=False)
    assert (bare.photos, bare.skipped) == (first.photos, first.skipped)
    assert isinstance(bare.pixels, PixelFiles)
    reslab.check(photos, progress=False)
    decoded.clear()
    checked = found_in(photos, cache=False)
    assert checked.photos == first.photos
    assert checked.skipped.reasons.keys() == BAD
    assert decoded == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk()))
    full = found_in(photos)
    assert (full.photos, full.skipped) == (first.photos, first.skipped)
    assert [message.split(":")[0] for message in caplog.messages] == ["no cache"]


def test_a_second_start_and_a_run_without_them_decode_no_good_photo_again(
    spoiled: Path, decoded: list[str]
) -> None:
    photos = Photos(spoiled)
    first = found_in(photos)
    assert len(decoded) == 38
    decoded.clear()
    second = found_in(photos)
    assert (second.photos, second.skipped) == (first.photos, first.skipped)
    assert isinstance(second.pixels, PixelCache)
    assert set(decoded) == BAD
    decoded.clear()
    kept = first.photos
    pixels = open_pixels(spoiled, kept.train + kept.val + kept.test, PREPROCESS, progress=False)
    for path in BAD:
        (spoiled / path).unlink()
    assert found_in(Photos(spoiled)).photos == kept
    assert isinstance(pixels, PixelCache)
    assert decoded == []


def test_what_has_been_mended_is_used_again(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = Photos(spoiled)
    with monkeypatch.context() as patch:
        read = PixelFiles.read

        def without_a_decoder(self: PixelFiles, photo: Photo) -> torch.Tensor:
            if photo.path == "train/red/001.jpg":
                raise PhotosError("it needs a package that is not installed")
            return read(self, photo)

        patch.setattr(PixelFiles, "read", without_a_decoder)
        assert found_in(photos).skipped.total == 5
    for _ in range(2):
        found = found_in(photos)
        assert found.skipped.reasons.keys() == BAD
        assert isinstance(found.pixels, PixelCache)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=100), keep=st.integers(0, 64))
def test_a_damaged_note_of_what_cannot_be_read_changes_no_verdict(
    content: bytes, keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(8):
        make_photo(folder / "train" / ("red", "blue")[i % 2] / f"{i}.jpg", i, (90, 90, 90))
    for i in range(2):
        (folder / "train/red" / f"bad{i}.jpg").write_bytes(b"no photo" + bytes([i]))
    photos = Photos(folder)
    first = found_in(photos)
    note = max(cache_folder().glob("*.unread"), key=lambda path: path.stat().st_mtime_ns)
    note.write_bytes(note.read_bytes()[:keep] + content)
    again = found_in(photos)
    assert (again.photos, again.skipped) == (first.photos, first.skipped)
    note.unlink()
    os.mkfifo(note)
    assert found_in(photos).skipped == first.skipped


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        ("*/red/*", "17 of the 17 photos of class red in "),
        ("test/*/*", "4 of the 4 photos of class blue in test"),
        ("test/red/*", "4 of the 4 photos of class red in test"),
        ("train/red/0[01][1-5].jpg", "6 of the 10 photos of class red in train"),
        ("val/*/*", "6 of the 6 photos of val "),
    ],
)
def test_where_most_of_a_class_or_a_split_cannot_be_read_the_training_is_refused(
    spoil: str, what: str, photo_folder: Folder
) -> None:
    folder = photo_folder(train=20, val=6, test=8)
    for path in folder.glob(spoil):
        path.write_bytes(b"no photo " + path.name.encode())
    with pytest.raises(PhotosError) as caught:
        found_in(Photos(folder))
    assert what in caught.value.what
    assert "more than half" in caught.value.why
    assert "its format is not one of JPEG" in caught.value.why
    assert f"reslab check {folder}" in caught.value.do


def test_one_of_two_may_be_left_out_and_the_last_of_a_class_may_not(photo_folder: Folder) -> None:
    folder = photo_folder(train=4, val=4, test=4)
    (folder / "train/red/001.jpg").write_bytes(b"no photo")
    assert len(found_in(Photos(folder)).photos.train) == 3
    (folder / "train/red/003.jpg").write_bytes(b"no photo either")
    with pytest.raises(PhotosError, match="2 of the 2 photos of class red in train"):
        found_in(Photos(folder))


def test_of_a_few_photos_more_than_half_may_be_left_out_but_not_all_of_a_split(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, val=3, test=3)
    for split in ("val", "test"):
        for i, name in enumerate(("blue/000.jpg", "red/001.jpg")):
            (folder / split / name).write_bytes(f"no photo {split} {i}".encode())
    assert found_in(Photos(folder)).skipped.counts == {"train": 0, "val": 2, "test": 2}
    (folder / "test/blue/002.jpg").write_bytes(b"no photo")
    with pytest.raises(PhotosError, match="3 of the 3 photos of test in"):
        found_in(Photos(folder))


def test_equal_files_are_all_left_out(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, test=8)
    for name in ("train/red/a.jpg", "train/blue/b.jpg", "test/red/c.jpg"):
        (folder / name).write_bytes(b"<html>404</html>")
    found = found_in(Photos(folder))
    assert found.skipped.total == 3
    assert {path.split("/")[-1] for path in found.skipped.reasons} == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_list_that_names_them_is_like_the_folder(spoiled: Path, tmp_path: Path) -> None:
    photos = Photos(spoiled)
    rows = [{name: str(row[name]) for name in ("path", "class", "split", "digest")} for row in photos.rows()]
    listing.write(tmp_path / "list.jsonl", spoiled, photos.classes, rows, len(rows))
    by_list, by_folder = found_in(Photos(tmp_path / "list.jsonl")), found_in(photos)
    assert paths(by_list.photos) == paths(by_folder.photos)
    assert by_list.skipped == by_folder.skipped


def test_what_is_said_is_short_and_names_the_way_to_all(spoiled: Path) -> None:
    found = found_in(Photos(spoiled))
    lines = found.skipped.warning(found.photos, "photos").splitlines()
    total = 38
    assert lines[0] == (
        f"WARNING: left out, for they cannot be read: 4 of {total} photos, 2 of train, 1 of val, 1 of test"
    )
    assert len(lines) == 7
    assert lines[1].startswith("  train/")
    assert lines[4] == "  and 1 more"
    assert lines[5] == "  --truncated keep uses what is there of a JPEG that lacks its end"
    goes_on = "  the training goes on with 20 train, 6 val, 8 test; to see all that is left out: "
    assert lines[6] == f"{goes_on}reslab check photos"
    assert str(found.skipped) == (
        "4 photos could not be read and had no part in this: 2 of train, 1 of val, 1 of test"
    )


@given(
    counts=st.dictionaries(st.sampled_from(["train", "val", "test"]), st.integers(0, 10**9)),
    named=st.dictionaries(st.text(), st.text()),
)
def test_it_is_read_back_to_an_equal_value(counts: dict[str, int], named: dict[str, str]) -> None:
    skipped = SkippedPhotos(counts, named)
    assert SkippedPhotos.from_json(skipped.as_json()) == skipped
    assert skipped.as_json()["count"] == skipped.total


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["splits", "first", "path", "why", "train", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(value=JSON)
def test_whatever_a_run_folder_says_is_left_out_or_an_answer(value: object) -> None:
    try:
        skipped = SkippedPhotos.from_json(value)
    except ValueError:
        return
    assert isinstance(str(skipped), str)
    assert skipped == SkippedPhotos() or SkippedPhotos.from_json(skipped.as_json()) == skipped
