"""Damaged run folders: every question gets the true answer or an error, and resume the same weights or none.

    python benchmarks/fuzz_runs.py 2000

A finished run and one that was interrupted in its second epoch are damaged, one file at a time, as a number
decides. Damage is changed bits or bytes, a cut, repeated lines, or other content. The file may also be
missing, a folder, a pipe or a link, or be untrusted: valid, with other values. Then every property of the Run
is read, `reslab runs` lists it, its model is loaded, and it is resumed. Failures are anything but a
ReslabError or the answer of the undamaged run (an untrusted file may change answers), a resume that gives
other weights without a note, a write to a file outside, more than 5 s of CPU time, or more than 1 GiB of
memory above the start. With failures the exit code is 1.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import faulthandler
import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
from fuzz_photos import memory
from materials import make_photo
from rough_machine import run_results

from reslab import Classifier, Recipe, Run, find_runs, resume
from reslab.cli.main import run as command_line
from reslab.errors import ReslabError
from reslab.text import table
from reslab.training.runs import checkpoint
from reslab.training.runs.start import start_run

SECONDS, MIB, HANGS = 5.0, 1024.0, 120
VALUES = (
    *(0, 1, -1, 2, 7, 2**31, 2**40, 2**63, 10**30, 10**400, 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "3", "a\0b", "\ud800", "\x1b[2J", "x" * 5000, "..", "/dev/zero", None, True, [], {}, [1], {"a": 1}),
)
ASKED = (
    "about",
    "environment",
    "recipe",
    "photos",
    "skipped",
    "rows",
    "epochs",
    "best",
    "result",
    "state",
    "seconds",
)
RECIPE = Recipe(
    epochs=2, size=16, resize=18, batch_size=8, precision="fp32", seed=3, cache=False, checkpoint_minutes=1e-9
)


def main() -> int:
    """Print the outcomes as a table or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("count", type=int, nargs="?", default=2000, help="damaged runs (2000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no further run after this time")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    chosen = parser.parse_args()
    found = fuzz(range(chosen.first, chosen.first + chosen.count), chosen.seconds)
    print(json.dumps(found) if chosen.json else report(found))
    return int(bool(found["failures"]))


