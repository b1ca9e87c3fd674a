"""Failing system calls, full disks and removed folders: a clear error, and nothing is lost."""

import ctypes
import json
import os
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_trials import faults
from rough_machine import RoughMachine, few_photos, run_results

from reslab import Recipe, ReslabError, Run, files, resume
from reslab.errors import RunError
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.start import start_run

MEGABYTE = 2**20


@pytest.fixture
def disk(small_disk: Callable[..., Path]) -> Path:
    """A real disk of 64 MB."""
    return small_disk(size="64m")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return few_photos(tmp_path / "photos")


def start(photos: Path, run: Path, recipe: Recipe) -> Run:
    return start_run(photos, "cifar_resnet20", recipe, weights=None, run=run, progress=False, say=str)


def fill(disk: Path, spare: int) -> Path:
    """A file that leaves `spare` bytes free."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(disk).free - spare))
    return ballast


@pytest.mark.slow
def test_any_failing_call_is_reported_and_resume_gives_the_same_weights(
    machine: RoughMachine, tmp_path: Path
) -> None:
    seen = list(faults(machine, tmp_path, every=29))
    assert [fault for fault in seen if fault.wrong] == []
    assert {fault.outcome for fault in seen} == {"reported", "tolerated"}
    assert {fault.error for fault in seen} == {"ENOSPC", "EIO", "EACCES"}
    assert len(seen) >= 15


def test_a_full_disk_error_counts_the_missing_bytes(disk: Path) -> None:
    ballast = fill(disk, 3 * MEGABYTE)
    with pytest.raises(OSError, match="No space left on device: 5,000,000 bytes are needed and") as caught:
        files.write(disk / "model", bytes(5_000_000))
    assert caught.value.filename == str(disk / "model")
    missing = int(caught.value.strerror.split(", ")[-1].split()[0].replace(",", ""))
    assert f"{missing:,} are missing" in caught.value.strerror
    os.truncate(ballast, ballast.stat().st_size - missing + 4096)
    with pytest.raises(OSError, match=" are missing"):
        files.write(disk / "model", bytes(5_000_000))
    os.truncate(ballast, ballast.stat().st_size - 4096)
    files.write(disk / "model", bytes(5_000_000))
    assert sorted(os.listdir(disk)) == ["ballast", "model"]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["in the middle", "before the result"])
def test_a_disk_that_fills_during_training_loses_nothing(
    when: str, disk: Path, photos: Path, small: Recipe, tmp_path: Path
) -> None:
    calm = resume(start(photos, tmp_path / "calm", small), progress=False, say=str)
    run = start(photos, disk / "run", small)
    epochs = train_epochs(run, progress=False, say=str)
    for _ in range(1 if when == "in the middle" else 2):
        next(epochs)
    ballast = fill(disk, MEGABYTE // 2)
    with pytest.raises(RunError) as caught:
        next(epochs)
    assert str(run.folder) in caught.value.what
    assert "could not be written" in caught.value.what
    assert " are missing; the last checkpoint is complete" in caught.value.why
    assert f"make room or fix the cause, then resume: reslab resume {run.folder}" in caught.value.do
    assert run.state == "interrupted"
    assert not list(run.folder.glob(".*.reslab-tmp"))
    ballast.unlink()
    resume(run, progress=False, say=str)
    assert run_results(run.folder) == run_results(calm.folder)


@pytest.mark.slow
def test_a_full_cache_disk_does_not_change_the_weights(
    disk: Path, photos: Path, small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = resume(start(photos, tmp_path / "calm", small), progress=False, say=str)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    fill(disk, 8192)
    run = resume(start(photos, tmp_path / "run", small), progress=False, say=str)
    assert run_results(run.folder) == run_results(calm.folder)
    left = {path.name for path in disk.rglob("*") if path.is_file() and path.suffix != ".lock"}
    assert left <= {"ballast", "precision.json"}


def test_a_full_disk_at_the_start_leaves_nothing_and_counts_the_missing_bytes(
    disk: Path, photos: Path, small: Recipe
) -> None:
    fill(disk, MEGABYTE // 2)
    with pytest.raises(RunError, match=r"the run folder .* cannot be written") as caught:
        start(photos, disk / "run", small)
    assert " are missing" in caught.value.why
    assert os.listdir(disk) == ["ballast"]


@pytest.mark.slow
def test_a_folder_removed_during_training_raises_an_error(
    photos: Path, small: Recipe, tmp_path: Path
) -> None:
    run = start(photos, tmp_path / "run", small)
    epochs = train_epochs(run, progress=False, say=str)
    next(epochs)
    run.folder.rename(tmp_path / "away")
    with pytest.raises(RunError) as caught:
        next(epochs)
    assert caught.value.what == f"{run.folder} is missing"
    assert "restore it and resume" in caught.value.do
    (tmp_path / "away").rename(run.folder)
    assert resume(run, progress=False, say=str).state == "finished"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody may enter."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.slow
@pytest.mark.usefixtures("finished")  # it has imported all that another user may not read
def test_a_permission_lost_during_training_raises_an_error(small: Recipe, open_place: Path) -> None:
    """As another user, since root may write everywhere."""
    photos, report = few_photos(open_place / "photos"), open_place / "report.json"
    run = start(photos, open_place / "run", small.with_settings(cache=False))
    if os.getuid() == 0:
        for path in [open_place, *open_place.rglob("*")]:
            os.chown(path, 65534, 65534)
    process = os.fork()
    if not process:
        _train_and_lose_permission(run, report)
    os.waitpid(process, 0)
    run.folder.chmod(0o755)
    error = json.loads(report.read_text())
    assert len(error) == 3, error
    what, why, do = error
    assert what.startswith(str(run.folder))
    assert what.endswith("could not be written")
    assert "Permission denied; the last checkpoint is complete" in why
    assert "reslab resume" in do
    assert resume(run, progress=False, say=str).state == "finished"


def _train_and_lose_permission(run: Run, report: Path) -> None:
    try:
        if os.getuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        epochs = train_epochs(run, progress=False, say=str)
        next(epochs)
        run.folder.chmod(0o555)
        next(epochs)
        report.write_text(json.dumps(["nothing was refused"]))
    except ReslabError as error:
        report.write_text(json.dumps([error.what, error.why, error.do]))
    except BaseException:  # noqa: BLE001
        report.write_text(json.dumps([traceback.format_exc()]))
    finally:
        os._exit(0)


def test_a_read_only_disk_raises_an_error(disk: Path, photos: Path, small: Recipe) -> None:
    run = start(photos, disk / "run", small)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(RunError, match="nothing can be written into") as caught:
        resume(run, progress=False, say=str)
    assert "Read-only file system" in caught.value.why
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert resume(run, progress=False, say=str).state == "finished"


def _holds(now: Any, as_written: Any) -> bool:
    """Whether all that was written is there; the name of the checksum itself may have been hit."""
    if isinstance(now, list):
        return len(now) == len(as_written) and all(map(_holds, now, as_written))
    return now | as_written == now if isinstance(now, dict) else str(now) == str(as_written)


def _flipped(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << (place % 7)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("run.json", lambda run: run.about),
        ("photos.jsonl", lambda run: run.photos),
        ("metrics.jsonl", lambda run: run.rows),
        ("environment.json", lambda run: run.environment),
        ("result.json", lambda run: run.result),
        ("model.safetensors", lambda run: run.classifier),
    ],
)
def test_a_truncated_file_and_a_flipped_bit_are_noticed(
    name: str, ask: Callable[[Run], Any], finished: Run, tmp_path: Path
) -> None:
    """Every place of a short file and 60 of a long one: what is read is what was written, or an error."""
    run = Run(shutil.copytree(finished.folder, tmp_path / "run"))
    path, good = run.folder / name, (finished.folder / name).read_bytes()
    as_written, refused, places = ask(run), 0, range(0, len(good), max(1, len(good) // 60))
    for place in places:
        for damage in (lambda at: path.write_bytes(good[:at]), lambda at: _flipped(path, at)):
            path.write_bytes(good)
            damage(place)
            try:
                assert _holds(ask(run), as_written)
            except ReslabError as error:
                assert name in str(error)  # noqa: PT017
                refused += 1
    assert refused > len(places)


def test_the_page_of_the_shim_has_the_same_layout_in_c_and_python() -> None:
    """The page is read by C and by Python: both must see the same places."""
    from rough_machine import Page

    assert ctypes.sizeof(Page) == 4 * (5 + 6) + 2 * 1024
