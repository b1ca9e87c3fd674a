"""`reslab exercise`: whatever the reader's file does, the answer is in words, nothing of theirs is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from reslab.course.exercises import EXERCISES
from reslab.course.grade import judge
from reslab.course.runner import examine
from reslab.errors import ReslabError

ANSWERS = Path(__file__).parent / "answers"


def exercise(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("reslab")), "exercise", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def written(folder: Path, text: str) -> Path:
    path = folder / "my_answer.py"
    path.write_text(text)
    return path


def test_the_task_is_printed_and_the_file_started_once(tmp_path: Path) -> None:
    first = exercise(tmp_path, "2")
    assert first.returncode == 0
    assert EXERCISES[2].task in first.stdout
    assert (tmp_path / "exercise2.py").read_text() == EXERCISES[2].starter
    (tmp_path / "exercise2.py").write_text("mine")
    assert "left as it is" in exercise(tmp_path, "2").stdout
    assert (tmp_path / "exercise2.py").read_text() == "mine"


def test_exit_codes_are_solved_0_not_solved_1_cannot_be_run_2(tmp_path: Path) -> None:
    right = exercise(tmp_path, "1", str(ANSWERS / "right1.py"))
    assert (right.returncode, right.stderr) == (0, "")
    assert "solved" in right.stdout
    exercise(tmp_path, "1")
    wrong = exercise(tmp_path, "1", "exercise1.py")
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert "expected ⌊(512 + 2·1 - 3)/2⌋ + 1 = 256" in wrong.stdout
    broken = exercise(tmp_path, "1", str(written(tmp_path, "def output_size(size:\n")))
    assert broken.returncode == 2
    assert "not valid Python" in broken.stderr
    assert "line 1: def output_size(size:" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_without_a_number_the_exercises_are_listed(tmp_path: Path) -> None:
    listed = exercise(tmp_path).stdout
    assert all(each.title in listed for each in EXERCISES.values())


@pytest.mark.parametrize(("number", "name"), [(0, "my.py"), (8, "my.py"), (1, "my.py"), (1, ".")])
def test_an_exercise_or_a_file_that_is_not_there_is_refused(tmp_path: Path, number: int, name: str) -> None:
    with pytest.raises(ReslabError, match="there is no"):
        judge(number, tmp_path / name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(:\n", "not valid Python"),
        ("x = '\0'", "not valid Python"),
        ("import torhc", "No module named 'torhc'\nline 1: import torhc"),
        ("x = 1\ny = x / 0", "ZeroDivisionError: division by zero\nline 2: y = x / 0"),
        ("import sys\nsys.exit()", "it calls exit() instead of returning\nline 2: sys.exit()"),
        ("def outputsize(n): return n", "no function output_size; it has outputsize"),
        ("output_size = 3", "no function output_size; it defines no function or class"),
        ("", "no function output_size"),
    ],
)
def test_a_file_that_cannot_be_run_is_answered_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    verdict = examine(1, written(tmp_path, text))
    assert verdict.outcome == "cannot be run"
    assert said in verdict.text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return sise", "NameError: name 'sise' is not defined\nline 2: return sise"),
        ("import sys; sys.exit(3)", "it calls exit() instead of returning\nline 2"),
        ("return output_size(size, *a)", "RecursionError"),
        ("return 'many'", "gives 'many'"),
    ],
)
def test_an_error_while_it_is_checked_is_answered_with_the_line(tmp_path: Path, body: str, said: str) -> None:
    verdict = examine(1, written(tmp_path, f"def output_size(size, *a):\n    {body}\n"))
    assert verdict.outcome == "not solved"
    assert said in verdict.text


def test_an_endless_loop_ends_and_its_line_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "def output_size(size, *a):\n    while True:\n        size += 1\n")
    started = time.monotonic()
    verdict = judge(1, path, seconds=2)
    assert verdict.outcome == "not solved"
    assert "still at work after 2 s" in verdict.text
    assert "line 2: while True:" in verdict.text or "line 3: size += 1" in verdict.text
    assert time.monotonic() - started < 120


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 9)", "was killed"),
    ],
)
def test_a_process_that_dies_is_answered_too(tmp_path: Path, body: str, said: str) -> None:
    verdict = judge(1, written(tmp_path, f"def output_size(*a):\n    {body}\n"))
    assert verdict.outcome == "not solved"
    assert said in verdict.text


def test_what_the_answer_prints_is_printed_and_its_neighbours_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "formulas.py").write_text((ANSWERS / "right1.py").read_text())
    (tmp_path / "random.py").write_text("raise SystemExit('not the library')")
    written(tmp_path, "from formulas import output_size\nprint('so far')\n")
    done = exercise(tmp_path, "1", "my_answer.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("so far\n")
