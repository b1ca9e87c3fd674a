"""Report of a check: in a real browser, with odd names, bad photos and thousands of findings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

import reslab
from reslab.pages import check_report
from reslab.photos.checking.findings import KINDS, Duplicate, Empty, Leak

Visit = Callable[..., Page]
NASTY = "<script>alert(1)<b> & 'q\".jpg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = reslab.make_drawings(tmp_path_factory.mktemp("photos") / "<i>photos & more", train=20, test=10)
    cats = sorted((folder / "train/cat").iterdir())
    Image.open(cats[0]).resize((70, 70)).save(folder / "test/cat" / NASTY, quality=90)
    shutil.copy(cats[1], folder / "test/cat/寿司 🐈\n.jpg")
    (folder / "train/dog/page.jpg").write_bytes(b"<html>")
    (folder / "train/dog/empty.jpg").write_bytes(b"")
    Image.new("RGB", (90, 60), "white").save(folder / "train/dog/white.png")
    (folder / "train/bird").mkdir()
    return folder


@pytest.fixture(scope="module")
def check(folder: Path) -> reslab.Check:
    return reslab.check(folder)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_shows_each_duplicate_next_to_its_original(
    scheme: str, check: reslab.Check, visit: Visit, tmp_path: Path
) -> None:
    check_report.write(check, tmp_path / "check.html")
    page = visit(tmp_path / "check.html", color_scheme=scheme, viewport={"width": 390, "height": 800})
    assert page.title() == "<i>photos & more: check of a photo folder"
    counts = page.locator("nav table").first.locator("tbody tr").all_inner_texts()
    assert [tuple(row.split("\t")[:2]) for row in counts] == [
        (kind.kind, str(len(found))) for kind, found in check.by_kind().items()
    ]
    leaks = page.locator("section[aria-labelledby=leak] article")
    captions = leaks.locator("figcaption").all_inner_texts()
    assert sorted(captions[1::2]) == [f"test/cat/{NASTY}", r"test/cat/寿司 🐈\n.jpg"]
    assert all(caption.startswith("train/cat/") for caption in captions[0::2])
    widths = page.eval_on_selector_all("img", "all => all.map(img => img.naturalWidth)")
    assert len(widths) == 5  # two pairs and a white photo; files that cannot be decoded have no image
    assert min(widths) > 60
    assert (
        page.locator("section[aria-labelledby=not-an-image] li").inner_text().startswith("train/dog/page.jpg")
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("section dl.explanation").count() == len(check.by_kind())


def test_a_folder_without_problems_lists_what_was_checked(
    photo_folder: Callable[..., Path], visit: Visit, tmp_path: Path
) -> None:
    check_report.write(reslab.check(photo_folder(train=8, test=4)), tmp_path / "check.html")
    page = visit(tmp_path / "check.html")
    assert "12 photos checked. No problems found." in page.inner_text("header")
    assert all(kind.kind in page.inner_text("nav") for kind in KINDS)


def test_ten_thousand_findings_make_a_page_of_less_than_3_megabytes(
    folder: Path, check: reslab.Check
) -> None:
    photo, other = (str(p.relative_to(folder)) for p in sorted((folder / "train/cat").iterdir())[:2])
    many = [kind(photo, "train", "cat", "equal", other) for kind in (Leak, Duplicate) for _ in range(4000)]
    many += [Empty(f"train/cat/{i}.jpg", "train", "cat", "zero bytes") for i in range(2000)]
    html = check_report.html(replace(check, findings=tuple(many)))
    assert len(html) < 3_000_000
    assert html.count("<img ") == 2 * 2 * check_report.MAX_EXAMPLES
    assert f"and {4000 - check_report.MAX_EXAMPLES - check_report.MAX_LISTED:,} more" in html


def test_photos_deleted_after_the_check_have_no_image(check: reslab.Check, tmp_path: Path) -> None:
    html = check_report.html(replace(check, folder=tmp_path / "deleted"))
    assert "<img " not in html
    assert "train/dog/white.png" in html
