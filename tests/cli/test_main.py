"""The command line: help, exit codes, error messages, output that cannot be written, and no heavy imports."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from reslab import Recipe
from reslab.cli.main import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str, reslab_here: Callable[..., Any]) -> None:
    code, out, err = reslab_here(verb, "--help")
    assert (code, err) == (0, "")
    assert f"Example: reslab {verb}" in out


def test_the_help_names_every_verb_in_its_group(reslab_here: Callable[..., Any]) -> None:
    for arguments in ([], ["--help"], ["-h"], ["help"]):
        code, out, _ = reslab_here(*arguments)
        assert code == 0
        assert all(f"\n  {verb} " in out for verb in VERBS)
        assert all(f"\n{group}\n" in out for group in ("LOOK", "TRAIN", "JUDGE"))


def test_help_and_the_table_of_runs_import_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import sys
from reslab.cli.main import run
def heavy(): return {{"torch", "torchvision", "matplotlib", "sklearn", "scipy"}} & set(sys.modules)
assert run(["--help"]) == 0 and not {{"numpy", "pydantic", "cyclopts"}} & set(sys.modules)
for verb in {list(VERBS)!r}:
    assert run([verb, "--help"]) == 0 and not heavy(), (verb, heavy())
assert run(["runs", {str(tmp_path)!r}]) == 0 and not heavy(), heavy()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_field_of_the_recipe_is_a_flag_with_its_explanation(reslab_here: Callable[..., Any]) -> None:
    words = " ".join(reslab_here("train", "--help").out.replace("│", " ").split())
    for name, field in Recipe.model_fields.items():
        flag = f"--{name.replace('_', '-')} "
        assert flag in words
        assert field.description is not None
        assert all(word in words for word in field.description.split())
        if isinstance(field.default, bool):
            assert f"--no-{flag[2:]}" in words


GOOD = "PHOTOS"  # stands for a valid folder of photos
BAD = {
    "no verb": (["trian"], ["there is no verb 'trian'", "did you mean 'train'"]),
    "no folder": (["train"], ["reslab train needs FOLDER", "see reslab train --help"]),
    "a folder that is missing": (["train", "nowhere"], ["there is no folder nowhere"]),
    "an empty folder": (["train", "empty"], ["empty has no photos", "one folder per class"]),
    "a folder without images": (["train", "texts"], ["texts has no photos", ".jpg"]),
    "one class": (["train", "one"], ["one has only one class: cat", "at least two"]),
    "an unknown network": (["train", GOOD, "--network", "resnet19"], ["no network 'resnet19'", "'resnet18'"]),
    "an unknown torchvision network": (["train", GOOD, "--network", "torchvision:resnet19"], ["resnet19'"]),
    "an unknown recipe": (["train", GOOD, "--recipe", "fats"], ["no recipe 'fats'", "did you mean 'fast'"]),
    "an unknown flag": (["train", GOOD, "--epochz", "3"], ["--epochz", "Did you mean --epochs?"]),
    "the flag of another tool": (["train", GOOD, "--lr=0.1"], ["has no flag --lr", "write --learning-rate"]),
    "a missing flag": (["conv", "32"], ["reslab conv needs --kernel", "as in: reslab conv 224"]),
    "a network of torchvision": (["show", "vgg16"], ["torchvision has it", "torchvision:vgg16"]),
    "no number": (["train", GOOD, "--epochs", "many"], ["many", "--epochs"]),
    "out of range": (["train", GOOD, "--epochs", "0"], ["epochs: 0 is less than 1"]),
    "a contradiction": (
        ["train", GOOD, "--optimizer", "adam", "--momentum", "0.9"],
        ["momentum: it belongs to sgd, the optimizer is adam"],
    ),
    "a recipe file with a typo": (
        ["train", GOOD, "--recipe", "typo.toml"],
        ["'epcohs'", "did you mean 'epochs'"],
    ),
    "weights that are missing": (["train", GOOD, "--weights", "none.pth"], ["none.pth"]),
    "weights that are none": (["train", GOOD, "--weights", "texts/a.txt"], ["texts/a.txt"]),
    "weights of another network": (
        ["train", GOOD, "--network", "resnet50", "--weights", "other.pth"],
        ["nothing in other.pth fits this network", "stage.weight"],
    ),
    "a size too small": (
        ["train", GOOD, "--size", "16", "--resize", "16"],
        ["16 pixels are too small for resnet18", "--size 32 or more"],
    ),
    "a run folder that exists": (["train", GOOD, "--run", "empty"], ["empty exists already", "--run"]),
    "a run folder inside a file": (["train", GOOD, "--run", "typo.toml/run"], ["typo.toml is not a folder"]),
    "no precision": (["train", GOOD, "--precision", "fp16"], ["no precision 'fp16'", "did you mean 'bf16'"]),
    "no device": (["train", GOOD, "--device", "gpu"], ["there is no device 'gpu'", "cuda:1"]),
    "an unknown part": (["train", GOOD, "--freeze", "layer9"], ["no part 'layer9'", "did you mean 'layer"]),
    "a stem that cannot be": (
        ["train", GOOD, "--network", "torchvision:resnet18", "--stem", "small"],
        ["built as its source defines it"],
    ),
    "no run to resume": (["resume", "nowhere"], ["nowhere does not exist", "reslab runs"]),
    "a folder that is no run": (["resume", "empty"], ["empty is not a run folder"]),
    "no runs": (["runs", "nowhere"], ["there is no readable folder nowhere"]),
    "no model": (["evaluate", "nowhere", GOOD], ["there is no model nowhere"]),
    "a model that is none": (["predict", "texts/a.txt", GOOD], ["texts/a.txt is not a model file"]),
    "a run without a model": (["predict", "empty", GOOD], ["empty/model.safetensors", "not a run"]),
    "two forms at once": (["predict", "empty", GOOD, "--json", "--csv"], ["--json and --csv together"]),
}


@pytest.fixture
def place(
    photo_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[str]], list[str]]:
    """Create everything that the bad input names in a folder, and change to it."""
    photos = photo_folder(train=10)
    (tmp_path / "empty").mkdir()
    (tmp_path / "one" / "train").mkdir(parents=True)
    (photos / "train" / "red").rename(tmp_path / "one" / "train" / "cat")
    (photos / "train" / "red").mkdir()
    for photo in (tmp_path / "one" / "train" / "cat").iterdir():
        (photos / "train" / "red" / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "texts" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "texts" / "train" / "cat" / "a.txt").write_text("no photo")
    (tmp_path / "texts" / "a.txt").write_text("no model")
    (tmp_path / "typo.toml").write_text("epcohs = 3")
    torch.save({"stage.weight": torch.zeros(7, 7)}, tmp_path / "other.pth")
    monkeypatch.chdir(tmp_path)
    return lambda arguments: ["photos" if word == GOOD else word for word in arguments]


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_a_message_and_exit_code_2(
    case: str, place: Callable[[list[str]], list[str]], reslab_here: Callable[..., Any], tmp_path: Path
) -> None:
    arguments, words = BAD[case]
    before = sorted(tmp_path.rglob("*"))
    code, out, err = reslab_here(*place(arguments))
    assert code == 2
    assert err.startswith("error: ")
    for word in words:
        assert word in " ".join(err.split())
    assert "error" not in out
    assert sorted(tmp_path.rglob("*")) == before  # everything is checked before a file is created


@pytest.mark.slow
def test_a_real_process_prints_the_same_error(
    place: Callable[[list[str]], list[str]], start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = start("train", "nowhere")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == (
        "error: there is no folder nowhere\n"
        "  do:  give the folder that holds one folder per class, or train/ and test/\n"
    )


def test_a_closed_pipe_is_not_an_error() -> None:
    command = f"{sys.executable} -m reslab conv 224 --kernel 7 | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("0", "")


def test_letters_that_the_terminal_cannot_print_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "猫").mkdir()
    command = [sys.executable, "-m", "reslab", "runs", str(tmp_path / "猫")]
    environment = {"PYTHONIOENCODING": "ascii", "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert done.stdout.startswith(f"no runs in {tmp_path}/\\u732b yet")


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, reslab_here: Callable[..., Any]) -> None:
    import reslab.cli.runs

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(reslab.cli.runs, "runs", broken)
    with pytest.raises(ZeroDivisionError):
        reslab_here("runs")


def test_the_version(reslab_here: Callable[..., Any]) -> None:
    import reslab

    for word in ("--version", "version"):
        assert reslab_here(word) == (0, f"reslab {reslab.__version__}\n", "")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the size of a process from /proc")
def test_out_of_memory_gives_a_message(photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    """Limit a real process to 700 MB more, for a batch that needs several times as much."""
    code = f"""
