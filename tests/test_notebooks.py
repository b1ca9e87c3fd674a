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
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

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


# each cell, and what it shows: the mime type, words in it, words that are not
CELLS = {
    "import sys, reslab; sys.path.insert(0, TESTS)": (None, [], []),
    "net = reslab.cifar_resnet20(); reslab.anatomy(net)": (
        "text/html",
        ["<table>", "layer3.2", "3x32x32", "269,722"],
        ["Layer("],
    ),
    "reslab.walk('cifar_resnet20', PHOTO)": (
        "text/html",
        ["<iframe", "srcdoc=", "sandbox=", "layer3.2"],
        ["Station("],
    ),
    "reslab.draw_network(net)": ("image/png", [], []),
    "reslab.draw_block(reslab.SEBlock)": ("image/png", [], []),
    "from pathlib import Path\nfrom made_up_comparisons import make_comparison, make_variants\n"
    "made = make_comparison(Path(), make_variants({'basic': 0, '<b>.py:B': 0.02})); made": (
        "text/html",
        ["<table", "&lt;b&gt;", "better than basic"],
        ["<b>", "VariantResult("],
    ),
    "made.plot()": ("image/png", [], []),
    "import numpy as np\nfrom reslab.evaluation.metrics import evaluate_rows\n"
    "from reslab.evaluation.rows import PhotoRows\n"
    "probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])\n"
    "labels = np.array([0, 1, 0])\n"
    "evaluate_rows(PhotoRows(('<cat>', 'dog'), Path(), ('a', 'b', 'c'), labels, probabilities,\n"
    "    -np.log(probabilities[range(3), labels])))": (
        "text/html",
        ["<table>", "accuracy 0.667", "&lt;cat&gt; taken for dog (1)"],
        ["<cat>", "ClassFigures("],
    ),
}
REFUSED = {
    "reslab.Photos('/nowhere/at/all')": "PhotosError: there is no folder /nowhere/at/all",
    "reslab.anatomy(net, (1, 28, 28))": "NetworkError: ResNet does not take an image of 1x28x28",
}


@pytest.mark.slow
def test_values_and_errors_show_themselves_in_a_notebook(tmp_path: Path) -> None:
    """One kernel for all cells, since its start takes longer than they do."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 48), (90, 160, 30)).save(photo)
    names = {"TESTS": repr(str(Path(__file__).parent)), "PHOTO": repr(str(photo))}
    sources = [re.sub("TESTS|PHOTO", lambda m: names[m[0]], source) for source in (*CELLS, *REFUSED)]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=300, kernel_name="python3", allow_errors=True).execute()
    for cell, (kind, words, absent) in zip(notebook.cells, CELLS.values(), strict=False):
        if kind is None:
            assert not cell.outputs
            continue
        data = cell.outputs[-1]["data"]
        assert all(word in data[kind] for word in words), cell.source
        assert not [word for word in absent if word in data[kind]], cell.source
        assert len(data["text/plain"]) < 4000, "a table or a name, no dump of fields"
    for cell, first in zip(notebook.cells[len(CELLS) :], REFUSED.values(), strict=True):
        (error,) = cell.outputs
        assert error.traceback[0] == first
        assert len(error.traceback) <= 3
        assert not [line for line in error.traceback if "Traceback" in line or "site-packages" in line]
