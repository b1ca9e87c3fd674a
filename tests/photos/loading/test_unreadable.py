"""Photos that cannot be read are found before a training, with and without a cache, and skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from materials import make_photo
from odd_files import half

from reslab import Photos
from reslab.errors import PhotosError
from reslab.photos.folder.photo_list import Photo
from reslab.photos.loading.pixel_cache import open_pixels
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
    """Three splits of photos, with BAD among them."""
    folder = photo_folder(train=20, val=6, test=8)
    for path in BAD:
        content = b"" if "none" in path else half("JPEG") if "cut" in path else b"<html>404</html>"
        (folder / path).write_bytes(content + (b"\0" if "again" in path else b""))
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths of the photos that are decoded from now on."""
    seen, read = list[str](), PixelFiles.read

    def counted(self: PixelFiles, photo: Photo) -> torch.Tensor:
        seen.append(photo.path)
        return read(self, photo)

    monkeypatch.setattr(PixelFiles, "read", counted)
    return seen


def test_they_are_skipped_in_every_split_with_path_and_reason(spoiled: Path) -> None:
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


def test_photos_that_can_all_be_read_are_returned_unchanged(photo_folder: Folder) -> None:
    photos = Photos(photo_folder(train=20, test=8))
    found = found_in(photos)
    assert found.photos is photos
    assert found.skipped == SkippedPhotos()


def test_splits_do_not_depend_on_the_unreadable_photos(tmp_path: Path) -> None:
    for i in range(60):
        make_photo(tmp_path / "photos" / ("red", "blue")[i % 2] / f"{i}.jpg", i, (90, 90, 90))
    for i in range(6):
        (tmp_path / "photos/red" / f"bad{i}.jpg").write_bytes(b"no photo" + bytes([i]))
    photos = Photos(tmp_path / "photos")
    kept = found_in(photos).photos
    assert sum(len(split) for split in kept.splits.values()) == 60
    for name, listed in paths(kept).items():
        assert listed == [path for path in paths(photos)[name] if "bad" not in path]


def test_the_same_photos_are_skipped_without_a_cache_and_on_a_full_disk(
    spoiled: Path,
    small_disk: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    photos = Photos(spoiled)
    first = found_in(photos)
    bare = found_in(photos, cache=False)
    assert (bare.photos, bare.skipped) == (first.photos, first.skipped)
    assert isinstance(bare.pixels, PixelFiles)
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_disk()))
    full = found_in(photos)
    assert (full.photos, full.skipped) == (first.photos, first.skipped)
    assert [message.split(":")[0] for message in caplog.messages] == ["no cache"]


def test_a_second_start_and_a_run_without_them_decode_no_readable_photo_again(
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


def test_a_fixed_photo_is_used_again(spoiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_training_is_refused_if_most_of_a_class_or_split_cannot_be_read(
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


def test_the_last_photo_of_a_class_in_train_must_be_readable(photo_folder: Folder) -> None:
    folder = photo_folder(train=4, val=4, test=4)
    (folder / "train/red/001.jpg").write_bytes(b"no photo")
    assert len(found_in(Photos(folder)).photos.train) == 3
    (folder / "train/red/003.jpg").write_bytes(b"no photo either")
    with pytest.raises(PhotosError, match="2 of the 2 photos of class red in train"):
        found_in(Photos(folder))


def test_more_than_half_of_few_photos_may_be_skipped_but_not_a_whole_split(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, val=3, test=3)
    for split in ("val", "test"):
        for i, name in enumerate(("blue/000.jpg", "red/001.jpg")):
            (folder / split / name).write_bytes(f"no photo {split} {i}".encode())
    assert found_in(Photos(folder)).skipped.counts == {"train": 0, "val": 2, "test": 2}
    (folder / "test/blue/002.jpg").write_bytes(b"no photo")
    with pytest.raises(PhotosError, match="3 of the 3 photos of test in"):
        found_in(Photos(folder))


def test_equal_files_are_all_skipped(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, test=8)
    for name in ("train/red/a.jpg", "train/blue/b.jpg", "test/red/c.jpg"):
        (folder / name).write_bytes(b"<html>404</html>")
    found = found_in(Photos(folder))
    assert found.skipped.total == 3
    assert {path.split("/")[-1] for path in found.skipped.reasons} == {"a.jpg", "b.jpg", "c.jpg"}


def test_a_list_is_treated_like_the_folder(spoiled: Path, tmp_path: Path) -> None:
    photos = Photos(spoiled)
    photos.save(tmp_path / "list.jsonl")
    by_list, by_folder = found_in(Photos(tmp_path / "list.jsonl")), found_in(photos)
    assert paths(by_list.photos) == paths(by_folder.photos)
    assert by_list.skipped == by_folder.skipped


def test_the_warning_is_short_and_names_the_command_that_lists_all(spoiled: Path) -> None:
    found = found_in(Photos(spoiled))
    lines = found.skipped.warning(found.photos, "photos").splitlines()
    assert lines[0] == (
        "WARNING: skipping 4 of 38 photos that cannot be read: 2 of train, 1 of val, 1 of test"
    )
    assert len(lines) == 7
    assert lines[1].startswith("  train/")
    assert lines[4] == "  and 1 more"
    assert lines[5] == "  --truncated keep uses what is there of a JPEG whose end is missing"
    assert lines[6] == (
        "  training on 20 train, 6 val, 8 test; to list every skipped photo: reslab check photos"
    )
    assert str(found.skipped) == "skipped 4 photos that could not be read: 2 of train, 1 of val, 1 of test"


@given(
    counts=st.dictionaries(st.sampled_from(["train", "val", "test"]), st.integers(0, 10**9)),
    reasons=st.dictionaries(st.text(), st.text()),
)
def test_json_restores_an_equal_value(counts: dict[str, int], reasons: dict[str, str]) -> None:
    skipped = SkippedPhotos(counts, reasons)
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
def test_any_other_json_raises_value_error(value: object) -> None:
    try:
        skipped = SkippedPhotos.from_json(value)
    except ValueError:
        return
    assert isinstance(str(skipped), str)
    assert skipped == SkippedPhotos() or SkippedPhotos.from_json(skipped.as_json()) == skipped
