"""The documentation site builds without a warning and works in a browser, without a request to elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]
PAGES = (
    "index.html",
    "course/2-block.html",
    "pitfalls.html",
    "api.html",
    "results.html",
    "architecture.html",
)


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a log line for each."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the site, built in strict mode: a broken link or anchor ends the build."""
    folder = tmp_path_factory.mktemp("docs")
    build = [sys.executable, str(ROOT / "docs/build_site.py"), str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """Address of the site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("language", ["", "zh/"])
def test_every_page_fits_the_window_and_asks_nobody_else(
    site: str, browser: Browser, language: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    elsewhere: list[str] = []
    problems: list[str] = []
    page.on("request", lambda r: elsewhere.append(r.url) if not r.url.startswith((site, "data:")) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    for name in PAGES:
        page.goto(site + language + name)
        assert page.locator("h1").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)"), name
    page.close()
    assert elsewhere == []
    assert problems == []


@pytest.mark.slow
def test_the_search_finds_a_public_name(site: str, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(site + "index.html")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("receptive_field")
    page.get_by_text("receptive_field").first.wait_for(timeout=30_000)
    page.close()


def test_the_reference_has_every_public_name(folder: Path) -> None:
    import reslab

    html = (folder / "api.html").read_text(encoding="utf-8")
    shown = set(re.findall(r'id="(?:[\w.]*\.)?(\w+)"', html))
    assert set(reslab.__all__) - shown == set()


def test_a_chinese_page_links_to_the_chinese_site(folder: Path) -> None:
    html = (folder / "zh/index.html").read_text(encoding="utf-8")
    assert '<html lang="zh"' in html
    assert re.search(r'href="(\./)?course/index\.html"', html)
    assert "残差块" in (folder / "zh/course/2-block.html").read_text(encoding="utf-8")
