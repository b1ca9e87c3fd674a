"""Archives of photos: unpacked once, whole, inside the cache folder, or refused."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from reslab.errors import PhotosError
from reslab.photos.folder.sources import archive
from reslab.photos.folder.sources.archive import is_archive, unpack

FILES = {"cat/1.jpg": b"first", "cat/2.jpg": b"second", "dog/1.jpg": b"third"}


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def tar_bytes(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def make(path: Path, files: dict[str, bytes]) -> Path:
    """Write an archive of the kind that the path's suffix says."""
    if path.suffix == ".zip":
        return make_zip(path, files)
    compress = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}.get(path.suffix, bytes)
    path.write_bytes(compress(tar_bytes(files)))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_an_archive_is_unpacked_once_into_the_cache(tmp_path: Path, own_cache: Path, name: str) -> None:
    path = make(tmp_path / name, FILES)
    assert is_archive(path)
    folder = unpack(path, progress=False)
    assert content(folder) == FILES
    assert own_cache in folder.parents
    (folder / "cat" / "1.jpg").write_bytes(b"kept")
    assert content(unpack(path.rename(tmp_path / "renamed"), progress=False))["cat/1.jpg"] == b"kept"
    assert list(tmp_path.iterdir()) == [tmp_path / "renamed"]


@pytest.mark.parametrize(
    ("files", "inside"),
    [
        (["train/cat.0.jpg", "train/dog.0.jpg"], "train"),
        (["data/pets/cat/1.jpg", "data/pets/dog/1.jpg"], "data/pets"),
        (["data/train/cat/1.jpg", "data/train/dog/1.jpg"], "data"),  # train/ is a split of data
        (["train/cat/1.jpg", "test/cat/1.jpg"], "."),
        (["pets/cat/1.jpg", "pets/dog/1.jpg", "__MACOSX/pets/cat/._1.jpg", ".DS_Store"], "pets"),
    ],
)
def test_a_single_folder_is_entered(tmp_path: Path, files: list[str], inside: str) -> None:
    path = make_zip(tmp_path / "a.zip", dict.fromkeys(files, b"x"))
    folder = unpack(path, progress=False)
    root = next(parent for parent in [folder, *folder.parents] if parent.parent.name == "unpacked")
    assert folder == root / inside


@pytest.mark.parametrize(
    "name", ["../x.jpg", "a/../../x.jpg", "/etc/x.jpg", "C:/x.jpg", "..\\x.jpg", "\\x.jpg"]
)
@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_a_name_that_leads_out_is_refused(
    tmp_path: Path,
    own_cache: Path,
    refuses: Callable[..., AbstractContextManager[None]],
    kind: str,
    name: str,
) -> None:
    path = make(tmp_path / kind, {"ok.jpg": b"x", name: b"x"})
    with refuses(PhotosError, "leads out of the archive"):
        unpack(path, progress=False)
    assert list(own_cache.rglob("*.jpg")) == []


def test_links_and_devices_are_refused(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        path = tmp_path / f"{kind!r}.tar"
        with tarfile.open(path, "w") as out:
            info = tarfile.TarInfo("cat.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            out.addfile(info)
        with refuses(PhotosError, "'cat.jpg' in it is a link or a device"):
            unpack(path, progress=False)
    info = zipfile.ZipInfo("cat.jpg")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive_file:
        archive_file.writestr(info, "/etc/passwd")
    with refuses(PhotosError, "'cat.jpg' in it is a link or a device"):
        unpack(tmp_path / "a.zip", progress=False)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar.xz"])
def test_a_bomb_is_refused_before_it_is_written(
    tmp_path: Path,
    own_cache: Path,
    refuses: Callable[..., AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr(archive, "MIN_BOMB_BYTES", 2**20)
    path = make(tmp_path / name, {"bomb.bmp": bytes(2**23)})
    with refuses(PhotosError, "and photos hardly shrink", "100 times"):
        unpack(path, progress=False)
    assert list(own_cache.rglob("*.bmp")) == []


def test_a_huge_header_of_a_tar_file_is_refused(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**32
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(2**20)))
    with refuses(PhotosError, "cannot be unpacked", "header"):
        unpack(path, progress=False)


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.xz"])
def test_a_damaged_archive_leaves_nothing(tmp_path: Path, own_cache: Path, name: str) -> None:
    whole = make(tmp_path / name, {f"cat/{i}.jpg": bytes([i]) * 3000 for i in range(8)}).read_bytes()
    for size in range(8, len(whole), max(1, len(whole) // 12)):
        (tmp_path / name).write_bytes(whole[:size])
        try:
            folder = unpack(tmp_path / name, progress=False)
        except PhotosError:
            assert list(own_cache.rglob("*.jpg")) == []
        else:  # only the zeros at the end of a tar file are missing
            assert (name, len(content(folder))) == ("a.tar", 8)
            shutil.rmtree(own_cache / "reslab")


def test_what_is_no_archive_of_photos_is_named(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    (tmp_path / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c rest")
    with refuses(PhotosError, "is a 7z archive"):
        is_archive(tmp_path / "a.7z")
    inner = make_zip(tmp_path / "train.zip", FILES).read_bytes()
    outer = make_zip(
        tmp_path / "all.zip", {"train.zip": inner, "test1.zip": inner, "submission.csv": b"id\n"}
    )
    with refuses(PhotosError, "holds archives: test1.zip, train.zip", "unpack all.zip"):
        unpack(outer, progress=False)
    twice = tmp_path / "twice.tar"
    buffer = tar_bytes({"a.jpg": b"1"})
    twice.write_bytes(buffer[:1024] + tar_bytes({"a.jpg": b"2"}))
    with refuses(PhotosError, "'a.jpg' twice"):
        unpack(twice, progress=False)
    (tmp_path / "text.jsonl").write_text("{}")
    assert not is_archive(tmp_path / "text.jsonl")


def test_a_password_is_asked_for(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    path = make_zip(tmp_path / "a.zip", {"a.jpg": b"x"})
    data = bytearray(path.read_bytes())
    central = data.index(b"PK\x01\x02")
    data[6] |= 1
    data[central + 8] |= 1
    path.write_bytes(bytes(data))
    with refuses(PhotosError, "needs a password"):
        unpack(path, progress=False)


def test_utf8_names_without_the_flag_are_read(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", {"猫/1.jpg": b"x", "狗/1.jpg": b"y"})
    data = bytearray(path.read_bytes())
    at = 0
    while (at := data.find(b"PK", at)) >= 0:  # clear the flag of UTF-8 names, as some programs do
        if data[at + 2 : at + 4] in (b"\x03\x04", b"\x01\x02"):
            data[at + (7 if data[at + 2] == 3 else 9)] &= ~8
        at += 2
    path.write_bytes(bytes(data))
    assert set(content(unpack(path, progress=False))) == {"猫/1.jpg", "狗/1.jpg"}
