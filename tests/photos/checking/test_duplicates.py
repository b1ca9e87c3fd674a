"""Exact and near duplicates: which are found, and as which kind each is reported."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from materials import make_photo
from PIL import Image

import reslab
from reslab.photos.checking.duplicate_findings import PlacedDuplicates, choose_removed, find_matches
from reslab.photos.checking.findings import Duplicate, Leak
from reslab.photos.checking.near_duplicates import (
    MAX_GREY_DIFFERENCE,
    MAX_HASH_BITS,
    find_duplicates,
    find_near_pairs,
)


def kinds_and_places(check: reslab.Check) -> set[tuple[str, str]]:
    return {(finding.kind, finding.place) for finding in check.findings}


def save_again(photo: Path, copy: Path, scale: float, quality: int) -> None:
    image = Image.open(photo).convert("RGB")
    copy.parent.mkdir(parents=True, exist_ok=True)
    image.resize((round(image.width * scale), round(image.height * scale))).save(copy, quality=quality)


@pytest.mark.slow
def test_blocks_find_the_same_pairs_as_one_loop() -> None:
    generator = np.random.default_rng(0)
    count = 4500  # several blocks of rows and of columns
    hashes = generator.integers(0, 2**64, count, np.uint64)
    levels = generator.integers(20, 180, (count, 1)) * (generator.integers(0, 2, (count, 1)))
    thumbnails = (levels + generator.integers(0, 256 - levels, (count, 64))).astype(np.uint8)
    for _ in range(300):
        one, other = generator.integers(0, count, 2)
        hashes[other] = hashes[one] ^ np.uint64(2 ** int(generator.integers(0, 14)) - 1)
        noise = generator.integers(-12, 13, 64) * generator.integers(0, 2)
        thumbnails[other] = (thumbnails[one] + noise).clip(0, 255)
    expected = set()
    for i in range(count):
        bits = [int(h).bit_count() for h in hashes[i + 1 :] ^ hashes[i]]
        for j in (i + 1 + k for k, differing in enumerate(bits) if differing <= MAX_HASH_BITS):
            one, other = thumbnails[i].astype(float), thumbnails[j].astype(float)
            if abs(one - other).mean() <= MAX_GREY_DIFFERENCE and np.corrcoef(one, other)[0, 1] >= 0.95:
                expected.add((i, j))
    assert len(expected) > 50
    places = generator.integers(0, 4, count).astype(np.int32)
    found = list(find_near_pairs(hashes, thumbnails, places, np.arange(count)))
    pairs = [tuple(row) for part in found for row in zip(*(c.tolist() for c in part[:2]), strict=True)]
    assert len(pairs) == len(expected)
    assert set(pairs) == expected


def test_a_photo_saved_again_at_another_size_is_a_duplicate(
    photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    source, folder = tmp_path / "drawn", tmp_path / "photos"
    reslab.make_drawings(source, train=40, test=20)
    shutil.copytree(source, folder)
    cats = sorted((source / "train" / "cat").iterdir())
    for i, (scale, quality) in enumerate([(0.4, 60), (0.7, 35), (1, 20), (1.6, 90)]):
        save_again(cats[i], folder / "test" / "cat" / f"again{i}.jpg", scale, quality)
    save_again(cats[5], folder / "train" / "dog" / "again.jpg", 0.5, 70)
    save_again(cats[6], folder / "train" / "cat" / "zz.jpg", 0.5, 70)
    assert kinds_and_places(reslab.check(source)) == set()
    assert kinds_and_places(reslab.check(folder)) == {
        *(("leak", f"test/cat/again{i}.jpg") for i in range(4)),
        ("contradiction", "train/dog/again.jpg"),
        ("duplicate", "train/cat/zz.jpg"),
    }


def test_each_duplicate_is_reported_once_by_its_most_serious_match(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8, test=4)
    photo = folder / "train" / "red" / "001.jpg"
    copies = ["train/red/copy.jpg", "test/red/b.jpg", "test/red/c.jpg", "test/blue/d.jpg"]
    for copy in copies:
        shutil.copy(photo, folder / copy)
    save_again(photo, folder / "test" / "red" / "e.jpg", 1, 80)
    shutil.copy(folder / "test" / "red" / "e.jpg", folder / "test" / "red" / "f.jpg")
    found = {(f.kind, f.path) for f in reslab.check(folder).findings}
    assert ("duplicate", "train/red/copy.jpg") in found
    assert ("contradiction", "test/blue/d.jpg") in found
    later = {path for kind, path in found if kind in ("leak", "contradiction") and path is not None}
    assert later == {f"test/red/{name}.jpg" for name in "bcef"} | {"test/blue/d.jpg"}
    assert len(found) == len(copies) + 2


def test_blank_photos_are_not_near_duplicates(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=8, test=4)
    for i, split in enumerate(("train", "test")):
        Image.new("RGB", (50, 50), (250 + i, 250, 250)).save(folder / split / "red" / "white.png")
        (folder / split / "red" / "empty.jpg").write_bytes(b"")
    assert {kind for kind, _ in kinds_and_places(reslab.check(folder))} == {"blank", "empty file"}


@pytest.mark.slow
def test_a_thousand_equal_files_are_a_thousand_findings(tmp_path: Path) -> None:
    make_photo(tmp_path / "cat" / "first.jpg", 0, (90, 90, 90))
    make_photo(tmp_path / "dog" / "other.jpg", 1, (160, 90, 90))
    for i in range(1000):
        (tmp_path / "cat" / f"{i}.jpg").symlink_to(tmp_path / "cat" / "first.jpg")
    found = reslab.check(tmp_path).findings
    assert sum(f.kind == "duplicate" for f in found) == 1000


@pytest.mark.slow
@pytest.mark.parametrize("judging", ["test", "val"])
def test_of_similar_video_frames_every_leak_and_most_duplicates_are_found(
    judging: str,
) -> None:
    generator, count = np.random.default_rng(0), 6000
    first = generator.integers(4, 252, 256)
    thumbnails = (first + generator.integers(-3, 4, (count, 256))).astype(np.uint8)
    places = (np.arange(count) >= 5000).astype(np.int32)
    digests = generator.integers(0, 256, (count, 16), np.uint8)
    hashes = np.full(count, 2**63 + 5, np.uint64)
    groups = find_duplicates(digests, np.ones(count, bool), hashes, thumbnails, places)
    assert len(groups.pairs[0]) < 64 * count  # of 18,000,000
    duplicates = PlacedDuplicates(groups, places, [("train", "cat"), (judging, "cat")])
    kinds = {match.photo: match.kind for match in find_matches(duplicates)}
    assert [kinds.get(frame) for frame in range(5000, count)] == [Leak] * 1000
    assert sum(kinds.get(frame) is Duplicate for frame in range(5000)) > 4750
    removed = choose_removed(duplicates, np.ones(count, np.int64))
    assert {frame for frame, kind in removed.items() if kind is Leak} == set(range(5000))
    assert judging == "val" or set(removed) == set(range(5000))


@pytest.mark.slow
def test_planted_leaks_are_found_among_ten_thousand_real_photos(cats_dogs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "planted"
    for photo in cats_dogs.rglob("*.jpg"):
        link = folder / photo.relative_to(cats_dogs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo)
    draw = random.Random(0)
    chosen = draw.sample(sorted((cats_dogs / "train").rglob("*.jpg")), 25)
    leaks, both = {}, {}
    for i, photo in enumerate(chosen):
        of = photo.parent.name
        other = {"cat": "dog", "dog": "cat"}[of]
        place = f"test/{of}/planted{i}.jpg" if i < 20 else f"train/{other}/planted{i}.jpg"
        (leaks if i < 20 else both)[place] = str(photo.relative_to(cats_dogs))
        save_again(photo, folder / place, draw.uniform(0.3, 2), draw.randint(30, 95))
    check = reslab.check(folder)
    why = {(finding.kind, finding.path): finding.why for finding in check.findings}
    assert all(f" {photo}:" in why.get(("leak", place), "") for place, photo in leaks.items())
    for place, photo in both.items():  # the later one in the list is reported
        assert photo in why.get(("contradiction", place), "") or place in why.get(
            ("contradiction", photo), ""
        )
    planted = {*leaks, *both, *both.values()}
    # two real leaks and five real duplicates, verified by eye; no false positive
    beside = [finding.kind for finding in check.findings if finding.path not in planted]
    assert sorted(beside) == ["duplicate"] * 5 + ["leak"] * 2
