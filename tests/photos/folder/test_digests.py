"""A digest tells files apart by their bytes, and a file too large for a photo in no time."""

import hashlib
import os
from pathlib import Path

import pytest

from reslab.errors import PhotosError
from reslab.photos.decoding.limits import MAX_FILE_BYTES
from reslab.photos.folder.digests import END_BYTES, digest, digest_of
from reslab.photos.folder.photo_list import Photo
from reslab.photos.loading.pixel_store import PixelFiles
from reslab.photos.loading.preprocess import Preprocess


def test_it_is_blake2b_of_all_bytes(tmp_path: Path) -> None:
    for content in (b"", b"a photo", os.urandom(300_000)):
        (tmp_path / "x.jpg").write_bytes(content)
        expected = hashlib.blake2b(content, digest_size=16).hexdigest()
        assert digest(tmp_path / "x.jpg") == digest_of(content) == expected


def large(path: Path, size: int, **at: bytes) -> Path:
    """A sparse file: a few bytes at some places, `begin`, `middle` or `end`."""
    with path.open("wb") as file:
        file.truncate(size)
        for where, content in at.items():
            file.seek({"begin": 0, "middle": size // 2, "end": size - len(content)}[where])
            file.write(content)
    return path


def test_of_a_film_its_length_and_its_ends_are_looked_at_and_not_forty_gigabytes(tmp_path: Path) -> None:
    size = 40 * 2**30
    film = digest(large(tmp_path / "film.jpg", size))
    others = [
        digest(large(tmp_path / "x.jpg", size + 1)),
        digest(large(tmp_path / "x.jpg", size, begin=b"another")),
        digest(large(tmp_path / "x.jpg", size, end=b"another")),
        digest_of(
            size.to_bytes(8, "little") + bytes(2 * END_BYTES)
        ),  # a file of just the bytes that are hashed
    ]
    assert len({film, *others}) == 5
    assert film == digest(large(tmp_path / "copy.jpg", size, middle=b"which nobody looks at"))


def test_the_largest_file_that_is_decoded_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 3 * END_BYTES
    monkeypatch.setattr("reslab.photos.folder.digests.MAX_FILE_BYTES", most)  # the real one takes seconds
    ends = {digest(large(tmp_path / "x.jpg", most + 1, middle=middle)) for middle in (b"a", b"b")}
    assert len(ends) == 1
    whole = {digest(large(tmp_path / "x.jpg", most, middle=middle)) for middle in (b"a", b"b")}
    assert len(whole) == 2


def test_what_cannot_be_read_is_answered(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match=r"gone\.jpg cannot be read\n  why: No such file"):
        digest(tmp_path / "gone.jpg")


def test_a_photo_is_read_once_and_named_in_every_answer(tmp_path: Path) -> None:
    files = PixelFiles(tmp_path, Preprocess(size=16, resize=16))
    path = tmp_path / "x.jpg"
    path.write_bytes(b"no photo")
    with pytest.raises(PhotosError, match=rf"^{path} cannot be read as a photo"):
        files.read(Photo("x.jpg", 0, digest(path)))
    path.unlink()
    with pytest.raises(PhotosError, match=f"^there is no photo {path}"):
        files.read(Photo("x.jpg", 0, "0" * 32))
    path.mkdir()
    with pytest.raises(PhotosError, match=f"{path} cannot be read as a photo\n  why: it is a folder"):
        files.read(Photo("x.jpg", 0, "0" * 32))
    path.rmdir()
    os.mkfifo(path)  # opening it would wait for ever
    with pytest.raises(PhotosError, match="it is a pipe or a device, not a file"):
        files.read(Photo("x.jpg", 0, "0" * 32))
    path.unlink()
    large(path, MAX_FILE_BYTES + 1)
    with pytest.raises(PhotosError, match=f"^{path} is not decoded\n  why: the file has 1,073,741,825 bytes"):
        files.read(Photo("x.jpg", 0, digest(path)))
