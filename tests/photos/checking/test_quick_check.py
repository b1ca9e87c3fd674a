"""What a training says of its photos before it decodes one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from materials import make_photo
from PIL import Image

import reslab
from reslab.photos.checking import photo_stats as looks
from reslab.photos.checking.quick_check import first_look, warn

Folder = Callable[..., Path]


@pytest.fixture
def leaking(photo_folder: Folder) -> Path:
    folder = photo_folder(train=20, test=8)
    shutil.copy(folder / "train/red/001.jpg", folder / "test/red/same.jpg")
    shutil.copy(folder / "train/red/003.jpg", folder / "train/blue/same.jpg")
    for name in ("a", "b"):
        (folder / "train/blue" / f"{name}.jpg").write_bytes(b"")  # no copies of each other
    return folder


def test_copies_byte_for_byte_are_known_without_decoding(
    leaking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(looks, "look", decoded)
    monkeypatch.setattr(Image, "open", decoded)
    found = first_look(reslab.Photos(leaking))
    spoiling = {(f.kind, f.place) for f in found.findings if f.spoils_training}
    assert ("leak", "test/red/same.jpg") in spoiling
    assert {kind for kind, _ in spoiling} == {"leak", "contradiction"}
    said = warn(found, "photos")
    assert "WARNING: leak: 1 photo in two splits: what measures it has in part been seen" in said
    assert "  test/red/same.jpg: the same bytes as train/red/001.jpg" in said
    assert said.endswith(
        "the training goes on; to leave these out: reslab check photos --fix list.jsonl; "
        "reslab train list.jsonl"
    )


def test_after_a_check_near_copies_are_known_too(photo_folder: Folder) -> None:
    folder = reslab.make_drawings(photo_folder(train=2).parent / "drawn", train=20, test=10)
    photo = sorted((folder / "train/cat").iterdir())[0]
    Image.open(photo).resize((60, 60)).save(folder / "test/cat/again.jpg", quality=90)
    photos = reslab.Photos(folder)
    assert not first_look(photos).spoils_training
    reslab.check(folder)
    found = [finding for finding in first_look(photos).findings if finding.kind == "leak"]
    assert [finding.path for finding in found] == ["test/cat/again.jpg"]
    (folder / "train/cat/new.jpg").write_bytes(photo.read_bytes() + b"\0")
    assert not first_look(reslab.Photos(folder)).spoils_training  # one is not known: no near copies


def test_of_photos_in_order_nothing_is_said(photo_folder: Folder) -> None:
    photos = reslab.Photos(photo_folder(train=20, test=8))
    assert warn(first_look(photos), "photos") == ""


def test_what_does_not_spoil_is_one_line(photo_folder: Folder) -> None:
    folder = photo_folder(train=60, test=8)
    for photo in sorted((folder / "train/red").iterdir())[4:]:
        photo.unlink()
    said = warn(first_look(reslab.Photos(folder)), "photos")
    assert said == "note: also class imbalance 1\n  the training goes on; see reslab check photos"


def test_classes_named_alike_are_a_warning_that_no_list_mends(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, test=8)
    make_photo(folder / "train/Red/1.jpg", 99, (170, 90, 60))
    said = warn(first_look(reslab.Photos(folder)), "photos").splitlines()
    assert said[0] == "WARNING: classes named alike: 1 found"
    assert said[1].startswith("  train red: differs from Red by upper and lower case")
    assert said[-1] == "  the training goes on; see reslab check photos"
