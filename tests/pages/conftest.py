"""A real Chromium for tests that look at pages, and a watch over what a page says and asks for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed after each module: its event loop would stand in the way of others, such as the notebooks'."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"needs a browser to look at the page, and none of {', '.join(NAMES)} is installed")
    with sync_playwright() as playwright:
        flags = [*FLAGS.split(), "--disable-sync", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(path) opens a page; at the end it must have said nothing and asked for nothing but itself."""
    heard: list[str] = []
    pages: list[Page] = []

    def open_page(path: Path, **settings: object) -> Page:
        page = browser.new_page(**settings)  # type: ignore[arg-type]
        page.set_default_timeout(60_000)  # a test machine may be busy
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(f"error: {error}"))
        own = path.resolve().as_uri()
        page.on("request", lambda r: heard.append(r.url) if r.url != own and r.url[:5] != "data:" else None)
        page.goto(own)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert heard == []
