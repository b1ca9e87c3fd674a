"""Write a matplotlib figure to a file; the same figure always gives the same bytes."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.errors import UsageError
from reslab.files import is_writable_folder, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".pdf", ".png")
PRINT_DPI = 300
# SVG: letters as outlines, since the font may be missing. PDF: TrueType, which can be searched.
SETTINGS: Any = {"svg.fonttype": "path", "svg.hashsalt": "reslab", "pdf.fonttype": 42}
METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": "reslab"},
    "pdf": {"CreationDate": None, "Creator": "reslab", "Producer": None},
    "png": {"Software": "reslab"},
}


def check_suffix(path: str | os.PathLike[str]) -> Path:
    """Return `path` as a Path. Raise UsageError unless it ends in .svg, .pdf or .png, in any case."""
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        what = f"a figure cannot be written to {file}"
        raise UsageError(what, "its suffix gives the format", f"let it end in {', '.join(SUFFIXES)}")
    return file


def checked_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` as a Path. Raise UsageError for another suffix, or if its folder is not writable."""
    file = check_suffix(path)
    if not is_writable_folder(file.parent):
        raise UsageError(
            f"a figure cannot be written to {file}",
            f"there is no writable folder {file.parent}",
            "make the folder, or give another path",
        )
    return file


def save_figure(figure: Figure, path: Path, title: str) -> None:
    """Write the figure at 300 dpi in the format of the suffix, atomically. An existing file is replaced.

    Args:
        figure: a matplotlib figure.
        path: a .svg, .pdf or .png file.
        title: stored in the file; it is not drawn.

    Raises:
        UsageError: the file cannot be written.
    """
    content = figure_bytes(figure, path.suffix.lower()[1:], title)
    try:
        write(path, content)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"a figure cannot be written to {path}", why, "give another path") from error


def figure_bytes(figure: Figure, kind: str, title: str, dpi: int = PRINT_DPI) -> bytes:
    """Return the content of a file of the figure, without a date.

    Args:
        figure: a matplotlib figure.
        kind: "svg", "pdf" or "png".
        title: stored in the content; it is not drawn.
        dpi: pixels per inch.
    """
    import matplotlib

    metadata = {"Title": title, **METADATA[kind]}
    content = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(content, format=kind, dpi=dpi, metadata=metadata)
    return content.getvalue()
