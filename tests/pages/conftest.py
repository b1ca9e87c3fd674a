"""A real Chromium for tests that look at pages, and a watch over what a page says and asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page


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