import resource, reslab.training.runs.start
import torch._dynamo  # which the first optimizer imports, and 700 MB may just not be enough for both
from reslab.cli.main import run
pages = int(open("/proc/self/statm").read().split()[0])
most = pages * resource.getpagesize() + 700 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
raise SystemExit(run(["train", {str(photo_folder(train=80))!r}, "--size", "512", "--batch-size", "64",
    "--precision", "fp32", "--network", "cifar_resnet20", "--run", {str(tmp_path / "run")!r}, "--no-cache"]))
"""
    # each thread would add a stack and an arena
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2, done.stderr
    assert "error: there is not enough memory for batches of 64 at 512 pixels" in done.stderr
    assert "try --batch-size 32, or a smaller --size" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["train", "photos", "--epochs", "1.5"],
        ["train", "photos", "--seed", "0.7"],
        ["show", "resnet18", "--depth", "1.5"],
        ["exercise", "2.5"],
    ],
)
def test_a_fraction_is_not_rounded_to_a_whole_number(
    words: list[str], reslab_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = reslab_here(*words)
    assert code == 2
    assert f"{words[-1]} is not a whole number" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_on_standard_output_gives_a_message() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "reslab", "--help"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr == "error: standard output cannot be written\n  why: No space left on device\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(closed: str) -> None:
    for words, code in (("--help", 0), ("nothing", 2)):
        command = f"{sys.executable} -m reslab {words} {closed}"
        done = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert done.returncode == code
        assert bool(done.stdout) == (code == 0 and ">&-" not in closed.split())
        assert bool(done.stderr) == (code == 2 and "2>&-" not in closed)


@pytest.mark.slow
def test_no_output_gets_into_a_file_if_all_streams_are_closed(tmp_path: Path) -> None:
    command = f"{sys.executable} -m reslab show PlainBlock -o net.svg <&- >&- 2>&-"
    assert subprocess.run(command, shell=True, cwd=tmp_path).returncode == 0
    ElementTree.parse(tmp_path / "net.svg")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "10000 None\n"),
        ({"GOMP_SPINCOUNT": "5"}, "5 None\n"),
        ({"OMP_WAIT_POLICY": "active"}, "None active\n"),
    ],
)
def test_idle_threads_spin_briefly_unless_the_user_decides(given: dict[str, str], expected: str) -> None:
    """A child of the command line has the variables that libgomp reads."""
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    code = f"""
import subprocess, sys
from reslab.cli import main
assert "torch" not in sys.modules
child = "import os; print(*map(os.environ.get, {names}))"
main.run = lambda _: subprocess.run([sys.executable, "-c", child]).returncode
main.main([])
"""
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, expected)


def test_a_closed_pipe_on_standard_error_gives_no_traceback() -> None:
    command = f"{sys.executable} -m reslab nothing 2>&1 >/dev/null | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("2", "")


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run as the user nobody, if the tests run as root, who may read every folder."""
    if os.geteuid():
        yield
        return
    os.setresuid(65534, 65534, 0)  # os.access asks for the first of the three
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


