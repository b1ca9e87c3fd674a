"""make_drawings: JPEG files, the same bytes for the same seed, complete or absent, distinguished by shape."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import reslab
from reslab.errors import PhotosError, UsageError


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.jpg")}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reslab.make_drawings(
        tmp_path_factory.mktemp("drawings") / "photos", train=600, test=200, progress=False
    )


def test_the_files_are_jpegs_of_the_given_size_in_class_folders(tmp_path: Path) -> None:
    folder = reslab.make_drawings(tmp_path / "photos", train=8, test=4, size=64, progress=False)
    counts = {
        f"{split}/{kind}": len(list((folder / split / kind).iterdir()))
        for split in ("train", "test")
        for kind in ("cat", "dog")
    }
    assert counts == {"train/cat": 4, "train/dog": 4, "test/cat": 2, "test/dog": 2}
    for path in folder.rglob("*.jpg"):
        with Image.open(path) as image:
            image.load()
            assert (image.format, image.size, image.mode) == ("JPEG", (64, 64), "RGB")
    assert len(list(folder.rglob("*.*"))) == 12


def test_photos_reads_the_folder(drawings: Path) -> None:
    photos = reslab.Photos(drawings)
    assert photos.classes == ("cat", "dog")
    assert (len(photos.train), len(photos.val), len(photos.test)) == (540, 60, 200)
    assert sum(photo.label for photo in photos.test) == 100
    assert photos.notes == ()


def test_no_two_drawings_are_equal(drawings: Path) -> None:
    assert len({hashlib.sha256(content).digest() for content in bytes_of(drawings).values()}) == 800


def test_the_seed_decides_about_every_byte(tmp_path: Path) -> None:
    one, again, other = (
        bytes_of(reslab.make_drawings(tmp_path / name, train=12, test=4, seed=seed, progress=False))
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    assert one == again
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one)


def test_a_drawing_does_not_depend_on_the_others(tmp_path: Path) -> None:
    few = bytes_of(reslab.make_drawings(tmp_path / "few", train=5, test=2, progress=False))
    many = bytes_of(reslab.make_drawings(tmp_path / "many", train=20, test=6, progress=False))
    assert len(few) == 7
    assert few.items() <= many.items()


def test_the_global_random_state_is_not_used(tmp_path: Path) -> None:
    np.random.seed(0)
    expected = np.random.random()
    np.random.seed(0)
    reslab.make_drawings(tmp_path / "photos", train=4, test=2, progress=False)
    assert np.random.random() == expected


def test_a_linear_model_of_pixels_cannot_distinguish_cats_from_dogs(drawings: Path) -> None:
    """A linear model of 16 x 16 pixels is close to guessing, so the shape must decide."""

    def load(split: str) -> tuple[np.ndarray, list[str]]:
        paths = sorted((drawings / split).rglob("*.jpg"))
        small = [np.asarray(Image.open(path).resize((16, 16)), np.float32).ravel() for path in paths]
        return np.stack(small), [path.parent.name for path in paths]

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=300)).fit(*load("train"))
    assert model.score(*load("test")) < 0.7


def test_an_existing_folder_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.txt").write_text("mine")
    with pytest.raises(PhotosError) as error:
        reslab.make_drawings(tmp_path / "photos", train=4, test=2, progress=False)
    assert f"{tmp_path / 'photos'} exists already" in str(error.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["photos", "mine.txt"]


def test_numbers_out_of_range_are_an_error(tmp_path: Path) -> None:
    for numbers in ({"train": 3}, {"test": 1}, {"size": 31}, {"size": 1025}):
        with pytest.raises(UsageError, match="cannot draw"):
            reslab.make_drawings(tmp_path / "photos", **numbers, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("options", ["rw", "ro"])
def test_a_full_or_read_only_disk_is_an_error_and_nothing_remains(
    small_disk: Callable[..., Path], options: str
) -> None:
    disk = small_disk(options)
    with pytest.raises(PhotosError) as error:
        reslab.make_drawings(disk / "photos", train=600, test=2, progress=False)
    assert f"cannot be written to {disk / 'photos'}" in str(error.value)
    assert ("No space left" if options == "rw" else "Read-only") in str(error.value)
    assert list(disk.iterdir()) == []


def test_a_path_through_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PhotosError, match="cannot be written"):
        reslab.make_drawings(tmp_path / "file" / "photos", train=4, test=2, progress=False)


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_call_leaves_no_folder_and_the_next_one_succeeds(
    tmp_path: Path, stop: signal.Signals
) -> None:
    folder = tmp_path / "photos"
    code = f"import reslab; reslab.make_drawings({str(folder)!r}, train=100_000, progress=False)"
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.rglob("*.jpg"))) < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(stop)
    assert process.returncode != 0
    assert not folder.exists()
    if stop == signal.SIGINT:
        assert os.listdir(tmp_path) == []
    reslab.make_drawings(folder, train=4, test=2, progress=False)
    assert len(bytes_of(folder)) == 6
