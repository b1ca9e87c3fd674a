"""The notebooks of the course are made from its pages: the same code in the same order, and it runs."""

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
    """What `make notebooks` makes, by the program that it calls."""
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
def test_the_text_is_all_there_with_its_pictures_inside(folder: Path, page: Path) -> None:
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


def test_notebooks_made_twice_are_equal(folder: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs/course/notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    again = tmp_path / "again"
    for path in module.write(again):
        links = re.compile(r"\]\([./]+[^)]*\)")  # relative to where the notebook stands
        assert links.sub("", path.read_text()) == links.sub("", (folder / path.name).read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1-convolution", "2-block", "6-looking"])
def test_a_notebook_runs_from_top_to_bottom(
    folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert f"exercise {name[0]}, " in printed  # the verdict on the starter, by a !command