UNREACHABLE = {  # PLACE is a folder without permissions, or too long a name
    "a network": (["show", "PLACE/run"], "there is no network 'PLACE/run'"),
    "a block": (["show", "PLACE/block.py:Mine"], "there is no file PLACE/block.py that can be read"),
    "a picture": (
        ["show", "resnet18", "-o", "PLACE/x.svg"],
        "a figure cannot be written to PLACE/x.svg",
    ),
    "runs": (["runs", "PLACE/runs"], "there is no readable folder PLACE/runs"),
    "a model": (["walk", "PLACE/run", "a.jpg"], "there is no network 'PLACE/run'"),
    "a page": (
        ["walk", "resnet18", "a.jpg", "-o", "PLACE/x.html"],
        "the page cannot be written to PLACE/x.html",
    ),
    "weights": (
        ["walk", "cifar_resnet20", "a.jpg", "--weights", "PLACE/w.pth"],
        "there is no weights file PLACE/w.pth why: it cannot be opened: WHY",
    ),
    "a report": (
        ["check", "photos", "--report", "PLACE/x.html"],
        "the page cannot be written to PLACE/x.html",
    ),
    "a list": (["check", "photos", "--fix", "PLACE/x.jsonl"], "the list cannot be written to PLACE/x.jsonl"),
    "a data set": (["get", "cifar10", "PLACE/new", "--source", "."], ". does not hold all files of cifar10"),
    "its source": (["get", "cifar10", "new", "--source", "PLACE/x"], "PLACE/x"),
    "a demo": (["demo", "--folder", "PLACE/demo"], "the drawings cannot be written to PLACE/demo"),
}


@pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs Linux's permissions")
@pytest.mark.parametrize("case", UNREACHABLE)
def test_an_unreachable_path_gives_a_message(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reslab_here: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir()
    for above in (tmp_path, *tmp_path.parents[:3]):
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    tmp_path.chmod(0o777)
    words, message = UNREACHABLE[case]
    # the long name comes first: nobody may not import modules
    for place, why in (("x" * 300, "File name too long"), ("closed", "Permission denied")):
        closed.chmod(0o700 if os.geteuid() == 0 else 0)
        with as_nobody() if place == "closed" else nullcontext():
            code, _, err = reslab_here(*(word.replace("PLACE", place) for word in words))
        closed.chmod(0o700)
        assert code == 2
        assert message.replace("PLACE", place).replace("WHY", why) in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("walk cifar_resnet20 ~nobody-here/a.jpg", "~nobody-here/a.jpg"),
        ("walk ~nobody-here/run a.jpg", "there is no network '~nobody-here/run'"),
        (
            "walk cifar_resnet20 a.jpg -o ~nobody-here/x.html",
            "the page cannot be written to ~nobody-here/x.html",
        ),
        ("check photos --report ~nobody-here/x.html", "the page cannot be written to ~nobody-here/x.html"),
        ("check photos --fix ~nobody-here/x.jsonl", "the list cannot be written to ~nobody-here/x.jsonl"),
        ("get cifar10 ~nobody-here/x --source ~nobody-here/y", "there is no source ~nobody-here/y"),
        ("demo --folder ~nobody-here", "~nobody-here/photos"),
    ],
)
def test_the_home_of_an_unknown_user_gives_a_message(
    words: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reslab_here: Callable[..., Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("~nobody-here").write_text("no folder")
    code, _, err = reslab_here(*words.split())
    assert code == 2
    assert says in err
