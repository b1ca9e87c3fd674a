"""`walk`: its figures against torch and the anatomy, its page in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from materials import make_photo
from playwright.sync_api import Page
from torch import Tensor, nn

import reslab
from reslab.inspection.arithmetic import as_pair
from reslab.networks.registry import NetworkSpec
from reslab.photos.decoding.decode import decode
from reslab.photos.loading.preprocess import Preprocess

Visit = Callable[..., Page]
NASTY = "<script>alert(1)</script>"
BLOCKS = {
    "basic": reslab.BasicBlock,
    "option A": partial(reslab.BasicBlock, shortcut="A"),
    "bottleneck": reslab.Bottleneck,
    "pre-activation": reslab.PreActivationBlock,
    "textbook": reslab.TextbookBlock,
}

CONTRAST = """() => {
  const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => sum + part * linear(c[i] / 255), 0);
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const background = e => {
    const color = parse(getComputedStyle(e).backgroundColor);
    return color.length < 4 || color[3] > 0 ? color : background(e.parentElement);
  };
  const hasText = e => [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  const texts = [...document.querySelectorAll("body *:not(svg *, script)")].filter(hasText);
  return Math.min(...texts.map(e => {
    const both = [light(parse(getComputedStyle(e).color)), light(background(e))];
    return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
  }));
}"""


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "a \"quoted\" & 'odd' <b>.jpg"
    make_photo(path, 1, (170, 90, 60))
    return path


@pytest.fixture(scope="module")
def classifier() -> reslab.Classifier:
    torch.manual_seed(0)
    spec = NetworkSpec("cifar_resnet20", 3, 3)
    preprocess = Preprocess(size=32, resize=36)
    return reslab.Classifier(
        spec.build(), (NASTY, "cat & 'dog'", "寿司\n"), preprocess, spec, temperature=0.5
    )


@pytest.fixture(scope="module")
def page_file(classifier: reslab.Classifier, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "walk.html"
    reslab.walk(classifier, photo, path)
    return path


def small(block: Any) -> reslab.ResNet:
    torch.manual_seed(0)
    return reslab.ResNet(block, (1, 2), (16, 32), num_classes=4, stem="small", stem_channels=16)


def image_of(photo: Path, preprocess: Preprocess) -> Tensor:
    return preprocess.normalize(preprocess.evaluation(preprocess.read(photo))[None])


# ---- the figures


def test_the_scores_are_the_classifiers_own(classifier: reslab.Classifier, photo: Path) -> None:
    prediction = classifier.predict(photo)
    scores = reslab.walk(classifier, photo).scores
    assert scores[0].name == prediction.label
    probabilities = {score.name: score.probability for score in scores}
    assert probabilities == pytest.approx(prediction.probabilities, abs=1e-6)


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_norms_are_those_of_the_two_terms(kind: str, photo: Path) -> None:
    network = small(BLOCKS[kind]).eval()
    walked = reslab.walk(network, photo)
    x = network[:3](image_of(photo, Preprocess(size=32, resize=32)))
    found = [station for station in walked.stations if station.kind]
    with torch.no_grad():
        for station, block in zip(found, [*network.layer1, *network.layer2], strict=True):
            projection = block.conv3 if kind == "textbook" else block.downsample
            carried = x if projection is None else projection(x)
            bare = block(x) if kind == "pre-activation" else None
            added = bare - carried if bare is not None else before_sum(block, x)
            assert station.sum is not None
            assert station.sum.shortcut_norm == pytest.approx(float(carried.norm()), rel=1e-4)
            assert station.sum.added_norm == pytest.approx(float(added.norm()), rel=1e-4)
            assert station.sum.sum_norm == pytest.approx(float((carried + added).norm()), rel=1e-4)
            assert bool(station.sum.shortcut_layers) == (projection is not None)
            x = block(x)


def before_sum(block: nn.Module, x: Tensor) -> Tensor:
    """Return the output of the block's last batch norm."""
    kept: list[Tensor] = []
    last = [m for n, m in block.named_modules() if re.fullmatch(r"bn\d", n)][-1]
    handle = last.register_forward_hook(lambda module, given, out: kept.append(out.clone()))
    block(x)
    handle.remove()
    return kept[0]


