"""Whole-file writes and locks, on real disks and against real processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reslab import files, locks
from reslab.errors import RunError


def test_a_file_is_replaced_whole_and_no_other_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b"old", b"", b"new" * 10_000):
        files.write(path, content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_file_has_the_permissions_that_open_would_give_it(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        files.write(tmp_path / "a", b"")
        assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask
        assert os.umask(mask) == mask
    finally:
        os.umask(before)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk: Callable[..., Path]) -> None:
    disk = small_disk()
    files.write(disk / "model", b"old")
    with pytest.raises(OSError, match="No space left"):
        files.write(disk / "model", bytes(2**21))
    assert (disk / "model").read_bytes() == b"old"
    assert os.listdir(disk) == ["model"]


def test_a_folder_that_cannot_be_written_is_an_oserror(small_disk: Callable[..., Path]) -> None:
    with pytest.raises(OSError, match="Read-only"):
        files.write(small_disk("ro") / "model", b"new")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """A process writes one of two contents again and again until it is killed in the middle of it."""
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
        seen = set()
        try:
            for _ in range(200):
                content = path.read_bytes()
                assert len(content) == 2_000_000
                assert content.count(content[:1]) == len(content)
                seen.add(content[:1])
        finally:
            writer.kill()
    assert seen == {b"a", b"b"}
    assert len(path.read_bytes()) == 2_000_000
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["state"]


def test_json_carries_any_file_name(tmp_path: Path) -> None:
    rows = [{"path": "caf\udce9\n猫.jpg"}, {"path": "b"}]
    files.write_json(tmp_path / "a.json", rows)
    files.write_json_lines(tmp_path / "a.jsonl", rows)
    assert json.loads((tmp_path / "a.json").read_bytes().decode("ascii")) == rows
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == rows


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds tmp_path."""
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
    with locks.only_process(tmp_path):
        assert locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path)


def test_the_number_of_a_dead_owner_may_be_another_process_by_now(
    holder: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    holder.kill()
    holder.wait()
    (tmp_path / ".lock-owner").write_text(f"process {os.getppid()}\n")  # it lives, and has no lock
    with locks.only_process(tmp_path):
        assert f"process {os.getpid()}" in (tmp_path / ".lock-owner").read_text()
    assert not (tmp_path / ".lock-owner").exists()


def test_what_dead_processes_left_of_a_folder_goes_and_what_living_ones_make_stays(
    holder: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=subprocess.PIPE)
    runs, here, dead = tmp_path / "runs", files._place(), int(done.stdout)
    stay = {
        f".a.{here}-{holder.pid}-0123.tmp",
        f".a.{here}-{os.getpid()}-cafe.tmp",  # another thread's
        f".a.89abcdef-{dead}-0123.tmp",  # its process lives on another machine, for all that is known here
        f".b.{here}-{dead}-0123.tmp",
        ".a.tmp",  # somebody's own
    }
    monkeypatch.setattr(files, "THIS", "cafe")
    go = {f".a.{here}-{dead}-0123.tmp", f".a.{here}-{os.getpid()}-0123.tmp"}  # the second had our number
    forgotten = f".a.89abcdef-{dead}-4567.tmp"
    for name in stay | go | {forgotten}:
        (runs / name).mkdir(parents=True)
    os.utime(runs / forgotten, (0, time.time() - 2 * files.DAY))
    with files.whole_folder(runs / "a") as making:
        (making / "file").write_text("")
    assert set(os.listdir(runs)) == stay | {"a"}


@pytest.mark.parametrize("name", ["x" * 250, "猫" * 80])
def test_a_name_may_be_as_long_as_the_disk_lets_it(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        files.write(tmp_path / name, b"content")
    with files.whole_folder(tmp_path / "runs" / name) as making:
        (making / "file").write_text("")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [name]
    assert os.listdir(tmp_path / "runs") == [name]


def test_an_unfinished_file_is_an_orphan_once_its_process_is_no_more(tmp_path: Path) -> None:
    code = """
import sys, time; from pathlib import Path; from reslab.files import write
def chunks():
    yield b"half of it"
    print(flush=True)
    time.sleep(60)
write(Path(sys.argv[1]), chunks())
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a.json")], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        [unfinished] = tmp_path.iterdir()
        assert files.orphans(tmp_path) == []
        writer.kill()
    assert files.orphans(tmp_path) == [unfinished]


def test_a_checksum_tells_what_was_written_from_what_is_read() -> None:
    value = {"name": "caf\udce9", "share": 0.1, "classes": ["a", "b"]}
    there = json.loads(json.dumps(files.checked(value)))
    assert files.verified(there) == value
    assert files.verified(value) == value  # written by hand: believed
    with pytest.raises(ValueError, match="not as it was written"):
        files.verified(there | {"share": 0.2})


def test_a_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.only_process(tmp_path):
        raise ZeroDivisionError
    with locks.only_process(tmp_path):
        pass


def test_asking_whether_a_folder_is_locked_changes_nothing(tmp_path: Path) -> None:
    assert not locks.is_locked(tmp_path)
    assert not locks.is_locked(tmp_path / "absent")
    assert os.listdir(tmp_path) == []