def fuzz(numbers: range, seconds: float = 1e9) -> dict[str, Any]:
    """Count the outcomes."""
    outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
    failures, slowest, largest = [], (0.0, -1), (0.0, -1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        whole = Whole(folder)
        done, end, start = 0, time.monotonic() + seconds, memory(reset=True)
        for number in numbers:
            if time.monotonic() > end:
                break
            done += 1
            faulthandler.dump_traceback_later(HANGS, exit=True)
            before = time.process_time()
            trial = DamagedRun(whole, number)
            problem, outcome = trial.verdict()
            used, peak = time.process_time() - before, memory(reset=True) - start
            faulthandler.cancel_dump_traceback_later()
            outcomes[trial.name, outcome] += 1
            slowest, largest = max(slowest, (used, number)), max(largest, (peak, number))
            problem = problem or (
                f"{used:.1f} s" if used > SECONDS else f"{peak:.0f} MiB" if peak > MIB else ""
            )
            if problem:
                failures.append({"number": number, "change": trial.change, "problem": problem})
    return {
        "runs": done,
        "outcomes": [[name, outcome, count] for (name, outcome), count in sorted(outcomes.items())],
        "slowest": slowest,
        "largest": largest,
        "failures": failures,
    }


def report(found: dict[str, Any]) -> str:
    """Return the outcomes as a table."""
    kinds = sorted({outcome for _, outcome, _ in found["outcomes"]})
    counts = {(name, outcome): count for name, outcome, count in found["outcomes"]}
    names = sorted({name for name, _, _ in found["outcomes"]})
    rows = [[name, *(str(counts.get((name, kind), "")) for kind in kinds)] for name in names]
    lines = [table(["file", *kinds], rows, "l" + "r" * len(kinds)), ""]
    lines += ["slowest: {:.2f} s (number {})".format(*found["slowest"])]
    lines += ["most memory above the start: {:.0f} MiB (number {})".format(*found["largest"])]
    lines += [f"failures: {len(found['failures'])} of {found['runs']:,}"]
    lines += [f"  {row['number']} ({row['change']}): {row['problem']}" for row in found["failures"][:20]]
    return "\n".join(lines)


class Whole:
    """The two undamaged runs, their answers, and the results of the interrupted one after a resume."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.secret = folder, folder / "another file"
        self.secret.write_text("precious")
        photos = folder / "photos"
        for i in range(32):
            split, label = "train" if i < 24 else "test", ("blue", "red")[i % 2]
            make_photo(
                photos / split / label / f"{i}.jpg", i, ((60, 90, 170), (170, 90, 60))[i % 2], (24, 20)
            )
        run = start_run(
            photos, "cifar_resnet20", RECIPE, weights=None, run=folder / "new", progress=False, say=str
        )
        with _snapshot_at_save(5, run.folder, folder / "stopped"):
            resume(run, progress=False, say=str)
        run.folder.rename(folder / "finished")
        self.answers = {}
        for state in ("stopped", "finished"):
            shutil.copytree(folder / state, folder / "runs" / "run")
            self.answers[state] = dict(asked(folder / "runs" / "run"))
            resume(folder / "runs" / "run", progress=False, say=str)
            self.run_results = run_results(folder / "runs" / "run")
            shutil.rmtree(folder / "runs" / "run")


@contextlib.contextmanager
def _snapshot_at_save(number: int, run: Path, to: Path) -> Iterator[None]:
    """Copy the run as a kill after its `number`th checkpoint would leave it."""
    original, saves = checkpoint.save, 0

    def save(*arguments: Any) -> None:
        nonlocal saves
        original(*arguments)
        saves += 1
        if saves == number:
            shutil.copytree(run, to)

    checkpoint.save = save
    try:
        yield
    finally:
        checkpoint.save = original


def asked(folder: Path) -> Iterator[tuple[str, Any]]:
    """Yield each question with its answer, comparable, or the ReslabError."""

    def answer(question: Callable[[], Any]) -> Any:
        try:
            return question()
        except ReslabError as error:
            str(error).encode()
            return error

    run = answer(lambda: Run(folder))
    yield "run", run if isinstance(run, ReslabError) else None
    if isinstance(run, Run):
        for name in ASKED:
            yield name, answer(lambda name=name: getattr(run, name))
        yield "history", answer(lambda: list(run.history["val_loss"].data))
        yield "text", answer(lambda: str(run))
    yield "model", answer(lambda: _model(Classifier.load(folder)))
    yield "found", [found.folder.name for found in find_runs(folder.parent)]
    for flags in ([], ["--json"]):
        yield f"runs {flags}", _listed([*flags, str(folder.parent)])


def _model(classifier: Classifier) -> Any:
    sums = {name: tensor.double().sum().item() for name, tensor in classifier.network.state_dict().items()}
    return classifier.classes, classifier.temperature, sums


def _listed(arguments: list[str]) -> list[str] | str:
    """Return the output of `reslab runs`, or "broken" if it reports that of the one run here."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line(["runs", *arguments])
    assert code == 0, err.getvalue()
    assert "\x1b" not in out.getvalue() + err.getvalue()
    if "broken" in out.getvalue() or "no runs in" in out.getvalue() or not out.getvalue():
        return "broken"
    return out.getvalue()


class DamagedRun:
    """One damaged run and its outcome."""

    def __init__(self, whole: Whole, number: int) -> None:
        self.whole, draw = whole, random.Random(number)
        self.state = draw.choice(("stopped", "stopped", "finished"))
        self.run = whole.folder / "runs" / "run"
        shutil.copytree(whole.folder / self.state, self.run)
        present = sorted(path.name for path in self.run.iterdir() if not path.name.endswith((".png", ".jpg")))
        self.name = draw.choice([*present, *SETTLED, ".lock", ".lock-owner"])
        self.path = self.run / self.name
        change = draw.choice(KINDS if draw.random() < 0.25 else DAMAGE if draw.random() < 0.6 else UNTRUSTED)
        if change in DAMAGE and not self.path.is_file():
            change = draw.choice(KINDS)
        self.untrusted = change in UNTRUSTED
        if self.untrusted and (not self.path.is_file() or self.path.suffix not in (".json", ".jsonl")):
            self.name, self.path = checkpoint.NAME, self.run / checkpoint.NAME
        self.change = f"{self.state} {self.name} {change.__name__}"
        change(self.path, draw, whole)

    def verdict(self) -> tuple[str, str]:
        """Return (failure or "", outcome)."""
        outcome, problem = "", ""
        try:
            for question, answer in asked(self.run):
                if isinstance(answer, ReslabError) or answer == "broken":
                    outcome = "refused"
                elif not self.untrusted and not self._true(question, answer):
                    problem = problem or f"{question}: {answer!r}"[:500]
            outcome, other = self._resumed(outcome)
            problem = problem or other
            if self.whole.secret.read_text() != "precious":
                problem, _ = "a file outside was written to", self.whole.secret.write_text("precious")
        except Exception:  # noqa: BLE001  any other error is a failure
            problem, outcome = traceback.format_exc(), "traceback"
        finally:
            shutil.rmtree(self.run, ignore_errors=True)
        return problem, outcome

    def _true(self, question: str, answer: Any) -> bool:
        if question == "found":
            return bool(answer == (["run"] if (self.run / "run.json").is_file() else []))
        expected = self.whole.answers[self.state].get(question)
        if self.name == "recipe.json" and question in (
            "recipe",
            "epochs",
            "text",
            "runs []",
            "runs ['--json']",
        ):
            return True  # it may be edited; resume reports the changes
        other = self.whole.answers["stopped" if self.state == "finished" else "finished"].get(question)
        if self.name in (
            "result.json",
            "metrics.jsonl",
            ".lock",
        ):  # without it, the run is in an earlier state
            return (
                answer in (expected, other, [], None, 0)
                or question in ("text", "seconds")
                or "runs" in question
            )
        return bool(answer == expected)

    def _resumed(self, outcome: str) -> tuple[str, str]:
        lines: list[str] = []
        try:
            resume(self.run, progress=False, say=lines.append)
        except ReslabError as error:
            str(error).encode()
            return "refused", ""
        if not any("resuming after" in line for line in lines):  # the run is finished
            return outcome or "nothing to do", ""
        same = run_results(self.run) == self.whole.run_results
        if same:
            return "same results, with a note" if outcome or any(
                "note" in line for line in lines
            ) else "same results", ""
        if any("note: results may differ" in line for line in lines):
            return "other results, with a note", ""
        if self.untrusted or outcome:
            return "other results", ""
        return "other results", f"other results without a note: {lines}"


def _flip_bits(path: Path, draw: random.Random, _: Whole) -> None:
    content = bytearray(path.read_bytes())
    for _flip in range(draw.choice((1, 1, 3, 30)) if content else 0):
        content[_place(content, draw)] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _overwrite(path: Path, draw: random.Random, _: Whole) -> None:
    content = path.read_bytes()
    place, new = _place(content, draw), draw.randbytes(draw.choice((1, 4, 64)))
    path.write_bytes(content[:place] + new + content[place + len(new) :])


def _cut(path: Path, draw: random.Random, _: Whole) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: _place(content, draw)])