def test_in_place_sums_have_the_norms_of_their_terms_before_the_sum(photo: Path) -> None:
    # torchvision writes `out += identity` and `relu(inplace=True)`; ours does neither, with the same weights
    torch.manual_seed(0)
    theirs, ours = torchvision.models.resnet18(num_classes=5), reslab.resnet18(num_classes=5)
    ours.load_state_dict(theirs.state_dict())
    a, b = (
        reslab.walk(network, photo, preprocess=Preprocess(size=64, resize=64)) for network in (ours, theirs)
    )
    assert len(a.stations) == len(b.stations) == 10
    for one, other in zip(a.stations, b.stations, strict=True):
        assert (one.name, one.shape, one.receptive_field) == (other.name, other.shape, other.receptive_field)
        assert (one.sum is None) == (other.sum is None)
        if one.sum and other.sum:
            assert one.sum.added_norm == pytest.approx(other.sum.added_norm, rel=1e-4)
            assert one.sum.shortcut_norm == pytest.approx(other.sum.shortcut_norm, rel=1e-4)
        assert [m.channel for m in one.maps.maps] == [m.channel for m in other.maps.maps]


def test_a_block_without_a_sum_has_a_note_instead(photo: Path) -> None:
    station = reslab.walk(small(reslab.PlainBlock), photo).stations[-1]
    assert station.sum is None
    assert station.sum_note == "PlainBlock has no shortcut, so there is no sum."


class Twins(nn.Module):
    """Two branches of one length: neither is the shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
        self.other = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.other(x)


def test_a_sum_of_two_equal_branches_has_no_shortcut(photo: Path) -> None:
    station = reslab.walk(small(Twins), photo).stations[-1]
    assert station.sum is None
    assert "which of them is the shortcut is unknown" in station.sum_note


def test_the_maps_are_the_most_active_channels(photo: Path) -> None:
    network = small(reslab.BasicBlock).eval()
    with torch.no_grad():
        out = network[:5](image_of(photo, Preprocess(size=32, resize=32)))[0]  # (32, 16, 16)
    maps = reslab.walk(network, photo).stations[-1].maps
    means = out.abs().mean(dim=(1, 2))
    assert [m.channel for m in maps.maps] == means.argsort(descending=True)[:8].tolist()
    assert [m.mean for m in maps.maps] == pytest.approx(means.sort(descending=True).values[:8].tolist())
    assert maps.silent == int((out.amax(dim=(1, 2)) == 0).sum())
    shown = np.asarray(decode(maps.maps[0].png, "RGB")).astype(int)  # viridis: brighter is more
    values = out[maps.maps[0].channel].numpy()
    assert shown.shape[:2] == values.shape
    bright = shown.sum(axis=2)
    assert bright[np.unravel_index(values.argmax(), values.shape)] == bright.max()
    assert bright[np.unravel_index(values.argmin(), values.shape)] == bright.min()


def test_the_network_comes_back_unchanged(photo: Path) -> None:
    network = small(reslab.BasicBlock).train()
    network.layer1.eval()
    network.conv1.weight.grad = torch.ones_like(network.conv1.weight)
    called: list[str] = []
    network.fc.register_forward_hook(lambda *_: called.append("fc"))
    modes = [m.training for m in network.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    drawn = torch.get_rng_state()
    reslab.walk(network, photo)
    assert [m.training for m in network.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules()] == hooks
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert torch.equal(network.conv1.weight.grad, torch.ones_like(network.conv1.weight))
    assert torch.equal(torch.get_rng_state(), drawn)


class ChannelsLast(nn.Module):
    """A convolution, then layers on (N, H, W, C) as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 4, 4)
        self.mix = nn.Sequential(nn.LayerNorm(12), nn.Linear(12, 20))
        self.head = nn.Linear(20, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.mix(self.conv(x).permute(0, 2, 3, 1)).mean(dim=(1, 2)))


def test_maps_are_channels_where_the_network_has_them_last(photo: Path) -> None:
    torch.manual_seed(0)
    network, kept = ChannelsLast(), dict[str, Tensor]()
    network.mix.register_forward_hook(lambda m, i, o: kept.update(out=o))
    walked = reslab.walk(network, photo, preprocess=Preprocess(size=64, resize=64))
    assert [station.shape for station in walked.stations] == [(12, 16, 16), (20, 16, 16)]
    means = kept["out"][0].abs().mean(dim=(0, 1))
    best = walked.stations[-1].maps
    assert best.channels == 20
    assert [found.channel for found in best.maps] == means.argsort(descending=True)[:8].tolist()
    assert "20 maps of 16 × 16" in walked.html()


