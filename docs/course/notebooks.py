"""Make a notebook of every page of the course. The pages are the source; notebooks are never edited.

    python docs/course/notebooks.py [FOLDER]       build/notebooks, unless another folder is named

A block of Python becomes a cell, a block of commands a cell of !commands, everything else text. Outputs are
not included: running a cell makes them. Images are stored inside the notebook.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PAGES = Path(__file__).parent
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)((?:#[^)]*)?)\)")


def notebook(page: Path, folder: Path) -> Any:
    """Return the notebook of a page, with links that hold from `folder`."""
    text, cells, end = page.read_text(encoding="utf-8"), [], 0
    for block in FENCE.finditer(text):
        cells.append(markdown_cell(text[end : block.start()], page, folder))
        if block[1] == "python":
            cells.append(new_code_cell(block[2].rstrip("\n")))
        elif block[1] == "console":
            commands = re.findall(r"^\$ (.*)$", block[2], re.MULTILINE)
            cells.append(new_code_cell("\n".join(f"!{command}" for command in commands)))
        end = block.end()
    cells.append(markdown_cell(text[end:], page, folder))
    cells = [cell for cell in cells if cell.source]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # nbformat's own are random
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def markdown_cell(text: str, page: Path, folder: Path) -> Any:
    """Return text with its images inside and its links adapted to `folder`."""
    attachments: dict[str, dict[str, str]] = {}

    def moved(link: re.Match[str]) -> str:
        mark, label, target, anchor = link.groups()
        if re.match(r"\w+:", target):
            return link[0]
        path = (page.parent / target).resolve()
        if mark:
            attachments[path.name] = {"image/png": base64.b64encode(path.read_bytes()).decode()}
            return f"![{label}](attachment:{path.name})"
        if path.parent == page.resolve().parent and path.suffix == ".md":
            return f"[{label}]({path.with_suffix('.ipynb').name}{anchor})"
        return f"[{label}]({os.path.relpath(path, folder.resolve())}{anchor})"

    cell = new_markdown_cell(LINK.sub(moved, text).strip("\n"))
    if attachments:
        cell["attachments"] = attachments
    return cell


def write(folder: Path, pages: Path = PAGES) -> list[Path]:
    """Write one notebook for each page. Return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for page in sorted(pages.glob("*.md")):
        path = folder / page.with_suffix(".ipynb").name
        nbformat.write(notebook(page, folder), path)
        written.append(path)
    return written


if __name__ == "__main__":
    print(*write(Path(sys.argv[1] if sys.argv[1:] else "build/notebooks")), sep="\n")
