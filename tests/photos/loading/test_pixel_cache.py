"""The pixel cache: bit-identical images with and without it, whole or absent, and never a reason to fail."""

import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import reslab.parallel as parallel
from reslab import Photo, Photos, files
from reslab.errors import PhotosError
from reslab.files import cache_path
from reslab.photos.folder.digests import digest
from reslab.photos.folder.photo_list import PhotoList
from reslab.photos.loading.pixel_cache import (
    PixelCache,
    PixelFiles,
    Pixels,
    open_pixels,
    open_readable,
)
from reslab.photos.loading.pixel_store import RECORD, index_bytes
from reslab.photos.loading.preprocess import GREY_MEAN, GREY_STD, Preprocess

PREPROCESS = Preprocess(size=16, resize=20)
GREY = Preprocess(size=16, resize=20, channels=1, mean=GREY_MEAN, std=GREY_STD)


def photos_in(folder: Path) -> PhotoList:
    found = sorted(folder.rglob("*.jpg"))
    return PhotoList.of(Photo(str(p.relative_to(folder)), 0, digest(p)) for p in found)


def opened(folder: Path, preprocess: Preprocess = PREPROCESS, **options: bool) -> Pixels:
    return open_pixels(folder, photos_in(folder), preprocess, progress=False, **options)


def agree(pixels: Pixels, folder: Path, preprocess: Preprocess = PREPROCESS) -> bool:
    files = PixelFiles(folder, preprocess)
    return all(torch.equal(pixels.read(photo), files.read(photo)) for photo in photos_in(folder))


