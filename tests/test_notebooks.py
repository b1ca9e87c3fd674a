"""Notebooks of the course have the code of its pages in the same order, and run."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs/course").glob("*.md"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the notebooks, as `make notebooks` writes them."""
    folder = tmp_path_factory.mktemp("notebooks")
    subprocess.run(
        [sys.executable, ROOT / "docs/course/notebooks.py", folder], check=True, capture_output=True
    )
    return folder


def read(folder: Path, page: Path) -> Any:
    return nbformat.read(folder / f"{page.stem}.ipynb", as_version=4)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_code_cells_are_the_blocks_of_the_page(folder: Path, page: Path) -> None:
    blocks = []
    for language, text in re.findall(
        r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    ):
        if language == "python":
            blocks.append(text.rstrip("\n"))
        elif language == "console":
            blocks.append("\n".join(f"!{line[2:]}" for line in text.splitlines() if line.startswith("$ ")))
    found = read(folder, page)
    assert [cell.source for cell in found.cells if cell.cell_type == "code"] == blocks
    nbformat.validate(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_notebook_contains_all_headings_and_images_of_the_page(folder: Path, page: Path) -> None:
    cells = [cell for cell in read(folder, page).cells if cell.cell_type == "markdown"]
    text = "\n".join(cell.source for cell in cells)
    assert re.findall(r"^#+ .*$", text, re.MULTILINE) == re.findall(
        r"^#+ .*$", re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL), re.MULTILINE
    )
    for cell in cells:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", cell.source):
            assert target.removeprefix("attachment:") in cell.attachments
        for target in re.findall(
            r"(?<!!)\[[^\]]*\]\(([^)#]+)", re.sub(r"!\[[^\]]*\]\([^)]*\)", "", cell.source)
        ):
            assert target.startswith("http") or (folder / target).resolve().exists(), target


def test_a_second_call_writes_equal_notebooks(folder: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs/course/notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    again = tmp_path / "again"
    for path in module.write(again):
        links = re.compile(r"\]\([./]+[^)]*\)")  # relative to the notebook's folder
        assert links.sub("", path.read_text()) == links.sub("", (folder / path.name).read_text())


@pytest.mark.slow
def test_a_notebook_runs_from_top_to_bottom(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One notebook, for the kernel and the `!` commands; tests/test_docs.py runs the code of every page."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(folder / "2-block.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "exercise 2, " in printed  # the verdict on the starter, by a `!` command