def _drop(path: Path, draw: random.Random, _: Whole) -> None:
    content = path.read_bytes()
    place = _place(content, draw)
    path.write_bytes(content[:place] + content[place + draw.choice((1, 4, 100)) :])


def _lines(path: Path, draw: random.Random, _: Whole) -> None:
    """Remove, repeat or replace a line."""
    lines = path.read_bytes().splitlines(keepends=True)
    if lines:
        place = draw.randrange(len(lines))
        piece = draw.choice(([], [lines[place]] * 2, [draw.choice(lines)]))
        lines[place : place + 1] = piece
    path.write_bytes(b"".join(lines))


def _append(path: Path, draw: random.Random, _: Whole) -> None:
    with path.open("ab") as file:
        file.write(draw.choice((draw.randbytes(8), b"{}\n", b"\0" * 5000, draw.randbytes(3000))))


def _garbage(path: Path, draw: random.Random, _: Whole) -> None:
    path.write_bytes(draw.choice((b"", b"\0" * path.stat().st_size, draw.randbytes(1000), b"[" * 200_000)))


def _place(content: bytes | bytearray, draw: random.Random) -> int:
    near = min(len(content), 2048)
    if not content:
        return 0
    return draw.choice(
        (draw.randrange(len(content)), draw.randrange(near), len(content) - 1 - draw.randrange(near))
    )


