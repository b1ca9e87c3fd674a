"""A matplotlib figure as the bytes of a file: the same figure gives the same bytes, on any day."""

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
DOTS_PER_INCH = 300
# Letters as outlines in SVG, so that it looks the same where the font is missing; as TrueType in PDF, where
# they can be searched and publishers take them.
SETTINGS: Any = {"svg.fonttype": "path", "svg.hashsalt": "reslab", "pdf.fonttype": 42}


def checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of a picture to write, before any work is done for it. Raises UsageError."""
    file = Path(path)
    what = f"a picture cannot be written to {file}"
    if file.suffix.lower() not in SUFFIXES:
        raise UsageError(what, "its suffix tells the format", f"let it end in {', '.join(SUFFIXES)}")
    if not is_writable_folder(file.parent):
        why = f"there is no folder {file.parent} that may be written into"
        raise UsageError(what, why, "make the folder, or give another path")
    return file


def save_figure(figure: Figure, path: Path, title: str) -> None:
    """Writes the figure as its suffix says, whole or not at all. Raises UsageError."""
    content = figure_bytes(figure, path.suffix.lower()[1:], title)
    try:
        write(path, content)
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError(f"a picture cannot be written to {path}", why, "give another path") from error


def figure_bytes(figure: Figure, kind: str, title: str) -> bytes:
    """The figure as "svg", "pdf" or "png"."""
    import matplotlib

    metadata: dict[str, Any] = {"Title": title}
    if kind == "svg":
        metadata |= {"Date": None, "Creator": "reslab"}
    elif kind == "pdf":
        metadata |= {"CreationDate": None, "Creator": "reslab", "Producer": None}
    else:
        metadata |= {"Software": "reslab"}
    content = io.BytesIO()
    with matplotlib.rc_context(SETTINGS):
        figure.savefig(content, format=kind, dpi=DOTS_PER_INCH, metadata=metadata)
    return content.getvalue()
