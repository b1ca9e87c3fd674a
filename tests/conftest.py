"""Fixtures for all tests: photo folders, real data, golden files, caches and small disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from materials import WEIGHTS, make_photo, real_data

from reslab.errors import ReslabError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# Tests expect the numbers of a CPU. Set this to test with a GPU.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

# Tests started in the background of a shell ignore Ctrl-C, and their child processes, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# the first example imports torch, which takes long
settings.register_profile("reslab", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("reslab")


BROWSER_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update"
)
BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session", autouse=True)
def _session_caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use one cache folder per session instead of the user's. matplotlib lists the fonts once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XDG_CACHE_HOME", "MPLCONFIGDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name.lower())))
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the test a cache folder of its own, also for its child processes."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return cache


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--overwrite", action="store_true", help="write the golden files again")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with a file of tests/golden: golden("show_resnet18.txt", text)."""

    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if request.config.getoption("--overwrite"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        assert path.is_file(), f"there is no golden file {path.name}; pytest --overwrite writes it"
        assert text + "\n" == path.read_text(encoding="utf-8"), (
            f"{path.name}: pytest --overwrite accepts the change"
        )

    return compare


@pytest.fixture
def refuses() -> Callable[..., AbstractContextManager[None]]:
    """refuses(NetworkError, "resnet19"): the block raises it, in three parts, and with these words."""

    @contextmanager
    def check(kind: type[ReslabError], *words: str) -> Iterator[None]:
        with pytest.raises(kind) as caught:
            yield
        error = caught.value
        assert error.what
        assert error.why
        assert error.do
        for word in words:
            assert word in str(error)

    return check


@pytest.fixture
def cats_dogs() -> Path:
    return real_data("cats-dogs")


@pytest.fixture
def cats_dogs_natural() -> Path:
    return real_data("cats-dogs-natural")


@pytest.fixture
def partial_weights() -> Path:
    """Find real ImageNet weights of ResNet-18 without layer4, with a 1,000-class fc."""
    path = WEIGHTS / "resnet18-imagenet-without-layer4.pth"
    if not path.is_file():
        pytest.skip(f"needs the real weights {path.name}, which are not at {path.parent}")
    return path


@pytest.fixture
def photo_folder(tmp_path: Path) -> Callable[..., Path]:
    """Create JPEGs of the classes red and blue in train/ and test/: photo_folder(train=20, test=8)."""

    def make(name: str = "photos", **counts: int) -> Path:
        folder = tmp_path / name
        for split, count in (counts or {"train": 20, "test": 8}).items():
            for i in range(count):
                label, color = (("blue", (60, 90, 170)), ("red", (170, 90, 60)))[i % 2]
                seed = 1000 * sum(map(ord, split)) + i
                make_photo(folder / split / label / f"{i:03}.jpg", seed, color)
        return folder

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount a real disk with options, as root on Linux: small_disk("ro", size="1m")."""
    mounted: list[Path] = []

    def mount(options: str = "rw", size: str = "1m") -> Path:
        disk = tmp_path / f"disk{len(mounted)}"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},{options}", "tmpfs", str(disk)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs to mount a small disk, which this user may not")
        mounted.append(disk)
        return disk

    yield mount
    for disk in mounted:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed after each module: its event loop would stand in the way of others, such as the notebooks'."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSER_NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(
            f"needs a browser to look at the page, and none of {', '.join(BROWSER_NAMES)} is installed"
        )
    with sync_playwright() as playwright:
        flags = [*BROWSER_FLAGS.split(), "--disable-sync", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Page]]:
    """visit(path) opens a page in Chromium. At the end it must have logged and requested nothing."""
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
