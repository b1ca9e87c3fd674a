"""fix(): which photos a list leaves out, and that the rest is free of leaks and contradictions."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from materials import make_photo
from PIL import Image

import reslab
from reslab.errors import UsageError
from reslab.photos.checking.duplicate_findings import PlacedDuplicates, choose_removed
from reslab.photos.checking.findings import Contradiction, Duplicate, Leak
from reslab.photos.checking.fix import fix
from reslab.photos.checking.near_duplicates import DuplicateGroups
from reslab.photos.folder.list_file import read

Folder = Callable[..., Path]
PLACES = [(split, name) for split in ("train", "val", "test") for name in ("cat", "dog")]


def save_again(photo: Path, copy: Path, scale: float = 0.5) -> None:
    image = Image.open(photo).convert("RGB")
    size = round(image.width * scale), round(image.height * scale)
    image.resize(size).save(copy, quality=90)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return reslab.make_drawings(tmp_path / "photos", train=24, test=12)


@pytest.fixture
def spoilt(drawn: Path) -> Path:
    """A folder with each kind of problem that a list leaves out, once or twice."""
    cats, dogs = (sorted((drawn / "train" / name).iterdir()) for name in ("cat", "dog"))
    (drawn / "train/cat/empty.jpg").write_bytes(b"")
    (drawn / "test/cat/page.jpg").write_bytes(b"<html>")
    save_again(cats[0], drawn / "test/cat/leak.jpg")
    shutil.copy(dogs[0], drawn / "test/dog/leak.jpg")
    save_again(cats[1], drawn / "train/dog/both.jpg")
    save_again(cats[2], drawn / "train/cat/a smaller copy.jpg")
    tests = sorted((drawn / "test/dog").iterdir())
    shutil.copy(tests[2], drawn / "test/dog/twice.jpg")
    return drawn


def test_photos_that_spoil_are_removed_and_the_others_keep_their_place(spoilt: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in spoilt.rglob("*")}
    cats, dogs = (sorted(p for p in (spoilt / "train" / n).glob("*0*")) for n in ("cat", "dog"))
    everything = {str(p.relative_to(spoilt)) for p in spoilt.rglob("*.*") if p.is_file()}
    fixed = fix(reslab.check(spoilt), tmp_path / "list.jsonl")
    listed = read(tmp_path / "list.jsonl")
    assert everything - {path for split in listed.splits.values() for path in split.paths} == {
        "train/cat/empty.jpg",
        "test/cat/page.jpg",
        f"train/cat/{cats[0].name}",
        f"train/dog/{dogs[0].name}",
        f"train/cat/{cats[1].name}",
        "train/dog/both.jpg",
        "train/cat/a smaller copy.jpg",
    }
    for split, classes in listed.found.items():
        for name, paths in classes.items():
            assert all(path.startswith(f"{split}/{name}/") for path in paths)
    assert {kind.kind: count for kind, count in fixed.removed.items()} == {
        "empty file": 1,
        "not an image": 1,
        "contradiction": 2,
        "leak": 2,
        "duplicate": 1,
    }
    assert "  2  leak: the photo nearer to training, so that test stays as it is" in str(fixed)
    assert {path: path.stat().st_mtime_ns for path in spoilt.rglob("*")} == before


def test_a_list_has_no_findings_and_trains(spoilt: Path, tmp_path: Path) -> None:
    fix(reslab.check(spoilt), tmp_path / "list.jsonl")
    again = reslab.check(tmp_path / "list.jsonl")
    assert not again.spoils_training
    assert [(f.kind, f.path) for f in again.findings] == [("duplicate", "test/dog/twice.jpg")]
    assert fix(again, tmp_path / "second.jsonl").removed == {}  # test stays as it is
    photos = reslab.Photos(tmp_path / "list.jsonl", val_fraction=0.2)
    assert photos.folder.samefile(spoilt)
    assert len(photos.test) == len([p for p in (spoilt / "test").rglob("*.jpg") if p.name != "page.jpg"])
    assert sum(map(len, photos.splits.values())) == again.photos


def test_one_folder_of_classes_is_cut_only_when_it_is_trained_on(drawn: Path, tmp_path: Path) -> None:
    check = reslab.check(drawn / "train")
    fix(check, tmp_path / "list.jsonl")
    assert set(read(tmp_path / "list.jsonl").found) == {"all"}
    assert (
        reslab.Photos(tmp_path / "list.jsonl", seed=3).splits == reslab.Photos(drawn / "train", seed=3).splits
    )


def test_a_list_is_never_overwritten(drawn: Path, tmp_path: Path) -> None:
    check = reslab.check(drawn)
    path = tmp_path / "list.jsonl"
    path.write_text("mine")
    for taken in (path, tmp_path):
        with pytest.raises(UsageError, match="exists already"):
            fix(check, taken)
    assert path.read_text() == "mine"
    with pytest.raises(UsageError, match="is not a folder that you can write to"):
        fix(check, tmp_path / "nowhere" / "list.jsonl")
    (tmp_path / "dangling.jsonl").symlink_to(tmp_path / "target")
    with pytest.raises(UsageError, match="exists already"):
        fix(check, tmp_path / "dangling.jsonl")


def test_a_list_moves_with_its_folder_and_holds_any_name(drawn: Path, tmp_path: Path) -> None:
    for name in ("two\nlines.jpg", "猫 🐈.jpg", os.fsdecode(b"caf\xe9.jpg")):
        make_photo(drawn / "train/cat" / name, sum(map(ord, name)), (90, 90, 90))
    fix(reslab.check(drawn), tmp_path / "list.jsonl")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "list.jsonl").rename(moved / "list.jsonl")
    drawn.rename(moved / "photos")
    assert reslab.Photos(moved / "list.jsonl").splits == reslab.Photos(moved / "photos").splits


def test_problems_that_no_list_can_fix_are_printed(photo_folder: Folder, tmp_path: Path) -> None:
    folder = photo_folder(train=8, test=4)
    make_photo(folder / "test/green/1.jpg", 5, (90, 170, 60))
    fixed = fix(reslab.check(folder), tmp_path / "list.jsonl")
    assert fixed.spoils_training
    assert "a list cannot fix this: class missing from train, test green: 1 photo, but none in train" in str(
        fixed
    )


@given(st.data())
def test_no_leak_contradiction_or_duplicate_remains(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 14))
    content = np.array(data.draw(st.lists(st.integers(0, 7), min_size=count, max_size=count)), np.int64)
    places = np.array(data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count)), np.int32)
    present = sorted(set(content.tolist()))
    possible = [(a, b) for a in present for b in present if a < b]
    near = data.draw(st.lists(st.sampled_from(possible), unique=True)) if possible else []
    pairs = tuple(np.array([pair[k] for pair in near], np.int64) for k in (0, 1))
    zeros = np.zeros(len(near), np.float32)
    duplicates = PlacedDuplicates(DuplicateGroups(content, (*pairs, zeros)), places, PLACES)
    removed = choose_removed(duplicates, np.ones(count, np.int64))
    same = {(a, b) for a, b in near} | {(b, a) for a, b in near} | {(c, c) for c in present}
    left = [photo for photo in range(count) if photo not in removed]
    for photo in left:
        for other in left:
            if photo != other and (int(content[photo]), int(content[other])) in same:
                assert PLACES[places[photo]] == PLACES[places[other]]
                assert PLACES[places[photo]][0] == "test"
    for photo, kind in removed.items():  # and each for a reason that still stands
        alike = [p for p in range(count) if p != photo and (int(content[photo]), int(content[p])) in same]
        here = PLACES[places[photo]]
        there = {PLACES[places[other]] for other in alike if other in left}
        if kind is Contradiction:
            assert any(PLACES[places[other]][1] != here[1] for other in alike)
        elif kind is Leak:
            assert here[0] != "test"
            stood_for = {PLACES[places[other]] for other in alike if removed.get(other) is Duplicate}
            assert any(place[0] != here[0] for place in there | stood_for)  # by the one it is a copy of
        else:
            assert kind is Duplicate
            assert here in there
            assert here[0] != "test"
