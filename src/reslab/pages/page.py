"""Render a template to one HTML file without external scripts, styles or images.

Jinja2 escapes file names and class names. The page's Content-Security-Policy forbids every request and every
script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import math
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab import files
from reslab.errors import UsageError
from reslab.text import printable

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, values: Mapping[str, Any], *, script: str = "") -> str:
    """Return a page as HTML.

    Args:
        template: name of a file in `templates/`.
        values: variables of the template. `style`, `script` and `policy` are added.
        script: name of a file in `templates/` that the page contains and may run; "": no script.
    """
    from markupsafe import Markup

    style, code = (_read(name) if name else "" for name in ("style.css", script))
    may_run = _hash(code) if code else "'none'"
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {may_run}"
    )
    own = {"style": Markup(style), "script": Markup(code), "policy": policy}
    return _environment().get_template(template).render(values, **own)


def page_path(path: Path, example: str) -> Path:
    """Check that a page can be written to `path`, before any work. Return it with ~ expanded.

    Args:
        example: what to write instead, such as "-o walk.html".

    Raises:
        UsageError: the suffix is not .html or .htm, `path` is a folder, or its folder is missing or not
            writable.
    """
    path = files.user_path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path} is not a name for a page", "a page ends in .html", f"write {example}")
    is_folder = os.path.isdir(path)
    if is_folder or not files.is_writable_folder(path.parent):
        why = "it is a folder" if is_folder else f"there is no writable folder {path.parent}"
        raise UsageError(f"the page cannot be written to {path}", why, "name a file in an existing folder")
    return path


def write_page(path: Path, text: str) -> None:
    """Write a page to `path`, completely or not at all. An existing file is replaced.

    Args:
        text: the page as HTML.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        files.write(path, text.encode("utf-8"))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(
            f"{path} could not be written", why, "free some space, or name another path"
        ) from error


def notebook_frame(page: str, title: str) -> str:
    """Return HTML that shows a page in a notebook: in a frame, apart from the notebook's styles and scripts.

    Args:
        page: the page as HTML.
        title: name of the frame for screen readers.
    """
    style = "width:100%;height:44em;border:1px solid #8888;border-radius:4px;background:white"
    return (
        f'<iframe title="{html.escape(printable(title))}" sandbox="allow-scripts" style="{style}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
    )


def data_uri(content: bytes) -> str:
    """Return the content of a PNG, SVG, WebP or JPEG file as a data URI, data:image/png;base64 and so on."""
    kinds = {b"\x89PNG": "png", b"<?xm": "svg+xml", b"RIFF": "webp"}
    kind = kinds.get(content[:4], "jpeg")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def significant(value: float, digits: int = 3) -> str:
    """Return a number as text, rounded to `digits` digits, with commas between thousands.

    1234.5 gives "1,230", 0 gives "0", nan and infinity "not a number". Numbers under about 0.0001 or over
    ten million have an exponent, such as "1.20e+09".
    """
    if not math.isfinite(value):
        return "not a number"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if not -4 <= places <= 6:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, places):,.{max(0, places)}f}"


def sides(values: Iterable[int]) -> str:
    """Return the numbers with commas between thousands, joined by × signs: "1,024 × 7 × 7"."""
    return " × ".join(f"{value:,}" for value in values)


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what allows an inline script or style of this text in the policy: 'sha256-...' in quotes."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    """Return jinja2's environment of the templates. It escapes values and refuses undefined ones."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(data_uri=data_uri, significant=significant, sides=sides, plain=printable)
    return environment
