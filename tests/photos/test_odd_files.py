"""Odd files and folders: check, train and predict agree on each, and none of them hangs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from materials import make_photo
from odd_files import READ, RED, REFUSED, Odd, half, many_passes, photo

from reslab import Classifier, Photos, Recipe, check, train
from reslab.errors import PhotosError
from reslab.networks.registry import NetworkSpec
from reslab.photos.checking.findings import Truncated
from reslab.photos.checking.photo_stats import compute_stats
from reslab.photos.folder.digests import digest
from reslab.photos.folder.layout import find_photos
from reslab.photos.folder.photo_list import Photo, PhotoList
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.preprocess import Preprocess
from reslab.photos.loading.unreadable import skip_unreadable

LOOK = Preprocess(size=16, resize=2048)
UNREAD = {"empty file", "not an image", "truncated", "unreadable"}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write every odd file: the readable ones into train/red, the others into train/bad."""
    pytest.importorskip("pillow_heif")
    folder = tmp_path_factory.mktemp("odd")
    for name, odds in (("red", READ), ("bad", REFUSED)):
        (folder / "train" / name).mkdir(parents=True)
        for odd in odds:
            place(folder, odd, name).write_bytes(odd.make())
    for i in range(4):
        make_photo(folder / "train/blue" / f"{i}.jpg", i, (60, 90, 170))
    return folder


def place(folder: Path, odd: Odd, name: str) -> Path:
    return folder / "train" / name / odd.name


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", 2, 3)
    return Classifier(spec.build().eval(), ("blue", "red"), LOOK, spec)


def trained_on(path: Path, preprocess: Preprocess = LOOK) -> torch.Tensor:
    """Return the pixels that a training on this photo reads from its cache."""
    photos = PhotoList.of([Photo(path.name, 0, digest(path))])
    pixels = open_pixels(path.parent, photos, preprocess, progress=False)
    assert type(pixels).__name__ == "PixelCache"  # the cache was built and is used
    return pixels.read(photos[0])


def test_the_odd_files_cover_every_kind_of_finding() -> None:
    names = [odd.name for odd in READ + REFUSED]
    assert len(READ) >= 60
    assert len(REFUSED) >= 30
    assert len(set(names)) == len(names)
    assert {odd.finding for odd in REFUSED} == UNREAD


