"""Report of a classifier: every wrong photo can be opened, figures agree, odd names and missing photos."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import string
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from huggingface_hub import ModelCard
from materials import make_photo
from playwright.sync_api import Page

import reslab
from reslab.errors import RunError, UsageError
from reslab.evaluation.rows import TEST_ROWS_NAME, PhotoRows
from reslab.pages.page import TEMPLATES
from reslab.pages.report import charts, figures
from reslab.pages.report.texts import LANGUAGES, load_texts
from reslab.randomness import torch_seeded
from reslab.training.runs.start import start_run

Visit = Callable[..., Page]
SERIOUS = ("serious", "critical")  # impacts of axe-core's rules
COLORS = ((200, 90, 90), (90, 90, 200))
NASTY = "<script>alert(1)<b> & 'q\".jpg"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> reslab.Run:
    """A finished run on reddish and bluish photos. A quarter of the test photos has the wrong label."""
    folder = tmp_path_factory.mktemp("report")
    photos = folder / "<i>photos"
    for label, name in enumerate(("cat", "dog")):
        for i in range(24):
            make_photo(photos / f"train/{name}/{i}.jpg", 2 * i + label, COLORS[label])
        for i in range(24):
            color = COLORS[label if i % 4 else 1 - label]
            make_photo(photos / f"test/{name}/{i}.jpg", 100 + 2 * i + label, color)
    first = min((photos / "test/cat").iterdir())
    first.rename(first.with_name(NASTY))
    recipe = reslab.Recipe(epochs=3, size=32, batch_size=8, progressive_resizing=False, workers=0)
    return reslab.train(photos, "cifar_resnet20", recipe, run=folder / "run", progress=False, say=str)


@pytest.fixture(scope="module")
def report(run: reslab.Run) -> reslab.Report:
    return reslab.report(run, card=True, seconds=math.inf, progress=False, say=str)


def rows_of(run: reslab.Run) -> PhotoRows:
    return PhotoRows.read(run.folder / TEST_ROWS_NAME, run.photos.folder)


@pytest.mark.slow
def test_verdict_has_the_figures_of_test_csv(run: reslab.Run, report: reslab.Report) -> None:
    rows, verdict = rows_of(run), json.loads(report.verdict_path.read_text())
    assert report.rows_path == run.folder / TEST_ROWS_NAME
    assert verdict["summary"]["correct"] == int(rows.correct.sum())
    assert verdict["evaluation"]["accuracy"] == rows.correct.mean()
    assert sum(pair["photos"] for pair in verdict["confusions"]) == int((~rows.correct).sum())
    assert sum(bin_["photos"] for bin_ in verdict["reliability"]) == len(rows)
    for example in verdict["examples"]["surest_mistakes"]:
        assert not rows.correct[example["row"]]
        assert rows.paths[example["row"]] == example["path"]
        assert len(example["neighbors"]) == 3
    assert verdict["looks"]["worth"]["photos"] > 0
    assert verdict["left_out"] == {"corruptions": "quick", "labels": "quick"}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_wrong_photo_opens_by_click_and_by_keyboard(
    scheme: str, run: reslab.Run, report: reslab.Report, visit: Visit
) -> None:
    rows = rows_of(run)
    wrong = {path for path, right in zip(rows.paths, rows.correct, strict=True) if not right}
    page = visit(report.path, color_scheme=scheme, viewport={"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    clicked: set[str] = set()
    for button in page.locator("td.wrong button.open").all():
        button.click()
        names = page.locator("#paths").text_content() or ""
        assert len(names.split("\n")) == int(button.inner_text())
        clicked |= set(names.split("\n"))
    assert clicked == wrong
    page.locator("button.open[data-predicted=wrong]").focus()
    page.keyboard.press("Enter")
    page.locator("#photos button").first.focus()
    seen = set()
    for _ in wrong:
        seen.add(page.locator("#detail .path").inner_text())
        page.keyboard.press("ArrowRight")
    assert seen == wrong
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.predicted") == "wrong"


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", {"runOnly": ["color-contrast"]})])
def test_axe_finds_nothing_serious(
    scheme: str, options: dict[str, list[str]], report: reslab.Report, visit: Visit
) -> None:
    """With a photo opened. The colors are all that the scheme changes."""
    page = visit(report.path, color_scheme=scheme)
    page.locator("td.wrong button.open").first.click()
    found = Axe().run(page, options=options).response
    serious = [rule for rule in found["violations"] if rule["impact"] in SERIOUS]
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in serious] == []
    assert found["passes"]


@pytest.mark.slow
def test_photos_and_text_are_there_without_script(report: reslab.Report, visit: Visit) -> None:
    page = visit(report.path, java_script_enabled=False)
    assert page.locator(".cards img").count() > 20
    assert "test photos, which the network was not trained on" in page.inner_text("header")
    assert page.title() == "cifar_resnet20, <i>photos: report"


@pytest.mark.slow
def test_a_network_at_chance_has_no_heat_maps(run: reslab.Run, tmp_path: Path) -> None:
    model = tmp_path / "random.safetensors"
    classifier = reslab.load(run.folder)
    with torch_seeded(0, "test"):
        network = reslab.create_network("cifar_resnet20", num_classes=2)
    dataclasses.replace(classifier, network=network).save(model)
    made = reslab.report(model, run.photos.folder, output=tmp_path / "r.html", progress=False, say=str)
    assert made.verdict["left_out"]["looks"] == "chance"
    assert "not shown to be better than chance" in made.path.read_text()


@pytest.mark.slow
def test_the_card_loads(report: reslab.Report) -> None:
    card = ModelCard.load(report.card_path)
    assert card.data.library_name == "reslab"
    assert "license" not in card.data.to_dict()  # unknown
    (result, *_) = card.data.eval_results
    assert result.metric_value == report.verdict["evaluation"]["accuracy"]
    assert report.sentences[0] in card.text


@pytest.mark.slow
def test_without_photos_the_figures_stay(
    run: reslab.Run, report: reslab.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: tmp_path)
    photos, moved = run.photos.folder, tmp_path / "moved"
    photos.rename(moved)
    try:
        gone = reslab.report(run, output=tmp_path / "gone.html", progress=False, say=str)
    finally:
        moved.rename(photos)
    assert gone.verdict["evaluation"] == report.verdict["evaluation"]
    assert gone.verdict["left_out"]["heat"] == "photos"
    html = gone.path.read_text()
    assert "<img" not in html
    assert "The photos were removed or changed since the training" in html
    assert gone.verdict_path.name == "gone-verdict.json"


@pytest.mark.slow
def test_a_changed_photo_has_no_picture(run: reslab.Run, tmp_path: Path) -> None:
    photo = run.photos.folder / run.photos.test[0].path
    content = photo.read_bytes()
    photo.write_bytes(content + b"\0")
    try:
        found = reslab.report(run, output=tmp_path / "r.html", seconds=0.0, progress=False, say=str)
    finally:
        photo.write_bytes(content)
    assert found.verdict["summary"]["without_picture"] == 1
    assert "One photo was removed or changed" in found.path.read_text()
    assert {found.verdict["left_out"][part] for part in ("heat", "neighbors")} == {"time"}


@pytest.mark.slow
def test_a_model_is_judged_by_any_folder_in_chinese(run: reslab.Run, tmp_path: Path) -> None:
    model = shutil.copy(run.folder / "model.safetensors", tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="a model file has no photos"):
        reslab.report(model, output=tmp_path / "r.html")
    made = reslab.report(
        model,
        run.photos.folder / "test",
        tmp_path / "r.html",
        language="zh",
        seconds=0.0,
        progress=False,
        say=str,
    )
    html = made.path.read_text()
    assert '<html lang="zh">' in html
    assert made.verdict["training"] is None
    assert "什么被认成了什么" in html
    assert made.rows_path == tmp_path / "r-rows.csv"


def test_an_unfinished_run_has_no_report(photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    recipe = reslab.Recipe(epochs=1, size=32, batch_size=8, progressive_resizing=False, workers=0)
    photos = photo_folder(train=8, test=4)
    run = start_run(
        photos, "cifar_resnet20", recipe, weights=None, run=tmp_path / "run", progress=False, say=str
    )
    with pytest.raises(RunError, match="reslab resume"):
        reslab.report(run)


def test_unknown_language() -> None:
    with pytest.raises(UsageError, match="choose one of en, zh"):
        reslab.report("run", language="fr")


def test_both_languages_have_the_same_texts_with_the_same_values() -> None:
    english, chinese = (
        tomllib.loads((TEMPLATES / f"report.{language}.toml").read_text(encoding="utf-8"))
        for language in LANGUAGES
    )
    names = {key for key in chinese if key.startswith(("kind_", "corruption_"))}  # words of the source
    assert english.keys() == chinese.keys() - names

    def fields(text: str) -> set[str | None]:
        return {field for _, field, _, _ in string.Formatter().parse(text) if field}

    for key, text in english.items():
        assert fields(text) == fields(chinese[key]), key


def test_chinese_names_every_finding_and_corruption() -> None:
    from reslab.evaluation.corruptions import CORRUPTIONS
    from reslab.photos.checking.findings import KINDS

    texts = load_texts("zh").texts
    assert {f"kind_{kind.kind}" for kind in KINDS} <= texts.keys()
    assert {f"corruption_{name}" for name in CORRUPTIONS} <= texts.keys()


def made_up_rows(classes: int, photos: int) -> PhotoRows:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(photos, classes)), rng.integers(0, classes, photos)
    logits[np.arange(photos), labels] += 2
    return PhotoRows.from_logits(logits, labels, [f"class {i}" for i in range(classes)])


@pytest.mark.parametrize(("classes", "photos"), [(2, 1), (2, 5), (3, 40), (30, 500)])
def test_no_photo_is_in_two_groups_and_mistakes_are_the_surest(classes: int, photos: int) -> None:
    rows = made_up_rows(classes, photos)
    groups = figures.choose_examples(rows, np.ones(photos, bool))
    shown = [example.row for group in groups.values() for example in group]
    assert len(set(shown)) == len(shown)
    mistakes = [example.probability for example in groups["surest_mistakes"]]
    assert mistakes == sorted(rows.confidence[~rows.correct], reverse=True)[: len(mistakes)]
    assert all(rows.correct[example.row] for example in groups["best"])


def test_reliability_counts_every_photo_within_its_bin() -> None:
    rows = made_up_rows(5, 300)
    bins = figures.reliability(rows)
    assert sum(each.photos for each in bins) == 300
    for each in bins:
        assert each.start <= each.confidence <= each.end
        assert each.low <= each.accuracy <= each.high


@pytest.mark.parametrize("values", [(0, 1), (0.4, 0.4), (0, 0), (0.001, 0.002), (3, 12345), (-2, 5)])
def test_an_axis_covers_its_values_with_a_few_ticks(values: tuple[float, float]) -> None:
    axis = charts.axis("x", values)
    assert axis.low <= min(values)
    assert axis.high >= max(values)
    assert 2 <= len(axis.ticks) <= 7


def test_a_chart_escapes_its_texts() -> None:
    unit = charts.axis("<x>", (0, 1))
    svg = charts.chart('"<a>', unit, unit, [charts.Line("<b>", ((0, 0), (1, 1)), "first")])
    assert re.search(r"<[abx]>", svg) is None
