"""Atomic writes and locks, on real disks and against real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reslab import files, locks
from reslab.errors import RunError


def test_write_replaces_the_whole_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"old", b"", b"new" * 10_000):
        files.write(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_written_file_has_the_usual_permissions(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write(tmp_path / "a", b"")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
    finally:
        os.umask(before)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Callable[..., Path]) -> None:
    disk = small_disk()
    files.write(disk / "model", b"old")
    with pytest.raises(OSError, match=r"No space left.*bytes are needed.*are missing.*model"):
        files.write(disk / "model", bytes(2**21))
    assert (disk / "model").read_bytes() == b"old"
    assert os.listdir(disk) == ["model"]


def test_writing_to_a_read_only_disk_raises_oserror(small_disk: Callable[..., Path]) -> None:
    with pytest.raises(OSError, match="Read-only"):
        files.write(small_disk("ro") / "model", b"new")


def test_a_reader_always_sees_a_whole_file(tmp_path: Path) -> None:
    """A process alternates between two contents until it is killed in the middle of a write."""
    path = tmp_path / "state"
    files.write(path, b"a" * 2_000_000)
    code = f"""
from pathlib import Path; from reslab.files import write
print(flush=True)
while True:
    for letter in (b"b", b"a"): write(Path({str(path)!r}), letter * 2_000_000)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        letters = set()
        try:
            for _ in range(200):
                content = path.read_bytes()
                assert len(content) == 2_000_000
                assert content.count(content[:1]) == len(content)
                letters.add(content[:1])
        finally:
            writer.kill()
    assert letters == {b"a", b"b"}
    assert len(path.read_bytes()) == 2_000_000
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["state"]


def test_json_keeps_any_file_name(tmp_path: Path) -> None:
    rows = [{"path": "caf\udce9\n猫.jpg"}, {"path": "b"}]
    files.write_json(tmp_path / "a.json", rows)
    files.write_json_lines(tmp_path / "a.jsonl", rows)
    assert json.loads((tmp_path / "a.json").read_bytes().decode("ascii")) == rows
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == rows


def test_a_checksum_detects_a_changed_value() -> None:
    value = {"name": "caf\udce9", "share": 0.1, "classes": ["a", "b"]}
    stored = json.loads(json.dumps(files.add_checksum(value)))
    assert files.verify_checksum(stored) == value
    assert files.verify_checksum(value) == value  # without a checksum
    with pytest.raises(ValueError, match="its checksum differs"):
        files.verify_checksum(stored | {"share": 0.2})


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    with suppress(ZeroDivisionError), files.whole_folder(folder) as making:
        (making / "file").write_text("")
        raise ZeroDivisionError
    assert os.listdir(tmp_path / "runs") == []
    with files.whole_folder(folder) as making:
        (making / "file").write_text("")
        assert not folder.exists()
    assert os.listdir(tmp_path / "runs") == ["a"]
    with pytest.raises(OSError, match="not empty"), files.whole_folder(folder):
        pass
    assert os.listdir(folder) == ["file"]


def test_a_new_folder_removes_leftovers_older_than_a_day(tmp_path: Path) -> None:
    old, new, other = (tmp_path / f".{name}" for name in ("a.1.reslab-tmp", "a.2.reslab-tmp", "other.tmp"))
    for folder in (old, new, other):
        folder.mkdir()
        (folder / "file").write_text("")
    for folder in (old, other):
        os.utime(folder, (0, time.time() - 2 * files.UNFINISHED_MAX_AGE_S))
    with files.whole_folder(tmp_path / "a"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"a", new.name, other.name}
    files.remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", other.name}


@pytest.mark.parametrize("name", ["x" * 250, "猫" * 80])
def test_a_name_may_be_as_long_as_the_disk_allows(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        files.write(tmp_path / name, b"content")
    with files.whole_folder(tmp_path / "runs" / name) as making:
        (making / "file").write_text("")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]
    assert os.listdir(tmp_path / "runs") == [name]


def test_user_path_expands_a_home_and_keeps_an_unknown_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert files.user_path("~/photos") == Path("/home/me/photos")
    assert files.user_path("~nobody-here/photos") == Path("~nobody-here/photos")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the lock of tmp_path."""
    code = (
        "import sys, time, pathlib, reslab.locks\n"
        f"with reslab.locks.only_process(pathlib.Path({str(tmp_path)!r})): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_folder_has_one_process_and_the_error_names_it(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert locks.is_locked(tmp_path)
    with pytest.raises(RunError) as error, locks.only_process(tmp_path):
        pass
    assert f"process {holder.pid}" in str(error.value)


def test_the_lock_of_a_killed_process_is_no_obstacle(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert not locks.is_locked(tmp_path)
    (tmp_path / ".lock-owner").write_text(f"process {os.getppid()}\n")  # a living process reuses the number
    with locks.only_process(tmp_path):
        assert locks.is_locked(tmp_path)
        assert f"process {os.getpid()}" in (tmp_path / ".lock-owner").read_text()
    assert not locks.is_locked(tmp_path)
    assert not (tmp_path / ".lock-owner").exists()


def test_the_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.only_process(tmp_path):
        raise ZeroDivisionError
    with locks.only_process(tmp_path):
        pass


def test_is_locked_creates_no_file(tmp_path: Path) -> None:
    assert not locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path / "absent")
    assert os.listdir(tmp_path) == []