@pytest.mark.parametrize("odd", READ, ids=lambda odd: ascii(odd.name)[:40])
def test_an_odd_photo_is_read_with_its_size_and_colors(
    odd: Odd, written: Path, classifier: Classifier
) -> None:
    path = place(written, odd, "red")
    stats = compute_stats(path)
    assert (stats.problem, stats.width, stats.height) == ("", *odd.size)
    pixels = trained_on(path)
    width, height = odd.size
    if width < 3 * height:  # preprocessing keeps the middle of longer ones
        assert pixels.shape == (3, height, width)
    found = [tuple(pixels[:, y, x].tolist()) for y in (0, -1) for x in (0, -1)]
    off = [
        abs(a - b)
        for one, other in zip(found, odd.corners, strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    assert max(off) <= odd.by, found
    prediction = next(classifier.predict_all([path]))
    assert prediction.error is None
    assert prediction.path == str(path)
    assert classifier.predict(path.read_bytes()).probabilities == prediction.probabilities


@pytest.mark.parametrize("odd", REFUSED, ids=lambda odd: ascii(odd.name)[:40])
def test_check_train_and_predict_give_the_same_reason(
    odd: Odd, written: Path, classifier: Classifier
) -> None:
    path = place(written, odd, "bad")
    stats = compute_stats(path)
    assert stats.problem == odd.finding
    with pytest.raises(PhotosError) as refused:
        trained_on(path)
    assert str(path) in refused.value.what
    error = next(classifier.predict_all([path])).error
    assert str(error).endswith(f": {refused.value.why}")
    assert stats.reason == refused.value.why


def test_check_reports_exactly_the_unreadable_photos(written: Path) -> None:
    unread = {
        Path(finding.path or "").name: finding.kind
        for finding in check(written, progress=False).findings
        if finding.kind in UNREAD
    }
    assert unread == {odd.name: odd.finding for odd in REFUSED}


def run_reslab(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a real `reslab`, which must end within 100 seconds without a traceback."""
    command = [sys.executable, "-m", "reslab", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="surrogateescape", timeout=100, **options
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


SMALL = (
    "--network",
    "cifar_resnet20",
    "--epochs",
    1,
    "--size",
    16,
    "--batch-size",
    16,
    "--precision",
    "fp32",
)


@pytest.mark.slow
def test_real_processes_agree(written: Path, tmp_path: Path) -> None:
    checked = run_reslab("check", written, "--json")
    assert checked.returncode == 1
    found = json.loads(checked.stdout)["findings"]
    refused = {row["path"]: row["why"] for row in found if row["kind"] in UNREAD}
    assert len(refused) == len(REFUSED)

    refusal = run_reslab("train", written, *SMALL, "--run", tmp_path / "none")
    assert refusal.returncode == 2  # no photo of a class can be read
    assert f"{len(REFUSED)} of the {len(REFUSED)} photos of class bad in " in refusal.stderr
    assert not (tmp_path / "none").exists()

    good = tmp_path / "good"
    (good / "train").mkdir(parents=True)
    for name in ("red", "blue"):
        (good / "train" / name).symlink_to(written / "train" / name)
    run = tmp_path / "run"
    trained = run_reslab("train", good, *SMALL, "--run", run)
    assert trained.returncode == 0, trained.stderr

    predicted = run_reslab("predict", run, written / "train", "--json")
    assert predicted.returncode == 0
    rows = {
        str(Path(row["path"]).relative_to(written)): row
        for row in map(json.loads, predicted.stdout.splitlines())
    }
    assert {path for path, row in rows.items() if "error" in row} == set(refused)
    assert len(rows) == len(READ) + len(REFUSED) + 4
    for path, row in rows.items():
        assert "error" not in row or row["error"].endswith(refused[path])

    judged = run_reslab("evaluate", run, good / "train", "--json")
    assert json.loads(judged.stdout)["photos"] == len(READ) + 4
    refusal = run_reslab("evaluate", run, written / "train", "--json")
    assert refusal.returncode == 2  # it does not know a class; nothing is read


@pytest.mark.slow
def test_unreadable_files_do_not_change_a_training(written: Path, tmp_path: Path) -> None:
    for name in ("mixed", "clean"):
        for split in ("train", "val", "test"):
            for label, color in (("red", (170, 90, 60)), ("blue", (60, 90, 170))):
                for i in range(5):
                    make_photo(tmp_path / name / split / label / f"{i}.jpg", 7 * len(split) + i, color)
        for odd in READ:
            (tmp_path / name / "train/red" / odd.name).symlink_to(place(written, odd, "red"))
    for odd in REFUSED:
        (tmp_path / "mixed/train/red" / odd.name).symlink_to(place(written, odd, "bad"))
    for split, count in (("val", 2), ("test", 4)):
        for odd in REFUSED[:count]:
            (tmp_path / "mixed" / split / "red" / odd.name).symlink_to(place(written, odd, "bad"))
    outcomes = []
    for name in ("mixed", "clean"):
        run, alone = tmp_path / f"run of {name}", {**os.environ, "OMP_NUM_THREADS": "1"}
        done = run_reslab("train", tmp_path / name, *SMALL, "--run", run, env=alone)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        figures = [(row["train_loss"], row["val_loss"], row["val_accuracy"]) for row in rows]
        result, trained = json.loads((run / "result.json").read_text()), Classifier.load(run)
        tensors = {key: value.numpy().tobytes() for key, value in trained.network.state_dict().items()}
        listed = (run / "photos.jsonl").read_text().splitlines()[1:]  # the first line names the folder
        outcomes.append((figures, result["test_accuracy"], trained.temperature, tensors, listed))
        count = len(REFUSED) + 6 if name == "mixed" else 0
        by_split = f": {len(REFUSED)} of train, 2 of val, 4 of test"
        assert (f"skipped {count} photos that could not be read{by_split}" in done.stdout) == (count > 0)
        assert ("WARNING: skipping" in done.stdout) == (count > 0)
        assert result["skipped"]["count"] == count
    assert outcomes[0] == outcomes[1]
    judged = json.loads(run_reslab("evaluate", run, tmp_path / "mixed/test", "--json").stdout)
    assert (judged["photos"], judged["unread"], judged["accuracy"]) == (10, 4, result["test_accuracy"])


@pytest.mark.slow
def test_a_real_process_accepts_any_file_name(written: Path, classifier: Classifier, tmp_path: Path) -> None:
    classifier.save(tmp_path / "model.safetensors")
    names = [odd.name for odd in READ if not odd.name.isascii() or set(odd.name) & set("\n-*%~'")]
    done = run_reslab("predict", tmp_path / "model.safetensors", *names, "--json", cwd=written / "train/red")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["path"] for row in rows] == names
    assert [row for row in rows if "error" in row] == []


@pytest.fixture
def traps(tmp_path: Path) -> Path:
    """Make a folder of photos with pipes, devices, sockets and loops that could block a reader."""
    folder = tmp_path / "traps"
    for name, color in (("red", (170, 90, 60)), ("blue", (60, 90, 170))):
        for i in range(3):
            make_photo(folder / "train" / name / f"{i}.jpg", i, color)
    red = folder / "train/red"
    os.mkfifo(red / "pipe.jpg")
    (red / "link to a pipe.jpg").symlink_to("pipe.jpg")
    (red / "nowhere.jpg").symlink_to("gone.jpg")
    (red / "loop.jpg").symlink_to("loop.jpg")
    (red / "one.jpg").symlink_to("other.jpg")
    (red / "other.jpg").symlink_to("one.jpg")
    (red / "again").symlink_to("..")
    (red / "folder.jpg").mkdir()
    make_photo(red / "folder.jpg/inside.jpg", 9, (170, 90, 60))
    (red / "zeros.jpg").symlink_to("/dev/zero")
    (red / "terminal.jpg").symlink_to("/dev/tty")
    (red / "linked.jpg").symlink_to("0.jpg")
    os.link(red / "1.jpg", red / "twin.jpg")
    here = os.getcwd()
    os.chdir(red)  # a socket's whole path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.jpg")
    os.chdir(here)
    return folder


TRAPS = ("pipe", "link to a pipe", "nowhere", "loop", "one", "other", "zeros", "terminal", "socket")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_devices_and_loops_block_nothing(traps: Path, tmp_path: Path) -> None:
    photos = {"0.jpg", "1.jpg", "2.jpg", "twin.jpg", "linked.jpg", "inside.jpg"}
    assert {path.name for path in find_photos(traps / "train/red")} == photos
    checked = json.loads(run_reslab("check", traps, "--json").stdout)
    assert checked["photos"] == 9
    assert not {row["kind"] for row in checked["findings"]} & UNREAD
    run = tmp_path / "run"
    trained = run_reslab("train", traps, *SMALL, "--run", run)
    assert trained.returncode == 0, trained.stderr
    named = [f"train/red/{name}.jpg" for name in TRAPS] + [
        "train/red/folder.jpg/inside.jpg",
        "train/red/linked.jpg",
    ]
    predicted = run_reslab("predict", run, *named, "--json", cwd=traps)
    rows = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert [row["path"] for row in rows] == named
    assert [("error" in row) for row in rows] == [True] * len(TRAPS) + [False, False]
    assert run_reslab("evaluate", run, traps / "train", "--json").returncode == 0


def without_root(call: Callable[[], object]) -> str:
    """Return the repr of a function's result or error in a child process that is not root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65_534)
                os.setuid(65_534)
            text = repr(call())
        except BaseException as error:  # noqa: BLE001  it is the result
            text = f"{type(error).__name__}: {error}"
        os.write(writing, text.encode("utf-8", "surrogateescape"))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        text = answers.read().decode()
    os.waitpid(child, 0)
    return text


def test_a_file_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for above in (tmp_path, *tmp_path.parents[:3]):
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    for name, color in (("red", (170, 90, 60)), ("blue", (60, 90, 170))):
        for i in range(3):
            make_photo(tmp_path / "photos/train" / name / f"{i}.jpg", i, color)
    folder, locked = tmp_path / "photos", tmp_path / "photos/train/red/1.jpg"
    check(folder, progress=False)  # imports modules that another user may not read
    skip_unreadable(Photos(folder), LOOK, progress=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    locked.chmod(0)
    skipped = without_root(lambda: skip_unreadable(Photos(folder), LOOK, progress=False).skipped)
    assert "reasons={'train/red/1.jpg': \"[Errno 13] Permission denied" in skipped
    assert f"{locked} cannot be read as a photo" in without_root(lambda: LOOK.read(locked))
    found = without_root(lambda: [(f.kind, f.path) for f in check(folder, progress=False).findings])
    assert "('unreadable', 'train/red/1.jpg')" in found
    locked.chmod(0o644)
    (folder / "train/red").chmod(0)
    refused = without_root(lambda: Photos(folder))
    assert f"{folder} has only one class: blue" in refused
    for text in (refused, without_root(lambda: check(folder, progress=False))):
        assert "skipping folders that cannot be read, for lack of permission: 1, train/red" in text
    assert "red" not in without_root(lambda: [path.parent.name for path in find_photos(folder)])
    assert "Permission denied" in without_root(lambda: LOOK.read(locked))
    (folder / "train/red").chmod(0o755)


KEEP = LOOK.model_copy(update={"truncated": "keep"})


@pytest.mark.parametrize("progressive", [False, True])
def test_keep_uses_the_part_of_a_jpeg_that_exists(progressive: bool, tmp_path: Path) -> None:
    from odd_files import noisy

    whole, path = tmp_path / "whole.jpg", tmp_path / "half.jpg"
    whole.write_bytes(noisy("JPEG", progressive=progressive, quality=95))
    path.write_bytes(half("JPEG", progressive=progressive, quality=95))
    with pytest.raises(PhotosError, match="truncated"):
        trained_on(path)
    kept, good = trained_on(path, KEEP).float(), trained_on(whole, KEEP).float()
    assert kept.shape == good.shape
    if not progressive:
        assert torch.equal(kept[:, :30], good[:, :30])
        assert kept[:, -8:].std() < 3  # grey where the file lacks pixels
    else:
        assert (kept - good).abs().mean() < 40  # coarse but complete: random pixels differ by 85
    assert compute_stats(path, "keep").problem == ""
    assert torch.equal(LOOK.read(whole), KEEP.read(whole))
    assert LOOK.shrink_key() != KEEP.shrink_key()


def test_a_jpeg_cut_anywhere_after_its_header_is_kept() -> None:
    from odd_files import noisy

    for progressive in (False, True):
        content = noisy("JPEG", progressive=progressive, quality=60)
        first = content.index(b"\xff\xda") + 2
        for cut in (*range(first + 20, len(content) - 2, 97), *range(len(content) - 40, len(content))):
            assert KEEP.read(content[:cut]).shape == (3, 96, 128), (progressive, cut)
        for cut in range(0, first, 13):
            with pytest.raises(PhotosError):
                KEEP.read(content[:cut])


def test_keep_applies_only_to_jpegs() -> None:
    for kind in ("PNG", "GIF", "WEBP", "TIFF", "BMP"):
        with pytest.raises(PhotosError):
            KEEP.read(half(kind))


@pytest.mark.slow
def test_keep_applies_to_check_train_and_the_trained_model(tmp_path: Path) -> None:
    folder, run = tmp_path / "photos", tmp_path / "run"
    for name, color in (("red", (170, 90, 60)), ("blue", (60, 90, 170))):
        for i in range(3):
            make_photo(folder / "train" / name / f"{i}.jpg", i, color)
    cut = folder / "train/red/cut.jpg"
    cut.write_bytes(half("JPEG"))
    assert [type(finding) for finding in check(folder, progress=False).findings] == [Truncated]
    assert skip_unreadable(Photos(folder), LOOK, progress=False).skipped.reasons.keys() == {
        "train/red/cut.jpg"
    }
    assert check(folder, truncated="keep", progress=False).findings == ()
    assert check(folder, progress=False).findings  # the cached result of keep is not used
    recipe = Recipe(epochs=1, size=16, batch_size=16, precision="fp32", truncated="keep")
    train(folder, "cifar_resnet20", recipe, run=run, progress=False, say=str)
    classifier = Classifier.load(run)
    assert classifier.preprocess.truncated == "keep"
    assert next(classifier.predict_all([cut])).error is None
    assert classifier.evaluate(folder / "train").photos == 7


def test_a_heic_without_its_package_names_the_pip_command(tmp_path: Path) -> None:
    heic = next(odd for odd in READ if odd.name == "photo.heic")
    (tmp_path / "photo.heic").write_bytes(heic.make())
    (tmp_path / "pillow_heif.py").write_text("raise ImportError('not installed')\n")
    script = (
        "import sys; from pathlib import Path; from reslab.photos.decoding.decode import decode\n"
        "try: decode(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "photo.heic")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("PhotosError ")
    assert "pip install 'reslab[heic]'" in done.stdout


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as file:
        file.write(photo())
        file.truncate(2**40)
    with pytest.raises(PhotosError, match="the file has 1,099,511,627,776 bytes"):
        LOOK.read(path)


def test_scans_in_metadata_and_after_the_end_are_not_counted(tmp_path: Path) -> None:
    inside = photo(exif=b"Exif\0\0II*\0\10\0\0\0\0\0" + b"\xff\xda\0\2" * 9000)
    for content in (inside, inside + b"\xff\xda" * 100_000):
        assert tuple(LOOK.read(content)[:, 0, 0].tolist()) == pytest.approx(RED, abs=6)
    assert LOOK.read(many_passes(30, 64)).shape == (3, 64, 64)


def test_a_jpeg_too_large_for_memory_is_read_at_half_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from odd_files import lying

    from reslab.photos.decoding import limits
    from reslab.photos.decoding.decode import decode

    monkeypatch.setattr(limits, "MAX_DECODING_BYTES", 48 * 32 * 6)
    content = lying("JPEG", 6, quality=95)
    monkeypatch.setattr(limits, "READ_WHOLE", ())
    assert decode(content).size == (16, 24)
    with pytest.raises(PhotosError, match="of this kind take"):
        decode(lying("PNG", 6))