def test_a_diverged_network_has_no_scores(photo: Path, tmp_path: Path) -> None:
    network = small(reslab.BasicBlock)
    nn.init.constant_(network.layer2[0].conv1.weight, torch.nan)
    walked = reslab.walk(network, photo, tmp_path / "walk.html")
    assert walked.scores == ()
    assert "diverged" in walked.refused
    assert walked.stations[-1].maps.broken
    assert not walked.stations[0].maps.broken
    assert "not a number" in (tmp_path / "walk.html").read_text()


# ---- the heat map


def test_the_page_ends_with_the_heat_map_of_the_predicted_class(
    classifier: reslab.Classifier, photo: Path
) -> None:
    walked = reslab.walk(classifier, photo)
    heat_map = walked.heat_map
    assert heat_map is not None
    assert (heat_map.layer, heat_map.size) == ("layer3", (8, 8))
    assert heat_map.class_name == walked.scores[0].name
    found = reslab.heat_maps(classifier.network, image_of(photo, classifier.preprocess))
    large = nn.functional.interpolate(found.maps[:, None], (32, 32), mode="bilinear")[0, 0]
    shown = np.asarray(decode(heat_map.picture, "RGB")).astype(int)  # 32 pixels are stored without loss
    assert shown.shape == (32, 32, 3)
    order = large.flatten().argsort().numpy()
    color = shown.reshape(-1, 3) @ [-1, 1, -1]  # viridis: purple to yellow and green
    assert color[order[-100:]].mean() > color[order[:100]].mean()
    assert "which features do so" in walked.html()


