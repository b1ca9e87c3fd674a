"""Opens pages in a real Chromium and forbids console messages and requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(path) opens a page. At the end of the test it must have logged and requested nothing."""
    events: list[str] = []
    pages: list[Page] = []

    def open_page(path: Path, **settings: object) -> Page:
        page = browser.new_page(**settings)  # type: ignore[arg-type]
        page.set_default_timeout(60_000)  # a test machine may be busy
        page.on("console", lambda message: events.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: events.append(f"error: {error}"))
        own = path.resolve().as_uri()
        page.on("request", lambda r: events.append(r.url) if r.url != own and r.url[:5] != "data:" else None)
        page.goto(own)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert events == []
