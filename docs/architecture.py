"""Renew docs/architecture.md: its list of files, from the first lines of their docstrings, and its picture.

    python docs/architecture.py

A test compares both with what this script makes.
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src/reslab"
PAGE = ROOT / "docs/architecture.md"
PICTURE = ROOT / "docs/pictures/rooms.svg"
WIDTH, ROW, GAP = 860, 44, 8  # pixels
MARK = "## Every file\n\n"  # what stands below it in the page is generated


def main() -> None:
    """Write the page and the picture."""
    PAGE.write_text(page(), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")


def page() -> str:
    """Return the page with its list of files renewed. The text above the list is written by hand."""
    text = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    lines = []
    for path, depth in entries(SOURCES, 0):
        phrase = first_line(path)
        name = f"**{path.name}/**" if path.is_dir() else f"`{path.name}`"
        lines.append(f"{'    ' * depth}- {name} {phrase}".rstrip())
    return text + MARK + "\n".join([*lines, ""])


def entries(folder: Path, depth: int) -> list[tuple[Path, int]]:
    """Return every file and folder below `folder` with its depth, files first."""
    found: list[tuple[Path, int]] = []
    visible = (p for p in folder.iterdir() if not p.name.startswith("__") or p.name == "__main__.py")
    for path in sorted(visible, key=lambda p: (p.is_dir(), p.name)):
        if (path / "__init__.py").is_file():
            found += [(path, depth), *entries(path, depth + 1)]
        elif path.suffix == ".py":
            found.append((path, depth))
    return found


def first_line(path: Path) -> str:
    """First line of a module's or a package's docstring."""
    file = path / "__init__.py" if path.is_dir() else path
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    return text.splitlines()[0].removesuffix(".") if text else ""


def layers() -> list[list[str]]:
    """The rooms from the top, as import-linter checks them."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in config["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [layer.split(" | ") for layer in contract["layers"]]


def picture() -> str:
    """The rooms as boxes from top to bottom, each with its first line, in SVG."""
    rooms = [names[0] for names in layers() if len(names) == 1 and (SOURCES / names[0]).is_dir()]
    ground = [name for names in layers() for name in names if (SOURCES / f"{name}.py").is_file()]
    rows = [(name, first_line(SOURCES / name)) for name in rooms]
    rows.append(("ground floor", ", ".join(name for name in ground if name != "__main__")))
    height = len(rows) * (ROW + GAP) + GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for place, (name, text) in enumerate(rows):
        top = GAP + place * (ROW + GAP)
        shade = "#dfe7f5" if name in ("networks", "training") else "#f1f3f7"
        parts += [
            f'<rect x="8" y="{top}" width="{WIDTH - 16}" height="{ROW}" rx="6" fill="{shade}"/>',
            f'<text x="24" y="{top + 28}" font-size="16" font-weight="bold" fill="#1b2a41">{name}</text>',
            f'<text x="160" y="{top + 28}" font-size="15" fill="#33415c">{escape(text)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    main()
