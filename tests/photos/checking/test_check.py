"""check(): every kind of finding on real files, the cache of what was seen, and folders that are refused."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from materials import make_photo
from PIL import ExifTags, Image, ImageCms
from torchvision.datasets import ImageFolder

import reslab
from reslab.errors import PhotosError, UsageError
from reslab.photos.checking import check as faults
from reslab.photos.checking import findings
from reslab.photos.checking import photo_stats as looks
from reslab.photos.checking import stats_cache as look_cache
from reslab.photos.checking.stats_cache import LookCache
from reslab.photos.decoding.decode import decode

Folder = Callable[..., Path]


def told(check: reslab.Check) -> set[tuple[str, str]]:
    return {(finding.kind, finding.place) for finding in check.findings}


def photo_bytes(
    format_: str = "JPEG", size: tuple[int, int] = (60, 50), seed: int = 5, **options: object
) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1] // 5 + 1, size[0] // 5 + 1, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(buffer, format_, **options)
    return buffer.getvalue()


def plain(color: int, size: tuple[int, int] = (60, 50), noise: float = 0) -> bytes:
    pixels = np.random.default_rng(0).normal(color, noise, (size[1], size[0], 3)).clip(0, 255)
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def frames() -> bytes:
    buffer = io.BytesIO()
    first, *rest = (Image.open(io.BytesIO(photo_bytes("PNG", seed=seed))) for seed in range(3))
    first.save(buffer, "GIF", save_all=True, append_images=rest)
    return buffer.getvalue()


def with_exif(orientation: int, sides: tuple[int, int] | None = None, **options: object) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    if sides:
        width, height = ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight
        exif.get_ifd(ExifTags.IFD.Exif).update({width: sides[0], height: sides[1]})
    return photo_bytes(exif=exif.tobytes(), **options)


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def lab() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


ODD: dict[str, tuple[bytes, str]] = {
    "orientation": (with_exif(9), "EXIF orientation 9"),
    "twice": (with_exif(6, (50, 60)), "turned twice: EXIF orientation 6 and 50 x 60 pixels"),
    "exif": (photo_bytes(exif=b"Exif\0\0no such thing"), "EXIF is damaged"),
    "profile": (photo_bytes(icc_profile=b"no profile"), "color profile is damaged; it is read as sRGB"),
    "space": (photo_bytes(icc_profile=lab()), "is for Lab, but the photo is RGB"),
}
ORDINARY: dict[str, bytes] = {
    "upright": with_exif(1, (60, 50)),
    "unknown": with_exif(0),
    "lying": with_exif(6, (60, 50)),
    "sRGB": photo_bytes(icc_profile=srgb()),
}


FILES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty file": ("a.jpg", bytes),
    "not an image": ("a.jpg", lambda: b"<html>not found</html>"),
    "truncated": ("a.jpg", lambda: photo_bytes()[:-200]),
    "truncated png": ("a.png", lambda: photo_bytes("PNG")[:-900]),
    "unreadable": ("a.png", lambda: photo_bytes("PNG")[:60] + b"\0" * 900),
    "blank": ("a.png", lambda: plain(255)),
    "blank with noise": ("a.png", lambda: plain(130, noise=1)),
    "under-exposed": ("a.png", lambda: plain(15, noise=8)),
    "over-exposed": ("a.png", lambda: plain(245, noise=10)),
    "tiny": ("a.jpg", lambda: photo_bytes(size=(20, 18))),
    "extreme shape": ("a.jpg", lambda: photo_bytes(size=(300, 50))),
    "animated": ("a.gif", frames),
    "wrong suffix": ("a.jpg", lambda: photo_bytes("PNG")),
}


@pytest.mark.parametrize("case", FILES)
def test_each_fault_of_a_file_is_found_and_nothing_else(case: str, photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    name, content = FILES[case]
    (folder / "train" / "red" / name).write_bytes(content())
    kind = next(kind for kind in findings.KINDS if case.startswith(kind.kind))
    check = reslab.check(folder)
    (finding,) = check.findings
    assert type(finding) is kind
    assert (finding.path, finding.split, finding.class_name) == (f"train/red/{name}", "train", "red")
    assert check.photos == 13
    if kind.spoils_training:  # because training, which decodes alike, would refuse it
        with pytest.raises(PhotosError):
            decode(folder / "train" / "red" / name)
    else:
        decode(folder / "train" / "red" / name)
    assert check.spoils_training == kind.spoils_training


@pytest.mark.parametrize("case", ODD)
def test_metadata_that_make_two_programs_show_two_pictures_are_found(case: str, photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    content, why = ODD[case]
    suffix = ".png" if content.startswith(b"\x89PNG") else ".jpg"
    (folder / "train" / "red" / f"a{suffix}").write_bytes(content)
    check = reslab.check(folder)
    (finding,) = check.findings
    assert (finding.kind, finding.path) == ("odd metadata", f"train/red/a{suffix}")
    assert why in finding.why
    assert not check.spoils_training
    assert decode(folder / "train" / "red" / f"a{suffix}").mode == "RGB"


def test_ordinary_metadata_are_no_finding(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    for i, content in enumerate(ORDINARY.values()):
        other = photo_bytes(seed=50 + i)  # its own picture, with the metadata of the case
        with Image.open(io.BytesIO(content)) as source, Image.open(io.BytesIO(other)) as image:
            kept = {k: source.info[k] for k in ("exif", "xmp", "icc_profile", "dpi") if k in source.info}
            image.save(folder / "train" / "red" / f"ordinary{i}.jpg", **kept)
    assert reslab.check(folder).findings == ()


def test_photos_of_every_sort_are_in_order(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4) / "train" / "red"
    source = Image.open(io.BytesIO(photo_bytes("PNG", (90, 70), seed=9)))
    exif = Image.Exif()
    exif[0x0112] = 6
    for i, (name, mode) in enumerate({"c.jpg": "CMYK", "g.png": "L", "p.gif": "P", "a.png": "RGBA"}.items()):
        source.rotate(90 * i, expand=True).convert(mode).save(folder / name)
    source.crop((0, 0, 50, 60)).save(folder / "turned.jpeg", exif=exif)
    source.crop((10, 0, 90, 60)).save(folder / "w.webp")
    source.crop((30, 10, 90, 70)).save(folder / "t.TIF", "TIFF")
    assert reslab.check(folder.parents[1]).findings == ()


def test_a_set_of_small_pictures_is_not_a_set_of_tiny_ones(tmp_path: Path) -> None:
    for i in range(20):
        make_photo(tmp_path / ("cat", "dog")[i % 2] / f"{i}.png", i, (120, 120, 120), (28, 28))
    assert reslab.check(tmp_path).findings == ()


def test_a_folder_that_photos_refuses_is_checked_all_the_same(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    shutil.rmtree(folder / "train" / "red")
    (folder / "train" / "green").mkdir()
    with pytest.raises(PhotosError):
        reslab.Photos(folder)
    check = reslab.check(folder)
    assert told(check) == {
        ("too few classes", "train"),
        ("class missing from train", "test red"),
        ("empty class", "train green"),
    }
    assert check.spoils_training


def test_classes_that_are_uneven_or_missing_are_found_and_do_not_stop_a_training(
    photo_folder: Folder,
) -> None:
    folder = photo_folder(train=20, test=8)
    shutil.rmtree(folder / "test" / "red")
    for photo in sorted((folder / "train" / "red").iterdir())[2:]:
        photo.unlink()
    check = reslab.check(folder)
    assert told(check) == {("class imbalance", "train red"), ("class missing from a split", "test red")}
    assert not check.spoils_training
    reslab.Photos(folder)


def test_names_that_a_mac_or_windows_takes_for_one_are_found(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    accent = unicodedata.normalize("NFC", "é.jpg")
    names = ["A.jpg", "a.JPG", accent, unicodedata.normalize("NFD", accent), "e.jpg"]
    for i, name in enumerate(names):
        make_photo(folder / "train" / "red" / name, 70 + i, (170, 90, 60))
    (folder / "train" / "Red").mkdir()
    make_photo(folder / "train" / "Red" / "1.jpg", 80, (170, 90, 60))
    found = [f for f in reslab.check(folder).findings if "alike" in f.kind]
    assert {(f.kind, f.place) for f in found} == {
        ("files named alike", "train/red/a.JPG"),
        ("files named alike", f"train/red/{max(names[2:4])}"),
        ("classes named alike", "train red"),
    }
    assert {"upper and lower case" in f.why for f in found} == {True, False}


def test_every_kind_has_its_explanation_and_its_own_name() -> None:
    assert set(findings.KINDS) == set(findings.Finding.__subclasses__())
    assert len({kind.kind for kind in findings.KINDS}) == len(findings.KINDS)
    for kind in findings.KINDS:
        parts = findings.explanation(kind)
        assert list(parts) == list(findings.PARTS), kind
        assert all(part.endswith(".") for part in parts.values()), kind
    spoiling = [kind.spoils_training for kind in findings.KINDS]
    assert spoiling == sorted(spoiling, reverse=True)


def test_a_second_check_decodes_only_what_is_new(
    photo_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "short.jpg").write_bytes(photo_bytes()[:-200])
    first, decoded, look = reslab.check(folder), list[str](), looks.look

    def recorded(path: Path, truncated: Literal["refuse", "keep"]) -> looks.Look:
        decoded.append(path.name)
        return look(path, truncated)

    monkeypatch.setattr(looks, "look", recorded)
    assert reslab.check(folder) == first
    assert decoded == []
    (folder / "train" / "red" / "000.jpg").write_bytes(photo_bytes())
    (folder / "train" / "red" / "001.jpg").rename(folder / "train" / "red" / "renamed.jpg")
    reslab.check(folder)
    assert decoded == ["000.jpg"]


@pytest.mark.parametrize(
    "damage", ["garbage", "half", "bits", "another table", "a file where its folder was"]
)
def test_a_damaged_cache_changes_nothing(damage: str, photo_folder: Folder, own_cache: Path) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"no photo")
    first = reslab.check(folder)
    (path,) = own_cache.rglob("*.sqlite")
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"garbage" * 999)
    elif damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "bits":
        assert b'"width": 48' in content
        path.write_bytes(content.replace(b'"darkest"', b'"dorkest"').replace(b'"width": 48', b'"width": 40'))
    elif damage == "another table":
        path.write_bytes(content.replace(b"thumbnail", b"thombnail"))
    else:
        shutil.rmtree(path.parent)
        path.parent.write_text("")
    assert reslab.check(folder) == first
    assert reslab.check(folder) == first


@given(st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_becomes_of_the_cache_a_check_finds_the_same(
    photo_folder: Folder, own_cache: Path, data: st.DataObject
) -> None:
    shutil.rmtree(own_cache)
    folder = photo_folder(train=4, test=2)
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"no photo")
    first = reslab.check(folder)
    (path,) = own_cache.rglob("*.sqlite")
    content = bytearray(path.read_bytes())
    harm = data.draw(st.sampled_from(["bytes", "bytes of the head", "cut", "longer", "replaced"]))
    if harm in ("cut", "longer"):
        content = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary()) * (
            harm != "cut"
        )
    elif harm == "replaced":
        content = bytearray(data.draw(st.binary()))
    else:
        place = st.integers(0, 100 if harm == "bytes of the head" else len(content) - 1)
        for at in data.draw(st.lists(place, min_size=1, max_size=30)):
            content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    assert reslab.check(folder) == first
    assert reslab.check(folder) == first


def test_a_cache_is_made_anew_wherever_its_damage_shows(tmp_path: Path) -> None:
    seen = {f"{i:032x}": looks.Look(width=i, thumbnail=bytes([i]) * 256) for i in range(99)}

    def kept() -> list[looks.Look]:
        """What was kept of them; they are put there again."""
        with closing(LookCache(tmp_path)) as cache:
            found = [look for digest in seen if (look := cache.get(digest))]
            for digest, look in seen.items():
                cache.put(digest, look)
        return found

    assert kept() == []
    assert kept() == list(seen.values())
    (path,) = tmp_path.glob("*.sqlite")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"CREATE TABLE looks", b"CREATE TA\xffLE looks"))  # which sqlite quotes
    assert kept() == []
    assert kept() == list(seen.values())
    path.write_bytes(whole[:-4096] + b"\xff" * 4096)  # a page that nobody reads before it is written
    assert len(kept()) < len(seen)
    kept()
    assert kept() == list(seen.values())
    path.write_bytes(whole.replace(f"{3:032x}".encode(), f"{4:032x}".encode()))  # another photo's
    assert set(kept()) <= set(seen.values()) - {seen[f"{3:032x}"]}


def test_a_cache_that_another_process_writes_into_is_not_taken_for_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(look_cache, "WAITS", 0.1)
    seen = looks.Look(format="PNG")
    with closing(LookCache(tmp_path)) as cache:
        cache.put("a", seen)
    (path,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with closing(LookCache(tmp_path)) as cache:
            assert cache.get("a") is None
    assert "no cache: database is locked" in caplog.text
    with closing(LookCache(tmp_path)) as cache:
        assert cache.get("a") == seen


def test_old_caches_are_removed_and_a_file_that_vanishes_meanwhile_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(5):
        (tmp_path / f"{i}.sqlite-journal").symlink_to("nowhere")  # listed, and not there
        (tmp_path / f"{i}.sqlite").write_bytes(b"")
        os.utime(tmp_path / f"{i}.sqlite", (0, 0))
    with closing(LookCache(tmp_path)) as cache:
        cache.put("a", looks.Look(format="PNG"))
    assert caplog.text == ""
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 1


def test_a_check_changes_no_file(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    reslab.check(folder)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before


def test_photos_and_an_image_folder_are_checked_as_their_splits_stand(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    shutil.copy(folder / "train" / "red" / "001.jpg", folder / "test" / "red" / "same.jpg")
    assert told(reslab.check(str(folder))) == {("leak", "test/red/same.jpg")}
    assert ("leak", "test/red/same.jpg") in told(reslab.check(reslab.Photos(folder)))
    check = reslab.check(ImageFolder(folder / "train"))
    assert (check.photos, check.findings) == (8, ())


@pytest.mark.parametrize("split", ["train", "test"])
def test_one_folder_of_classes_has_no_splits(split: str, photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=8) / split
    (folder / "red" / "bad.jpg").write_bytes(b"")
    (finding,) = reslab.check(folder).findings
    assert finding.as_json() == {
        "kind": "empty file",
        "path": "red/bad.jpg",
        "split": None,
        "class": "red",
        "why": "zero bytes",
        "other": None,
    }


def test_any_name_that_a_disk_can_hold_is_checked(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    names = ["two\nlines.jpg", "猫 🐈.jpg", "-rf.jpg", os.fsdecode(b"caf\xe9.jpg"), "x" * 251 + ".jpg"]
    for name in names:
        (folder / "train" / "red" / name).write_bytes(b"")
    check = reslab.check(folder)
    assert told(check) == {("empty file", f"train/red/{name}") for name in names}
    str(check).encode()


def test_a_photo_that_vanishes_or_may_not_be_read_is_a_finding(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    photos = reslab.Photos(folder)
    (folder / photos.train[0].path).unlink()
    assert told(reslab.check(photos)) == {("unreadable", photos.train[0].path)}


def test_above_a_folder_of_photos_its_neighbours_are_no_classes(photo_folder: Folder, tmp_path: Path) -> None:
    folder = photo_folder(train=8, test=4)
    make_photo(tmp_path / "runs" / "first" / "first_batch.jpg", 1, (9, 9, 9))
    for use in (reslab.check, reslab.Photos):
        with pytest.raises(PhotosError) as refused:
            use(tmp_path)
        assert (
            refused.value.what
            == f"{tmp_path} is no folder of classes, but photos in it is a folder of photos"
        )
        assert refused.value.do == f"give that folder instead: {folder}"


def test_what_is_no_folder_of_photos_is_answered(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="there is no folder"):
        reslab.check(tmp_path / "nowhere")
    with pytest.raises(PhotosError, match="has no photos"):
        reslab.check(tmp_path)
    with pytest.raises(UsageError, match="no folder of photos: int"):
        reslab.check(3)


def test_the_text_says_what_why_and_what_instead(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    assert str(reslab.check(folder)) == f"{folder}: 12 photos, nothing found"
    for i in range(5):
        (folder / "train" / "red" / f"bad{i}.jpg").write_bytes(b"<html>")
    text = str(reslab.check(folder))
    assert "not an image      5  yes                train/red/bad0.jpg" in text
    assert "and 2 more; --json lists all" in text
    assert f"instead: {findings.explanation(findings.NotAnImage)['Instead']}" in text
    assert faults.SHOWN == 3