def _gone(path: Path, draw: random.Random, _: Whole) -> None:
    path.unlink(missing_ok=True)


def _folder(path: Path, draw: random.Random, _: Whole) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def _pipe(path: Path, draw: random.Random, _: Whole) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _loop(path: Path, draw: random.Random, _: Whole) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)


def _device(path: Path, draw: random.Random, _: Whole) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(draw.choice(("/dev/zero", "/dev/full", "/nowhere/at/all")))


def _link_to_secret(path: Path, draw: random.Random, whole: Whole) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(whole.secret)


def _another(path: Path, draw: random.Random, _: Whole) -> None:
    """Write the content of another file of the run."""
    others = [other for other in path.parent.iterdir() if other.is_file()]
    path.write_bytes(draw.choice(sorted(others)).read_bytes())


def _settings(path: Path, draw: random.Random, whole: Whole) -> None:
    """Change a value in the JSON, or in a checkpoint, and fix or remove the checksum."""
    if path.name == checkpoint.NAME:
        header, tensors = checkpoint.read(path.parent)
        content = header.model_dump() | {"tensors": tensors}
        change_value(content, draw)
        values = content.pop("tensors", None) or {}
        named = values.items() if isinstance(values, dict) else ()
        tensors = {str(name): value for name, value in named if isinstance(value, torch.Tensor)}
        checkpoint.write(path.parent, content, tensors)
        return
    text = path.read_text()
    rows = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    for row in rows:
        row.pop("checksum", None)
    if rows:
        change_value(draw.choice(rows), draw)
    if path.suffix == ".jsonl" and path.name == "photos.jsonl":  # its digest is in run.json
        about = json.loads((path.parent / "run.json").read_text())
        (path.parent / "run.json").write_text(
            json.dumps({k: v for k, v in about.items() if k not in ("checksum", "photos_digest")})
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def change_value(content: Any, draw: random.Random) -> None:
    """Replace, remove or add a value at a random depth."""
    while True:
        names: list[Any] = list(content) if isinstance(content, dict) else list(range(len(content)))
        if not names:
            if isinstance(content, list):
                content.append(draw.choice(VALUES))
            return
        name = draw.choice(names)
        if isinstance(content[name], dict | list) and content[name] and draw.random() < 0.7:
            content = content[name]
            continue
        if isinstance(content[name], torch.Tensor) and draw.random() < 0.7:
            content[name] = draw.choice((torch.zeros(0), torch.zeros(3, 3), content[name].double() * 2))
        elif draw.random() < 0.2:
            del content[name]
        elif draw.random() < 0.2 and isinstance(content, dict):
            content[draw.choice(("more", "x" * 1000, "epochs", 7))] = draw.choice(VALUES)
        else:
            content[name] = draw.choice(VALUES)
        return


KINDS = [_gone, _folder, _pipe, _loop, _device, _link_to_secret]
DAMAGE = [_flip_bits, _flip_bits, _overwrite, _cut, _drop, _lines, _append, _garbage, _another]
UNTRUSTED = [_settings]
SETTLED = (checkpoint.NAME, "run.json", "recipe.json", "metrics.jsonl", "photos.jsonl")

if __name__ == "__main__":
    sys.exit(main())
