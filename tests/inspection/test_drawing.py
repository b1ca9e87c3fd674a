"""Drawings of networks: all shortcuts, readable text inside the frame, the same bytes twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.patches import PathPatch, Rectangle
from PIL import Image
from torch import Tensor, nn

import reslab
from reslab.cli.main import run
from reslab.errors import NetworkError, UsageError
from reslab.inspection.drawing.draw import draw_anatomy, network_figure
from reslab.networks.from_text import network_from_text

NAMES = ["resnet18", "resnet50", "cifar_resnet20", "cifar_resnet110", "textbook_resnet18"]
NAMES += ["resnet18:plain", "resnet18:preactivation", "TextbookBlock", "torchvision:vgg11"]
NAMES += ["torchvision:resnet34", "torchvision:efficientnet_b0", "torchvision:googlenet"]


@cache
def taken(name: str) -> reslab.Anatomy:
    named = network_from_text(name, meta=True)
    return reslab.anatomy(named.network, named.input_shape, name=name)


def shortcuts(file: Path) -> Counter[tuple[str, bool]]:
    """(kind, whether its line is broken) of every shortcut in an SVG."""
    found: Counter[tuple[str, bool]] = Counter()
    for group in ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}g"):
        _, _, rest = group.get("id", "").partition("shortcut-")
        if rest:
            (path,) = group.iter("{http://www.w3.org/2000/svg}path")
            found[rest.partition("-")[0], "stroke-dasharray" in path.get("style", "")] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", {("identity", False): 5, ("projection", True): 3}),
        ("resnet18:plain", {}),
        ("resnet50", {("identity", False): 12, ("projection", True): 4}),
        ("cifar_resnet20", {("identity", False): 7, ("zeros", True): 2}),
        ("textbook_resnet18", {("identity", False): 5, ("projection", True): 3}),
        ("torchvision:resnet34", {("identity", False): 13, ("projection", True): 3}),
        ("TextbookBlock", {("projection", True): 1}),
        ("torchvision:vgg11", {}),
    ],
)
def test_every_shortcut_is_drawn_with_dashes_unless_it_is_the_identity(
    name: str, expected: dict[Any, int], tmp_path: Path
) -> None:
    draw_anatomy(taken(name), tmp_path / "net.svg")
    assert shortcuts(tmp_path / "net.svg") == Counter(expected)


@pytest.mark.slow
@pytest.mark.parametrize("width", [80, 170])
@pytest.mark.parametrize("name", NAMES)
def test_texts_are_readable_inside_the_frame_and_do_not_overlap(name: str, width: float) -> None:
    figure = network_figure(taken(name), width)
    assert figure.get_figwidth() * 25.4 == pytest.approx(width)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    texts = [text for text in axes.texts if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    for text, box in zip(texts, boxes, strict=True):
        assert text.get_fontsize() >= 6
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text.get_text()
    for i, box in enumerate(boxes):
        for j in range(i):
            # the boxes of two lines of text may touch by the room for descenders
            over = min(box.y1, boxes[j].y1) - max(box.y0, boxes[j].y0) > 0.3 * min(
                box.height, boxes[j].height
            )
            beside = min(box.x1, boxes[j].x1) > max(box.x0, boxes[j].x0)
            assert not (over and beside), (texts[i].get_text(), texts[j].get_text())


def bars(figure: Any) -> dict[str, Rectangle]:
    boxes = [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle) and patch.get_gid()]
    return {str(box.get_gid()).removeprefix("bar-"): box for box in boxes}


def test_bars_are_to_scale() -> None:
    found = bars(network_figure(taken("resnet18"), 170))
    first, last = found["layer1.0"], found["layer4.1"]
    assert last.get_width() / first.get_width() == pytest.approx((512 / 64) ** 0.5)
    assert first.get_height() / last.get_height() == pytest.approx((56 / 7) ** 0.5)


def test_parameters_are_under_their_stage() -> None:
    words = [text.get_text() for text in network_figure(taken("TextbookBlock")).axes[0].texts]
    assert "222 k" in words  # conv1 and conv2 with their batch norms: 221,952
    assert "The shortcut's: 8.32 k." in " ".join(words)  # 64 * 128 + 128
    assert "148 k" in [text.get_text() for text in network_figure(taken("resnet18")).axes[0].texts]


def test_many_equal_blocks_become_one_bar_with_their_number() -> None:
    figure = network_figure(taken("cifar_resnet110"), 85)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert [word for word in words if word.startswith("×") and word[1:].isdigit()] == ["×18", "×17", "×17"]
    assert len(bars(network_figure(taken("cifar_resnet110"), 400))) == 54 + 4


class Halving(nn.Module):
    """A block of a user, with a shortcut that pools and an addition in place."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(nn.Conv2d(in_channels, out_channels, 5, stride, 2), nn.ReLU())
        self.pool = nn.AvgPool2d(stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.way(x).add_(self.pool(x))  # type: ignore[no-any-return]


class Twice(nn.Module):
    """Two sums in one block, as in a transformer."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, out_channels, 1, stride)
        self.first, self.second = (nn.Conv2d(out_channels, out_channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        x = x + self.first(x).relu()
        return x + self.second(x).relu()


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: nn.Sequential(Halving(3, 3, 2), Halving(3, 3, 1)), {"pooled": 1, "identity": 1}),
        (lambda: reslab.create_resnet("cifar_resnet20", block=Twice), {"identity": 18}),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)), {}),
    ],
)
def test_shortcuts_of_a_users_block_are_drawn(
    network: Callable[[], nn.Module], expected: dict[str, int], tmp_path: Path
) -> None:
    built = network()
    built(torch.zeros(2, 3, 32, 32))  # the lazy one takes its size
    reslab.draw_network(built, (3, 32, 32), tmp_path / "net.svg")
    kinds = Counter(kind for kind, _ in shortcuts(tmp_path / "net.svg").elements())
    assert kinds == Counter(expected)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_network_gives_the_same_bytes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = reslab.cifar_resnet20()
    files = [tmp_path / f"one{suffix}", tmp_path / f"two{suffix.upper()}"]
    for file, day in zip(files, ("0", "86400"), strict=True):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", day)
        reslab.draw_network(network, (3, 32, 32), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes().startswith({".svg": b"<?xml", ".pdf": b"%PDF-", ".png": b"\x89PNG"}[suffix])
    assert sorted(tmp_path.iterdir()) == sorted(files), "no temporary file is left"


def test_a_png_has_300_dots_per_inch_and_a_white_background(tmp_path: Path) -> None:
    reslab.draw_network(reslab.cifar_resnet20(), (3, 32, 32), tmp_path / "net.png", width=127)
    with Image.open(tmp_path / "net.png") as image:
        assert image.width == 1500  # 5 inches
        assert image.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_shortcuts_differ_in_dashes_and_not_in_color() -> None:
    figure = network_figure(taken("cifar_resnet20"))
    arcs = [p for p in figure.axes[0].patches if isinstance(p, PathPatch) and p.get_gid()]
    assert len({arc.get_edgecolor() for arc in arcs}) == 1
    assert len({str(arc.get_linestyle()) for arc in arcs}) == 2


def test_what_cannot_be_drawn_is_an_error(tmp_path: Path, refuses: Any) -> None:
    network = reslab.cifar_resnet20()
    with refuses(UsageError, "net.gif", ".svg, .pdf, .png"):
        reslab.draw_network(network, (3, 32, 32), tmp_path / "net.gif")
    with refuses(UsageError, "folder", "nowhere"):
        reslab.draw_network(network, (3, 32, 32), tmp_path / "nowhere/net.svg")
    with refuses(UsageError, "20 mm"):
        reslab.draw_network(network, (3, 32, 32), tmp_path / "net.svg", width=20)
    with refuses(NetworkError, "channels"):
        reslab.draw_network(network, (1, 32, 32), tmp_path / "net.svg")
    with refuses(NetworkError, "no layer has weights"):
        reslab.draw_network(nn.Sequential(nn.ReLU()), (3, 32, 32), tmp_path / "net.svg")
    (tmp_path / "folder.svg").mkdir()
    with refuses(UsageError, "folder.svg"):
        reslab.draw_network(network, (3, 32, 32), tmp_path / "folder.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]


def test_show_draws_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plain.svg"
    assert run(["show", "cifar_resnet20:plain", "-o", str(file), "--output-width", "170"]) == 0
    assert "170 mm wide" in capsys.readouterr().out
    assert shortcuts(file) == Counter()
    assert ElementTree.parse(file).getroot().get("width", "").startswith("481.889")  # points
    for words in (["a.svg", "--json"], ["a.gif"], ["nowhere/a.svg"]):
        assert run(["show", "cifar_resnet20", "-o", *words]) == 2
        assert "  do:  " in capsys.readouterr().err
    assert run(["show", "cifar_resnet20", "resnet18", "-o", str(file)]) == 2
    assert run(["show", "cifar_resnet20", "--output-width", "100"]) == 2
