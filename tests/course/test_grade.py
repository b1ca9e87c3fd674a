"""`reslab exercise` and the grader: every failure of the learner's file becomes feedback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reslab.course.exercises import EXERCISES
from reslab.course.grade import grade
from reslab.course.runner import run_check
from reslab.errors import ReslabError

ANSWERS = Path(__file__).parent / "answers"


def exercise(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("reslab")), "exercise", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def write_answer(folder: Path, text: str) -> Path:
    path = folder / "my_answer.py"
    path.write_text(text)
    return path


def test_the_command_prints_the_task_and_never_overwrites_the_file(tmp_path: Path) -> None:
    first = exercise(tmp_path, "2")
    assert first.returncode == 0
    assert EXERCISES[2].task in first.stdout
    assert (tmp_path / "exercise2.py").read_text() == EXERCISES[2].starter
    (tmp_path / "exercise2.py").write_text("mine")
    assert exercise(tmp_path, "2").returncode == 0
    assert (tmp_path / "exercise2.py").read_text() == "mine"


@pytest.mark.slow
def test_the_command_exits_with_1_and_explains_when_not_solved(tmp_path: Path) -> None:
    path = write_answer(tmp_path, EXERCISES[1].starter)
    wrong = exercise(tmp_path, "1", str(path))
    assert (wrong.returncode, wrong.stderr) == (1, "")
    assert "expected ⌊(512 + 2·1 - 3)/2⌋ + 1 = 256" in wrong.stdout


@pytest.mark.slow
def test_the_command_exits_with_2_when_the_file_cannot_run(tmp_path: Path) -> None:
    broken = exercise(tmp_path, "1", str(write_answer(tmp_path, "def output_size(size:\n")))
    assert broken.returncode == 2
    assert "it cannot be imported" in broken.stderr
    assert "line 1: def output_size(size:" in broken.stderr
    assert "Traceback" not in broken.stderr


@pytest.mark.slow
def test_the_command_exits_with_0_and_the_file_may_print_and_import_its_neighbors(tmp_path: Path) -> None:
    (tmp_path / "formulas.py").write_text((ANSWERS / "right1.py").read_text())
    (tmp_path / "random.py").write_text("raise SystemExit('not the library')")
    write_answer(tmp_path, "from formulas import output_size\nprint('so far')\n")
    done = exercise(tmp_path, "1", "my_answer.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("so far\n")
    assert "solved" in done.stdout


def test_without_a_number_the_command_lists_the_exercises(tmp_path: Path) -> None:
    listed = exercise(tmp_path).stdout
    assert all(each.title in listed for each in EXERCISES.values())


@pytest.mark.parametrize(("number", "name"), [(0, "my.py"), (8, "my.py"), (1, "my.py"), (1, ".")])
def test_a_missing_exercise_or_file_is_an_error(tmp_path: Path, number: int, name: str) -> None:
    with pytest.raises(ReslabError, match="there is no"):
        grade(number, tmp_path / name)


@pytest.mark.parametrize(
    ("text", "feedback"),
    [
        ("def f(:\n", "SyntaxError: invalid syntax (my_answer.py, line 1)\nline 1: def f(:"),
        ("x = '\0'", "cannot contain null bytes"),
        ("import torhc", "No module named 'torhc'\nline 1: import torhc"),
        ("x = 1\ny = x / 0", "ZeroDivisionError: division by zero\nline 2: y = x / 0"),
        ("import sys\nsys.exit()", "it calls exit() instead of returning\nline 2: sys.exit()"),
        ("def outputsize(n): return n", "no function output_size; it has outputsize"),
        ("output_size = 3", "no function output_size; it defines no function or class"),
        ("", "no function output_size"),
    ],
)
def test_an_error_on_import_is_reported_with_its_line(tmp_path: Path, text: str, feedback: str) -> None:
    verdict = run_check(1, write_answer(tmp_path, text))
    assert verdict.outcome == "cannot be run"
    assert feedback in verdict.text


@pytest.mark.parametrize(
    ("body", "feedback"),
    [
        ("return sise", "NameError: name 'sise' is not defined\nline 2: return sise"),
        ("import sys; sys.exit(3)", "it calls exit() instead of returning\nline 2"),
        ("return output_size(size, *a)", "RecursionError"),
        ("return 'many'", "gives 'many'"),
    ],
)
def test_an_error_during_the_check_is_reported_with_its_line(
    tmp_path: Path, body: str, feedback: str
) -> None:
    verdict = run_check(1, write_answer(tmp_path, f"def output_size(size, *a):\n    {body}\n"))
    assert verdict.outcome == "not solved"
    assert feedback in verdict.text


@pytest.mark.slow
def test_an_endless_loop_is_stopped_and_its_line_reported(tmp_path: Path) -> None:
    path = write_answer(tmp_path, "def output_size(size, *a):\n    while True:\n        size += 1\n")
    verdict = grade(1, path, timeout_s=2)
    assert verdict.outcome == "not solved"
    assert "still running after 2 s" in verdict.text
    assert "line 2: while True:" in verdict.text or "line 3: size += 1" in verdict.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "feedback"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)"),
        ("import os; os.kill(os.getpid(), 9)", "was killed"),
    ],
)
def test_a_dead_process_is_reported(tmp_path: Path, body: str, feedback: str) -> None:
    verdict = grade(1, write_answer(tmp_path, f"def output_size(*a):\n    {body}\n"))
    assert verdict.outcome == "not solved"
    assert feedback in verdict.text
