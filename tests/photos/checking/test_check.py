"""check(): every kind of finding on real files, the cache of statistics, and folders that are refused."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from materials import make_photo
from PIL import ExifTags, Image, ImageCms
from torchvision.datasets import ImageFolder

import reslab
from reslab.errors import PhotosError, UsageError
from reslab.photos.checking import findings, photo_stats, stats_cache
from reslab.photos.checking.check import EXAMPLES
from reslab.photos.checking.photo_stats import PhotoStats
from reslab.photos.checking.stats_cache import StatsCache
from reslab.photos.decoding.decode import decode
from reslab.photos.loading.unreadable import skip_unreadable

Folder = Callable[..., Path]


def kinds_and_places(check: reslab.Check) -> set[tuple[str, str]]:
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
def test_each_problem_of_a_file_is_found_and_nothing_else(case: str, photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    name, content = FILES[case]
    (folder / "train" / "red" / name).write_bytes(content())
    kind = next(kind for kind in findings.KINDS if case.startswith(kind.kind))
    check = reslab.check(folder)
    (finding,) = check.findings
    assert type(finding) is kind
    assert (finding.path, finding.split, finding.class_name) == (f"train/red/{name}", "train", "red")
    assert check.photos == 13
    if kind in findings.UNREADABLE_KINDS:  # training decodes the same way and skips it
        with pytest.raises(PhotosError):
            decode(folder / "train" / "red" / name)
    else:
        decode(folder / "train" / "red" / name)
    assert check.spoils_training == kind.spoils_training


@pytest.mark.parametrize("case", ODD)
def test_contradictory_metadata_are_found(case: str, photo_folder: Folder) -> None:
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


def test_ordinary_metadata_are_not_a_finding(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    for i, content in enumerate(ORDINARY.values()):
        other = photo_bytes(seed=50 + i)  # another photo, with the metadata of the case
        with Image.open(io.BytesIO(content)) as source, Image.open(io.BytesIO(other)) as image:
            kept = {k: source.info[k] for k in ("exif", "xmp", "icc_profile", "dpi") if k in source.info}
            image.save(folder / "train" / "red" / f"ordinary{i}.jpg", **kept)
    assert reslab.check(folder).findings == ()


def test_photos_of_all_formats_have_no_findings(photo_folder: Folder) -> None:
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


def test_a_set_of_small_photos_has_no_tiny_ones(tmp_path: Path) -> None:
    for i in range(20):
        make_photo(tmp_path / ("cat", "dog")[i % 2] / f"{i}.png", i, (120, 120, 120), (28, 28))
    assert reslab.check(tmp_path).findings == ()


def test_a_folder_that_photos_refuses_can_be_checked(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    shutil.rmtree(folder / "train" / "red")
    (folder / "train" / "green").mkdir()
    with pytest.raises(PhotosError):
        reslab.Photos(folder)
    check = reslab.check(folder)
    assert kinds_and_places(check) == {
        ("too few classes", "train"),
        ("class missing from train", "test red"),
        ("empty class", "train green"),
    }
    assert check.spoils_training


def test_imbalanced_and_missing_classes_do_not_spoil_a_training(
    photo_folder: Folder,
) -> None:
    folder = photo_folder(train=20, test=8)
    shutil.rmtree(folder / "test" / "red")
    for photo in sorted((folder / "train" / "red").iterdir())[2:]:
        photo.unlink()
    check = reslab.check(folder)
    assert kinds_and_places(check) == {
        ("class imbalance", "train red"),
        ("class missing from a split", "test red"),
    }
    assert not check.spoils_training
    reslab.Photos(folder)


def test_names_that_differ_only_by_case_or_accents_are_found(photo_folder: Folder) -> None:
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


def test_every_kind_has_an_explanation_and_a_name() -> None:
    assert set(findings.KINDS) == set(findings.Finding.__subclasses__())
    assert len({kind.kind for kind in findings.KINDS}) == len(findings.KINDS)
    for kind in findings.KINDS:
        parts = findings.explanation(kind)
        assert list(parts) == list(findings.PARTS), kind
        assert all(part.endswith(".") for part in parts.values()), kind
    spoiling = [kind.spoils_training for kind in findings.KINDS]
    assert spoiling == sorted(spoiling, reverse=True)


def test_a_second_check_decodes_only_new_photos(
    photo_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "short.jpg").write_bytes(photo_bytes()[:-200])
    first, decoded, compute_stats = reslab.check(folder), list[str](), photo_stats.compute_stats

    def recorded(path: Path, *options: Any) -> PhotoStats:
        decoded.append(path.name)
        return compute_stats(path, *options)

    monkeypatch.setattr(photo_stats, "compute_stats", recorded)
    assert reslab.check(folder) == first
    assert decoded == []
    (folder / "train" / "red" / "000.jpg").write_bytes(photo_bytes())
    (folder / "train" / "red" / "001.jpg").rename(folder / "train" / "red" / "renamed.jpg")
    reslab.check(folder)
    assert decoded == ["000.jpg"]


@pytest.mark.parametrize("damage", ["garbage", "half", "row", "schema", "a file instead of the folder"])
def test_a_damaged_cache_is_rebuilt(damage: str, photo_folder: Folder, own_cache: Path) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"no photo")
    first = reslab.check(folder)
    (path,) = own_cache.rglob("*.sqlite")
    content = path.read_bytes()
    if damage == "garbage":
        path.write_bytes(b"garbage" * 999)
    elif damage == "half":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "row":
        path.write_bytes(content.replace(b'"darkest"', b'"dorkest"'))
    elif damage == "schema":
        path.write_bytes(
            content.replace(b"CREATE TABLE photos", b"CREATE TA\xffLE photos")
        )  # SQLite quotes it
    else:
        shutil.rmtree(path.parent)
        path.parent.write_text("")
    assert reslab.check(folder) == first
    assert reslab.check(folder) == first
    if path.parent.is_dir():
        assert path.read_bytes()[:6] == b"SQLite"


def test_a_locked_cache_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stats_cache, "LOCK_TIMEOUT_S", 0.1)
    stats = PhotoStats(format="PNG")
    with closing(StatsCache(tmp_path)) as cache:
        cache.put("a", stats)
    (path,) = tmp_path.glob("*.sqlite")
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with closing(StatsCache(tmp_path)) as cache:
            assert cache.get("a") is None
    assert "no statistics cache: database is locked" in caplog.text
    with closing(StatsCache(tmp_path)) as cache:
        assert cache.get("a") == stats


def test_old_caches_are_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for i in range(5):
        (tmp_path / f"{i}.sqlite-journal").symlink_to("nowhere")  # listed, but without a target
        (tmp_path / f"{i}.sqlite").write_bytes(b"")
        os.utime(tmp_path / f"{i}.sqlite", (0, 0))
    with closing(StatsCache(tmp_path)) as cache:
        cache.put("a", PhotoStats(format="PNG"))
    assert caplog.text == ""
    assert len([path for path in tmp_path.iterdir() if path.is_file()]) == 1


def test_a_check_changes_no_file(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    (folder / "train" / "red" / "bad.jpg").write_bytes(b"")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}
    reslab.check(folder)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")} == before


def test_photos_and_image_folders_are_checked_with_their_splits(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    shutil.copy(folder / "train" / "red" / "001.jpg", folder / "test" / "red" / "same.jpg")
    assert kinds_and_places(reslab.check(str(folder))) == {("leak", "test/red/same.jpg")}
    assert ("leak", "test/red/same.jpg") in kinds_and_places(reslab.check(reslab.Photos(folder)))
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


def test_any_file_name_is_checked(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, test=4)
    names = ["two\nlines.jpg", "猫 🐈.jpg", "-rf.jpg", os.fsdecode(b"caf\xe9.jpg"), "x" * 251 + ".jpg"]
    for name in names:
        (folder / "train" / "red" / name).write_bytes(b"")
    check = reslab.check(folder)
    assert kinds_and_places(check) == {("empty file", f"train/red/{name}") for name in names}
    str(check).encode()


def test_photos_of_which_a_training_could_not_read_half_spoil_it(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    for i in range(5):
        (folder / "train" / "red" / f"bad{i}.jpg").write_bytes(b"")
    check = reslab.check(folder)
    (finding,) = check.by_kind()[findings.MostlyUnreadable]
    assert (finding.place, finding.why) == ("train red", "5 of 9 photos cannot be read")
    assert check.spoils_training
    with pytest.raises(PhotosError, match="photos of class red in train"):
        skip_unreadable(reslab.Photos(folder), reslab.Recipe(size=16).preprocess(3))


def test_a_class_of_one_photo_is_named(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    make_photo(folder / "train" / "green" / "1.jpg", 1, (9, 200, 9))
    found = reslab.check(folder).by_kind()
    assert [finding.place for finding in found[findings.SinglePhoto]] == ["train green"]


def test_a_missing_photo_is_a_finding(photo_folder: Folder) -> None:
    folder = photo_folder(train=8, test=4)
    photos = reslab.Photos(folder)
    (folder / photos.train[0].path).unlink()
    assert kinds_and_places(reslab.check(photos)) == {("unreadable", photos.train[0].path)}


def test_the_parent_of_a_folder_of_photos_is_refused(photo_folder: Folder, tmp_path: Path) -> None:
    folder = photo_folder(train=8, test=4)
    make_photo(tmp_path / "runs" / "first" / "first_batch.jpg", 1, (9, 9, 9))
    for use in (reslab.check, reslab.Photos):
        with pytest.raises(PhotosError) as refused:
            use(tmp_path)
        assert (
            refused.value.what == f"{tmp_path} has no class folders, but photos in it is a folder of photos"
        )
        assert refused.value.do == f"give that folder instead: {folder}"


def test_folders_without_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="there is no folder"):
        reslab.check(tmp_path / "nowhere")
    with pytest.raises(PhotosError, match="has no photos"):
        reslab.check(tmp_path)
    with pytest.raises(UsageError, match="not a folder of photos: int"):
        reslab.check(3)


def test_a_check_prints_explanations(photo_folder: Folder) -> None:
    folder = photo_folder(train=20, test=4)
    assert str(reslab.check(folder)) == f"{folder}: 24 photos, nothing found"
    for i in range(5):
        (folder / "train" / "red" / f"bad{i}.jpg").write_bytes(b"<html>")
    text = str(reslab.check(folder))
    assert "not an image      5  no                 train/red/bad0.jpg" in text
    assert "and 2 more; --json lists all" in text
    assert f"instead: {findings.explanation(findings.NotAnImage)['Instead']}" in text
    assert EXAMPLES == 3