def caches() -> list[str]:
    """Names in the cache folder without locks: caches, links to caches, leftovers of a killed build."""
    folder = cache_path("pixels")
    found = folder.iterdir() if folder.is_dir() else []
    return sorted(path.name for path in found if path.suffix != ".lock")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=5, unique=True),
    preprocess=st.sampled_from([PREPROCESS, GREY, PREPROCESS.model_copy(update={"color_jitter": 0.3})]),
)
def test_pixels_are_bit_identical_with_and_without_the_cache(
    sizes: list[tuple[int, int]], preprocess: Preprocess, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for i, (width, height) in enumerate(sizes):
        pixels = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    cached, files = opened(folder, preprocess), opened(folder, preprocess, cache=False)
    assert isinstance(cached, PixelCache)
    assert isinstance(files, PixelFiles)
    for photo in photos_in(folder):
        one, other = cached.read(photo), files.read(photo)
        assert torch.equal(one, other)
        assert torch.equal(preprocess.evaluation(one), preprocess.evaluation(other))


def test_a_cache_is_built_once_and_then_no_photo_is_opened(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=12)
    photos = photos_in(folder)
    first = opened(folder)
    expected = [first.read(photo) for photo in photos]
    for path in folder.rglob("*.jpg"):
        path.write_bytes(b"no photo any more")
    again = open_pixels(folder, photos, PREPROCESS, progress=False)
    assert all(torch.equal(again.read(p), pixels) for p, pixels in zip(photos, expected, strict=True))
    assert len(caches()) == 1
    expected[0].zero_()  # writing to what was read does not change the cache
    assert not torch.equal(again.read(photos[0]), expected[0])


def test_all_cores_decode(photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "cores", lambda: 5)
    together, original = threading.Barrier(5), PixelFiles.read

    def read(self: PixelFiles, photo: Photo) -> torch.Tensor:
        together.wait(timeout=20)  # until five threads are here
        return original(self, photo)

    monkeypatch.setattr(PixelFiles, "read", read)
    opened(photo_folder(train=20))
    assert caches()


def test_equal_files_share_their_pixels(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8)
    for path in sorted(folder.rglob("*.jpg")):
        (path.parent / f"copy of {path.name}").write_bytes(path.read_bytes())
    pixels = opened(folder)
    assert isinstance(pixels, PixelCache)
    assert len(pixels) == 8
    assert agree(pixels, folder)


def test_a_photo_that_changed_gets_its_new_pixels(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8)
    opened(folder)
    paths = sorted(folder.rglob("*.jpg"))
    paths[0].write_bytes(paths[-1].read_bytes()[:-2] + b"\0\xff\xd9")
    assert agree(opened(folder), folder)


def test_settings_of_shrink_decide_about_the_cache_and_other_settings_do_not(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=8)
    opened(folder)
    opened(folder, PREPROCESS.model_copy(update={"size": 8, "color_jitter": 0.2}))
    assert len(caches()) == 1
    for preprocess in (GREY, PREPROCESS.model_copy(update={"resize": 24})):
        assert agree(opened(folder, preprocess), folder, preprocess)
    assert len(caches()) == 3


def test_nothing_is_written_without_a_cache(photo_folder: Callable[..., Path], own_cache: Path) -> None:
    folder = photo_folder(train=8)
    assert isinstance(opened(folder, cache=False), PixelFiles)
    assert isinstance(open_pixels(folder, PhotoList.of([]), PREPROCESS), PixelFiles)
    assert list(own_cache.iterdir()) == []


def test_photos_are_not_modified(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    opened(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def flip_a_bit(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


NO_RECORDS = np.zeros(0, RECORD)
DAMAGE: dict[str, Callable[[Path], object]] = {
    "pixels cut": lambda place: truncate(place / "pixels"),
    "pixels gone": lambda place: (place / "pixels").unlink(),
    "pixels longer": lambda place: (place / "pixels").write_bytes((place / "pixels").read_bytes() + b"x"),
    "index cut": lambda place: truncate(place / "index"),
    "index empty": lambda place: (place / "index").write_bytes(b""),
    "index with no photos": lambda place: (place / "index").write_bytes(index_bytes(NO_RECORDS, place.name)),
    "a file for the folder": lambda place: (shutil.rmtree(place), place.write_bytes(b"no cache")),
    "a dangling link for the folder": lambda place: (shutil.rmtree(place), place.symlink_to("nowhere")),
    "index gone": lambda place: (place / "index").unlink(),
    "index of noise": lambda place: (place / "index").write_bytes(os.urandom(500)),
    "index of zeros": lambda place: (place / "index").write_bytes(bytes((place / "index").stat().st_size)),
    "index of fewer": lambda place: (place / "index").write_bytes((place / "index").read_bytes()[28:]),
    "index with a flipped bit": lambda place: flip_a_bit(place / "index", 5),
    "a pipe for an index": lambda place: ((place / "index").unlink(), os.mkfifo(place / "index")),
    "all gone": lambda place: [path.unlink() for path in place.iterdir()],
}


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_flipped_bit_is_found_and_the_photo_decoded_again(
    share: float, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path_factory.mktemp("photos")
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    first = opened(folder)
    assert isinstance(first, PixelCache)
    path = first.folder / "pixels"
    flip_a_bit(path, int(share * path.stat().st_size))
    caplog.clear()
    damaged = opened(folder)
    assert agree(damaged, folder)
    assert "is damaged: a checksum of pixels differs" in caplog.text
    opened(folder)  # rebuilds it
    caplog.clear()
    assert agree(opened(folder), folder)
    assert "damaged" not in caplog.text


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_a_damaged_cache_is_rebuilt(damage: str, photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=8)
    opened(folder)
    (name,) = caches()
    DAMAGE[damage](cache_path("pixels") / name)
    pixels = opened(folder)
    assert isinstance(pixels, PixelCache)
    assert agree(pixels, folder)
    assert caches() == [name]


BUILD = """
import os, signal, sys
from pathlib import Path
from reslab import Photos
from reslab.photos.loading.pixel_cache import PixelFiles, open_pixels
from reslab.photos.loading.preprocess import Preprocess
decoded, original, last = [], PixelFiles.read, int(sys.argv[2])
def read(self, photo):
    decoded.append(photo)
    if len(decoded) == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, photo)
PixelFiles.read = read
photos = Photos(sys.argv[1])
sys.stdin.readline()
open_pixels(photos.folder, photos.train, Preprocess(size=16, resize=20), progress=False)
print(len(decoded))
"""


def builder(folder: Path, killed_at: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILD, str(folder), str(killed_at)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_a_killed_build_leaves_no_cache(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=300)
    process = builder(folder, killed_at=200)
    process.communicate("\n")
    assert process.returncode == -signal.SIGKILL
    left = caches()
    assert left
    assert all(name.startswith(".") for name in left)
    photos = Photos(folder)
    pixels = open_pixels(folder, photos.train, PREPROCESS, progress=False)
    files = PixelFiles(folder, PREPROCESS)
    assert isinstance(pixels, PixelCache)
    assert all(torch.equal(pixels.read(photo), files.read(photo)) for photo in photos.train)
    assert not [name for name in caches() if name.startswith(".")]


@pytest.mark.slow
def test_one_of_two_processes_builds_and_both_use_the_cache(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=200)
    both = [builder(folder), builder(folder)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [int(process.communicate()[0]) for process in both]
    assert sorted(counts) == [0, len(Photos(folder).train)]
    assert len(caches()) == 1


def test_waiting_for_another_build_is_logged(
    photo_folder: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, inside, go_on = photo_folder(train=4), threading.Event(), threading.Event()
    original = PixelFiles.read

    def slow(self: PixelFiles, photo: Photo) -> torch.Tensor:
        inside.set()
        go_on.wait(20)
        return original(self, photo)

    monkeypatch.setattr(PixelFiles, "read", slow)
    threads = [threading.Thread(target=opened, args=(folder,)) for _ in range(2)]
    threads[0].start()
    assert inside.wait(20)
    with caplog.at_level(logging.WARNING, "reslab"):
        threads[1].start()
        while not caplog.messages and threads[1].is_alive():
            threads[1].join(0.05)
    go_on.set()
    for thread in threads:
        thread.join()
    assert caplog.messages == ["waiting for another process that decodes the same photos"]
    assert isinstance(opened(folder), PixelCache)


def test_an_interrupted_build_leaves_nothing(
    photo_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(PixelFiles, "read", interrupt)
    with pytest.raises(KeyboardInterrupt):
        opened(photo_folder(train=8))
    assert caches() == []


def warned(folder: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Return the one warning of a build that continues without a cache."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "reslab"):
        pixels = opened(folder)
    assert isinstance(pixels, PixelFiles)
    assert agree(pixels, folder)
    (message,) = caplog.messages
    assert message.startswith("no cache: ")
    assert message.endswith("; every epoch decodes the photos again, which is slower")
    return message


def test_a_full_disk_is_a_warning(
    photo_folder: Callable[..., Path],
    small_disk: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, disk = photo_folder(train=8), small_disk()
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    assert f"MB more in {cache_path('pixels')}, but 1 MB are free and 1,074 MB must" in warned(folder, caplog)
    monkeypatch.setattr(files, "MIN_FREE_DISK_BYTES", -(2**40))  # so that it tries
    (disk / "filler").write_bytes(b"x" * (2**20 - 3 * 4096))
    assert "No space left on device" in warned(folder, caplog)
    assert caches() == []


def test_a_cache_on_a_read_only_disk_is_used_and_none_is_built_there(
    photo_folder: Callable[..., Path],
    small_disk: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = photo_folder(train=8)
    disk = small_disk()
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    monkeypatch.setattr(files, "MIN_FREE_DISK_BYTES", 0)
    assert isinstance(opened(folder), PixelCache)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    assert isinstance(opened(folder), PixelCache)
    assert "Read-only file system" in warned(photo_folder("others", train=4), caplog)


def test_a_file_in_place_of_the_cache_folder_is_a_warning(
    photo_folder: Callable[..., Path], own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (own_cache / "reslab").write_text("not a folder")
    assert "Not a directory" in warned(photo_folder(train=4), caplog)


def test_open_pixels_refuses_photos_that_cannot_be_read(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=30)
    paths = sorted(folder.rglob("*.jpg"))
    for i, path in enumerate(paths[:12]):
        path.write_bytes(b"no photo" + bytes([i]))
    with pytest.raises(PhotosError) as caught:
        opened(folder)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"12 of 30 photos cannot be read, the first is {folder}/train/")
    assert lines[1].startswith("  why: its format is not one of JPEG")
    assert lines[-1].endswith(f"make a list without them: reslab check {folder} --fix list.jsonl")
    for path in paths[:12]:
        path.unlink()
    names = caches()  # of the others, and a link from the name for all photos
    assert len(names) == 2
    assert isinstance(pixels := opened(folder), PixelCache)
    assert pixels.folder.name in names
    assert caches() == names


def test_unreadable_photos_alone_get_no_cache(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    for _ in range(2):
        pixels, unread = open_readable(tmp_path, photos_in(tmp_path), PREPROCESS, progress=False)
        assert isinstance(pixels, PixelFiles)
        assert len(unread) == 1
    assert caches() == []


def test_a_cache_unused_for_two_months_is_removed(photo_folder: Callable[..., Path]) -> None:
    used, unused = photo_folder("used", train=4), photo_folder("unused", train=6)
    for folder in (used, unused):
        opened(folder)
    old = cache_path("pixels").stat().st_mtime - 61 * 24 * 3600
    for name in caches():
        os.utime(cache_path("pixels") / name, (old, old))
    opened(used)
    (kept,) = [name for name in caches() if (cache_path("pixels") / name).stat().st_mtime > old + 1]
    opened(photo_folder("new", train=8))
    assert kept in caches()
    assert len(caches()) == 2


def test_a_spawned_worker_opens_the_cache_itself(
    photo_folder: Callable[..., Path],
) -> None:
    folder = photo_folder(train=60)
    pixels, photo = opened(folder), photos_in(folder)[7]
    assert isinstance(pixels, PixelCache)
    assert len(pickle.dumps(pixels)) < (pixels.folder / "pixels").stat().st_size / 10
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(PixelCache._read_row, (pixels, pixels.row(photo.digest)))
    assert np.array_equal(found, pixels.read(photo).numpy())
