"""Docs: run every block of Python and every command of the README and the docs, page by page.

A page runs from top to bottom in one folder, which holds a small drawn set `photos` and one `photo.jpg`.
A demo uses the same set.

    ```python    runs; the blocks of a page share their names
    ```console   each line after "$ " runs in a shell; the lines below it are its output
    ```text      below a block of Python: its output

Output is compared as doctest does, with `...` for text that differs between machines. A page in Chinese shows
the code of its English version and is not run again.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import reslab

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md")
    for page in ROOT.glob(pattern)
    if not page.is_relative_to(ROOT / ".venv")
)
TWINS = {
    page: page.with_name(page.name.replace(".zh.md", ".md")) for page in PAGES if page.name.endswith(".zh.md")
}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and the line of the page where it begins."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text[: m.start()].count("\n") + 2) for m in FENCE.finditer(text)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw the set once per process. Every page gets a copy."""
    return reslab.make_drawings(tmp_path_factory.mktemp("drawn") / "photos", train=48, test=16)


@pytest.fixture
def page_folder(drawn_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(drawn_set, tmp_path / "photos")
    shutil.copytree(drawn_set, tmp_path / "reslab-demo/photos")  # a short `reslab demo`
    shutil.copy(next((tmp_path / "photos/test/cat").iterdir()), tmp_path / "photo.jpg")
    (tmp_path / ".venv").mkdir()  # the README calls .venv/bin/reslab
    (tmp_path / ".venv/bin").symlink_to(Path(sys.executable).parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def check_output(block: Block, page: Path, wanted: str, got: str) -> None:
    if not doctest.OutputChecker().check_output(wanted, got, OUTPUT):
        pytest.fail(f"{name(page)}:{block.line} prints\n{got}\nand the page says\n{wanted}", pytrace=False)


def run_python(block: Block, page: Path, namespace: dict[str, object], wanted: str | None) -> None:
    printed = io.StringIO()
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec", dont_inherit=True)
    with contextlib.redirect_stdout(printed):
        exec(code, namespace)
    if wanted is not None:
        check_output(block, page, wanted, printed.getvalue())


def run_commands(block: Block, page: Path) -> None:
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, wanted = part.partition("\n")
        if command.startswith("make "):  # the real one would set up an environment
            command = f"make -C {ROOT} -n {command.removeprefix('make ')}"
            wanted = ""
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL
        )
        output = f"{name(page)}:{block.line}: $ {command}\n{done.stdout}{done.stderr}"
        found = done.returncode == 1 and re.match(
            r"reslab (check|exercise)\b", command
        )  # exit code 1: problems were found
        refused = done.returncode == 2 and wanted.startswith("error:")  # the page shows an error
        assert done.returncode == 0 or found or refused, output
        assert "Traceback (most recent call last)" not in output
        if wanted.strip():
            check_output(block, page, wanted, done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # each command of a page has ten minutes
@pytest.mark.parametrize("page", [page for page in PAGES if page not in TWINS], ids=name)
def test_every_block_of_the_page_runs_and_prints_what_the_page_says(page: Path, page_folder: Path) -> None:
    namespace: dict[str, object] = {"__name__": "page"}
    found = blocks(page)
    for block, after in pairwise([*found, Block("", "", 0)]):
        if block.language == "python":
            run_python(block, page, namespace, after.text if after.language == "text" else None)
        elif block.language == "console":
            run_commands(block, page)


@pytest.mark.parametrize("page", TWINS, ids=name)
def test_a_chinese_page_shows_the_code_of_its_english_version(page: Path) -> None:
    """Comments are not compared: they are in Chinese."""
    ours, theirs = (
        [b for b in blocks(p) if b.language in ("python", "console")] for p in (page, TWINS[page])
    )
    assert [b.language for b in ours] == [b.language for b in theirs]
    for block, twin in zip(ours, theirs, strict=True):
        if block.language == "python":
            same = ast.dump(ast.parse(block.text)) == ast.dump(ast.parse(twin.text))
        else:
            same = re.findall(r"^\$ (.*)$", block.text, re.MULTILINE) == re.findall(
                r"^\$ (.*)$", twin.text, re.MULTILINE
            )
        assert same, f"{name(page)}:{block.line} is not {name(TWINS[page])}:{twin.line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_within_the_project_have_targets(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) + re.findall(r'(?:src|href)="([^"#]+)', text)
    for link in links:
        if not link.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / link).exists(), f"{name(page)} links to {link}"


def test_every_block_has_a_known_language() -> None:
    known = {"python", "console", "text", "toml", "json", ""}
    odd = {f"{name(page)}: {b.language}" for page in PAGES for b in blocks(page)} - {
        f"{name(page)}: {language}" for page in PAGES for language in known
    }
    assert not odd


def test_the_architecture_page_lists_the_files_as_they_are() -> None:
    architecture = runpy.run_path(str(ROOT / "docs/architecture.py"))
    assert architecture["PAGE"].read_text(encoding="utf-8") == architecture["page"](), (
        "python docs/architecture.py"
    )
    assert architecture["PICTURE"].read_text(encoding="utf-8") == architecture["picture"]()