def test_a_network_without_maps_at_its_end_says_so_in_one_line(photo: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(32, 8, 1, 2, 16, 16, num_classes=3)
    walked = reslab.walk(network, photo, preprocess=Preprocess(size=32, resize=32))
    assert walked.heat_map is None
    assert "There is no heat map: " in walked.html()
    assert "Grad-CAM needs maps of channels" in walked.heat_map_note


# ---- the weights


def test_without_weights_the_scores_mean_nothing(photo: Path, tmp_path: Path) -> None:
    page = tmp_path / "walk.html"
    walked = reslab.walk("cifar_resnet20", photo, page)
    assert not walked.meaningful
    assert "random" in walked.weights
    assert walked.scores[0].name.startswith("class ")
    assert "Prediction: " not in page.read_text()
    assert "These probabilities mean nothing" in page.read_text()
    reslab.walk("cifar_resnet20", photo, tmp_path / "again.html")
    assert page.read_bytes() == (tmp_path / "again.html").read_bytes()


def test_partial_weights_mean_nothing(photo: Path, partial_weights: Path) -> None:
    walked = reslab.walk("resnet18", photo, weights=partial_weights)
    assert not walked.meaningful
    assert "without layer4" in walked.weights


def test_complete_weights_from_a_file_are_meaningful(photo: Path, tmp_path: Path) -> None:
    torch.save(reslab.cifar_resnet20(num_classes=10).state_dict(), tmp_path / "weights.pth")
    walked = reslab.walk("cifar_resnet20", photo, weights=tmp_path / "weights.pth")
    assert walked.meaningful
    assert "does not name its classes" in walked.weights


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("resnet19", {}, "did you mean 'resnet18'?"),
        ("TextbookBlock", {}, "is a single block"),
        ("weights.pth", {}, "not a model file of reslab"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2)), {}, "no feature maps"),
        (nn.Sequential(nn.Conv2d(5, 4, 3)), {}, "takes 5 channels"),
        ("cifar_resnet20", {"path": "walk.jpg"}, "a page ends in .html"),
        ("cifar_resnet20", {"path": "nowhere/walk.html"}, "there is no writable folder nowhere"),
    ],
    ids=["unknown", "block", "weights file", "no maps", "channels", "suffix", "folder"],
)
def test_a_wrong_argument_is_an_error(
    model: Any,
    settings: dict[str, Any],
    message: str,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("weights.pth").write_bytes(b"")
    Path("walk.jpg").write_bytes(b"precious")
    with pytest.raises(reslab.ReslabError) as caught:
        reslab.walk(model, photo, **settings)
    assert message in str(caught.value)
    assert Path("walk.jpg").read_bytes() == b"precious"


def test_a_truncated_photo_needs_truncated_keep(photo: Path, tmp_path: Path) -> None:
    content = photo.read_bytes()[:-200]
    refuse, keep = Preprocess(size=32, resize=36), Preprocess(size=32, resize=36, truncated="keep")
    with pytest.raises(reslab.ReslabError, match="truncated"):
        reslab.walk("cifar_resnet20", content, preprocess=refuse)
    assert reslab.walk("cifar_resnet20", content, preprocess=keep).stations


def test_a_model_file_has_the_scores_of_its_classifier(
    classifier: reslab.Classifier, photo: Path, tmp_path: Path
) -> None:
    classifier.save(tmp_path / "model.safetensors")
    walked = reslab.walk(tmp_path / "model.safetensors", photo)
    assert walked.scores == reslab.walk(classifier, photo).scores
    assert walked.network == "cifar_resnet20"


# ---- the page, in a real browser


def box(page: Page) -> list[float]:
    """x, y, width, height of the rectangle on the photo."""
    rectangle = page.locator("#view .box")
    return [float(rectangle.get_attribute(name) or "nan") for name in ("x", "y", "width", "height")]


def expected(network: nn.Module, name: str, row: int, column: int, side: int = 32) -> list[float]:
    """Receptive field of a position by the anatomy, clipped to the photo."""
    layer = next(r for r in reslab.anatomy(network, (3, side, side)).fold(2) if r.name == name)
    assert layer.receptive_field is not None
    size, jump, start = (as_pair(getattr(layer.receptive_field, n)) for n in ("size", "jump", "start"))
    top, left = (max(0, s + i * j) for s, i, j in zip(start, (row, column), jump, strict=True))
    bottom, right = (
        min(side, s + i * j + n) for s, i, j, n in zip(start, (row, column), jump, size, strict=True)
    )
    return [left, top, right - left, bottom - top]


@pytest.mark.slow
def test_pointing_at_a_map_shows_the_receptive_field(
    page_file: Path, classifier: reslab.Classifier, visit: Visit
) -> None:
    page = visit(page_file, viewport={"width": 1200, "height": 900})
    stations = [
        name or "" for name in page.locator(".station").evaluate_all("all => all.map(s => s.dataset.name)")
    ]
    assert stations[:3] == ["relu", "layer1.0", "layer1.1"]
    for name, row, column in (("layer1.1", 0, 0), ("layer2.0", 5, 11), ("layer3.2", 7, 2)):
        station = page.locator(".station").nth(stations.index(name))
        rows, columns = map(int, (station.get_attribute("data-shape") or "").split())
        frame = station.locator(".frame").nth(1)
        frame.scroll_into_view_if_needed()
        area = frame.bounding_box()
        assert area is not None
        at = ((column + 0.5) / columns * area["width"], (row + 0.5) / rows * area["height"])
        frame.hover(position={"x": at[0], "y": at[1]})
        assert box(page) == expected(classifier.network, name, row, column)
        assert f"{name}, row {row}, column {column}:" in page.locator("#status").inner_text()
        cell = station.locator(".cell").nth(1).bounding_box()
        assert cell is not None
        assert cell["x"] <= area["x"] + at[0] <= cell["x"] + cell["width"]
        assert cell["y"] <= area["y"] + at[1] <= cell["y"] + cell["height"]


@pytest.mark.slow
def test_a_tap_points_as_a_mouse_does(page_file: Path, classifier: reslab.Classifier, visit: Visit) -> None:
    page = visit(page_file, viewport={"width": 360, "height": 700}, has_touch=True)
    frame = page.locator(".station").nth(1).locator(".frame").first
    frame.tap(position={"x": 1, "y": 1})
    assert box(page) == expected(classifier.network, "layer1.0", 0, 0)


@pytest.mark.slow
def test_the_keyboard_reaches_and_moves_every_position(
    page_file: Path, classifier: reslab.Classifier, visit: Visit
) -> None:
    page = visit(page_file)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        focus = page.evaluate("[document.activeElement.className, document.activeElement.tagName]")
        if focus[1] == "BODY":
            break
        reached.append(focus[0])
    assert focus[1] == "BODY"  # tab leaves the page at its end: there is no trap
    assert reached.count("picker") == 10
    page.locator(".picker").nth(4).focus()  # layer2.0, 16 x 16, in the middle
    assert page.locator(".picker").nth(4).evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    assert box(page) == expected(classifier.network, "layer2.0", 8, 8)
    for key in ("ArrowUp", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
    assert box(page) == expected(classifier.network, "layer2.0", 6, 7)
    for key in ("Home", "PageUp", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
    assert box(page) == expected(classifier.network, "layer2.0", 0, 0)
    for key in ("End", "PageDown", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert box(page) == expected(classifier.network, "layer2.0", 15, 15)
    assert page.locator(".picker").nth(4).get_attribute("aria-valuetext") == "row 15, column 15"
    assert page.locator("[role=status]").inner_text().startswith("layer2.0, row 15, column 15: receptive")


def test_untrusted_names_are_escaped(page_file: Path, photo: Path, visit: Visit) -> None:
    page = visit(page_file)
    assert page.locator("h1").inner_text() == f"{photo.name} in cifar_resnet20"
    names = page.locator(".scores th").all_inner_texts()
    assert sorted(names) == sorted([NASTY, "cat & 'dog'", "寿司\\n"])
    assert page.locator("script").count() == 1
    assert page.locator("h1 b").count() == 0


def test_the_policy_forbids_requests_and_other_scripts(page_file: Path, browser: Any) -> None:
    page = browser.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.goto(page_file.resolve().as_uri())
    page.evaluate("fetch('http://127.0.0.1:9/').catch(() => 0)")
    page.evaluate(
        "() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s); const i = new Image(); i.src = 'http://127.0.0.1:9/a.png';"
        "document.body.append(i); }"
    )
    assert page.evaluate("window.ran") is None
    page.wait_for_timeout(200)
    violations = " ".join(text for text in messages if "Content Security Policy" in text)
    assert all(rule in violations for rule in ("default-src 'none'", "script-src", "img-src"))
    page.close()


def test_the_page_works_with_a_screen_reader(page_file: Path, visit: Visit) -> None:
    page = visit(page_file)
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.locator("h1").count() == page.locator("main").count() == page.locator("header").count() == 1
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("svg:not([aria-hidden]):not([aria-label]):not(svg svg)").count() == 0
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(h => +h.tagName[1])")
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = page.locator("[id]").evaluate_all("all => all.map(e => e.id)")
    assert len(ids) == len(set(ids))
    for attribute in ("aria-labelledby", "aria-describedby"):
        for value in page.locator(f"[{attribute}]").evaluate_all(
            f"all => all.map(e => e.getAttribute('{attribute}'))"
        ):
            assert value in ids
    links = page.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert all(link.startswith("#") and link[1:] in ids for link in links)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_contrast_of_every_text_is_sufficient(page_file: Path, visit: Visit, scheme: str) -> None:
    """WCAG 2.2, contrast minimum: 4.5 to 1."""
    page = visit(page_file, color_scheme=scheme)
    assert page.evaluate(CONTRAST) >= 4.5


@pytest.mark.parametrize("width", [360, 1600])
def test_the_page_fits_the_width_of_the_window(page_file: Path, visit: Visit, width: int) -> None:
    page = visit(page_file, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_without_javascript_only_the_pointer_is_missing(page_file: Path, visit: Visit) -> None:
    page = visit(page_file, java_script_enabled=False)
    assert page.locator(".station").count() == 10
    assert page.locator(".frame img").count() == 80
    assert page.locator(".picker").first.is_hidden()
    assert page.locator("#help").is_hidden()
    assert page.locator(".station .field .box").first.is_visible()
    assert page.locator(".norms.scores").is_visible()


def test_the_page_of_resnet18_is_small(photo: Path, tmp_path: Path) -> None:
    reslab.walk("resnet18", photo, tmp_path / "walk.html")
    assert (tmp_path / "walk.html").stat().st_size < 3_000_000
