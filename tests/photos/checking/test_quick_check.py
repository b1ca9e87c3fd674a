"""Warnings of a training about its photos before it decodes any."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from materials import make_photo
from PIL import Image

import reslab
from reslab.photos.checking import photo_stats
from reslab.photos.checking.quick_check import NOT_LOOKED_FOR, quick_check, warning
from reslab.photos.loading.unreadable import skip_unreadable

Folder = Callable[..., Path]


@pytest.fixture
def leaking(photo_folder: Folder) -> Path:
    folder = photo_folder(train=20, test=8)
    shutil.copy(folder / "train/red/001.jpg", folder / "test/red/same.jpg")
    shutil.copy(folder / "train/red/003.jpg", folder / "train/blue/same.jpg")
    for name in ("a", "b"):
        (folder / "train/blue" / f"{name}.jpg").write_bytes(b"")  # not duplicates of each other
    return folder


def test_equal_files_are_found_without_decoding(leaking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(photo_stats, "compute_stats", decoded)
    monkeypatch.setattr(Image, "open", decoded)
    found = quick_check(reslab.Photos(leaking))
    spoiling = {(f.kind, f.place) for f in found.findings if f.spoils_training}
    assert ("leak", "test/red/same.jpg") in spoiling
    assert {kind for kind, _ in spoiling} == {"leak", "contradiction"}
    text = warning(found, "photos")
    assert "WARNING: leak: 1 photo in two splits: the network is measured on what it was trained on" in text
    assert "  test/red/same.jpg: the same bytes as train/red/001.jpg" in text
    assert text.endswith(
        "the training continues; to skip these photos: reslab check photos --fix list.jsonl; "
        "reslab train list.jsonl"
    )


def test_near_copies_are_found_by_cached_pixels_within_a_limit_of_time(photo_folder: Folder) -> None:
    folder = reslab.make_drawings(photo_folder(train=2).parent / "drawn", train=20, test=10)
    photo = sorted((folder / "train/cat").iterdir())[0]
    Image.open(photo).resize((60, 60)).save(folder / "test/cat/again.jpg", quality=90)
    readable = skip_unreadable(reslab.Photos(folder), reslab.Recipe(size=32).preprocess(3))
    found = quick_check(readable.photos, pixels=readable.pixels)
    assert [finding.path for finding in found.findings if finding.kind == "leak"] == ["test/cat/again.jpg"]
    assert NOT_LOOKED_FOR not in warning(found, "photos")
    hurried = quick_check(readable.photos, pixels=readable.pixels, seconds=0)
    assert not hurried.spoils_training
    assert warning(hurried, "photos").endswith(f"note: {NOT_LOOKED_FOR}")


def test_near_duplicates_are_found_after_a_check(photo_folder: Folder) -> None:
    folder = reslab.make_drawings(photo_folder(train=2).parent / "drawn", train=20, test=10)
    photo = sorted((folder / "train/cat").iterdir())[0]
    Image.open(photo).resize((60, 60)).save(folder / "test/cat/again.jpg", quality=90)
    photos = reslab.Photos(folder)
    assert not quick_check(photos).spoils_training
    reslab.check(folder)
    found = [finding for finding in quick_check(photos).findings if finding.kind == "leak"]
    assert [finding.path for finding in found] == ["test/cat/again.jpg"]
    (folder / "train/cat/new.jpg").write_bytes(photo.read_bytes() + b"\0")
    assert not quick_check(
        reslab.Photos(folder)
    ).spoils_training  # one photo is not cached: no near duplicates


def test_photos_without_problems_give_no_warning(photo_folder: Folder) -> None:
    photos = reslab.Photos(photo_folder(train=20, test=8))
    assert warning(quick_check(photos), "photos") == ""


def test_harmless_findings_are_one_note(photo_folder: Folder) -> None:
    folder = photo_folder(train=60, test=8)
    for photo in sorted((folder / "train/red").iterdir())[4:]:
        photo.unlink()
    text = warning(quick_check(reslab.Photos(folder)), "photos")
    assert text == "note: also class imbalance 1\n  the training continues; see reslab check photos"


def test_classes_named_alike_are_a_warning_without_a_fix(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, test=8)
    make_photo(folder / "train/Red/1.jpg", 99, (170, 90, 60))
    lines = warning(quick_check(reslab.Photos(folder)), "photos").splitlines()
    assert lines[0] == "WARNING: classes named alike: 1 found"
    assert lines[1].startswith("  train red: differs from Red only by upper and lower case")
    assert lines[-1] == "  the training continues; see reslab check photos"
