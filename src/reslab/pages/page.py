"""A template and its values -> one HTML file that needs nothing else: no script, style or picture from afar.

Whatever comes from people (file names, class names) is escaped, and a Content-Security-Policy in the page
itself forbids every request and every script but the page's own.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Mapping
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
    """The page of `templates/template`. `script` is a file there, which the page carries and may run.

    The page gets `style` and `script`, ready to stand in their elements, and `policy` for its meta tag.
    """
    style, code = _file("style.css"), _file(script) if script else ""
    return _environment().get_template(template).render(values, **_own(style, code))


def page_path(path: Path, example: str) -> Path:
    """Where a page goes; refused before any work if it cannot go there. Raises UsageError."""
    path = files.user_path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{path} is no name for a page", "a page ends in .html", f"write {example}")
    is_folder = os.path.isdir(path)
    if is_folder or not files.may_write_into(path.parent):
        why = "it is a folder" if is_folder else f"there is no folder {path.parent} that may be written into"
        raise UsageError(f"the page cannot go to {path}", why, "name a file in a folder that is there")
    return path


def write_page(path: Path, text: str) -> None:
    """Replaces `path` by the page, whole. Raises UsageError if there is no room or no permission."""
    try:
        files.write(path, text.encode("utf-8"))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise UsageError(f"{path} could not be written", why, "make room there, or name another") from error


def data_uri(content: bytes) -> str:
    """A picture as an address that carries it: PNG or JPEG."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def significant(value: float, digits: int = 3) -> str:
    """1234.5 -> 1,230; 0.012345 -> 0.0123; 1.2e9 -> 1.20e+09; what is no number is said."""
    if not math.isfinite(value):
        return "not a number"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    if not -4 <= places <= 6:
        return f"{value:.{digits - 1}e}"
    return f"{round(value, places):,.{max(0, places)}f}"


def sides(values: Any) -> str:
    """(64, 56, 56) -> 64 × 56 × 56"""
    return " × ".join(f"{value:,}" for value in values)


def _own(style: str, script: str) -> dict[str, Any]:
    from markupsafe import Markup

    assert "</" not in style + script  # either would end its element
    may_run = _hash(script) if script else "'none'"
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {may_run}"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": policy}


def _hash(text: str) -> str:
    """As a policy names what stands between <script> and </script>."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
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
