"""Drawings of a block's inside: its graph, text that can be read, lines that cross no box, the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.ops import StochasticDepth

import reslab
from reslab.cli.main import run
from reslab.errors import NetworkError, UsageError
from reslab.inspection.drawing.block.draw import block_figure
from reslab.inspection.drawing.block.graph import Node, block_graph
from reslab.inspection.drawing.block.layout import Box, Piece, lay_out
from reslab.inspection.drawing.block.paths import Path as BlockPath
from reslab.inspection.drawing.block.paths import block_path
from reslab.inspection.drawing.block.rows import Row
from reslab.inspection.drawing.block.texts import Texts
from reslab.inspection.drawing.draw import network_figure
from reslab.inspection.drawing.paint import Lettering
from reslab.networks.from_text import BLOCKS

NUMBERS = [(64, 128, 2), (64, 64, 1)]


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    layers = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2), nn.BatchNorm2d(out_channels)
    return nn.Sequential(*layers, nn.ReLU())


class Four(nn.Module):
    """Four branches and a concatenation, as in GoogLeNet."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        width = out_channels // 4
        self.a = conv(in_channels, width, 1, stride)
        self.b = nn.Sequential(conv(in_channels, width, 1), conv(width, width, 3, stride))
        self.c = nn.Sequential(
            conv(in_channels, width, 1), conv(width, width, 3), conv(width, width, 3, stride)
        )
        self.d = nn.Sequential(nn.MaxPool2d(3, stride, 1), conv(in_channels, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x), self.c(x), self.d(x)], 1)


class Dense(nn.Module):
    """Layers that take the outputs of all layers before them."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(in_channels + 16 * i, 16, 3) for i in range(3)])
        self.transition = conv(in_channels + 48, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.transition(x)


class Tangle(nn.Module):
    """Branches that begin and end in one another."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.p, self.e = (
            conv(in_channels, out_channels, 3, stride),
            conv(in_channels, out_channels, 1, stride),
        )
        self.a, self.b, self.c, self.d = (conv(out_channels, out_channels, 3) for _ in range(4))
        self.drop = StochasticDepth(0.1, "row")

    def forward(self, x: Tensor) -> Tensor:
        p, e = self.p(x), self.e(x)
        a = self.a(p)
        b = self.b(a)
        c = self.c(a + b) + p
        return self.drop(self.d(c + e) * torch.sigmoid(e)) + b


class Attention(nn.Module):
    """Non-local block (Wang et al. 2018): matrix products, and shapes that views change."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Conv2d(in_channels, in_channels // 2, 1) for _ in range(3))
        self.out, self.end = (
            nn.Conv2d(in_channels // 2, in_channels, 1),
            conv(in_channels, out_channels, 3, stride),
        )

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).flatten(2) for f in (self.q, self.k, self.v))
        weights = torch.softmax(q.transpose(1, 2) @ k, -1)
        y = (v @ weights.transpose(1, 2)).reshape(x.shape[0], -1, *x.shape[-2:])
        return self.end(x + self.out(y))


class Split(nn.Module):
    """Half of the channels pass by, and a learned factor scales the result."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.start, self.part = (
            conv(in_channels, out_channels, 3, stride),
            conv(out_channels // 2, out_channels // 2, 3),
        )
        self.gamma = nn.Parameter(torch.ones(out_channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        a, b = x.chunk(2, 1)
        return x + self.gamma * torch.cat([self.part(a), b], 1)


class Long(nn.Module):
    """Forty layers with a long name."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.first = conv(in_channels, out_channels, 3, stride)
        self.the_many_layers_of_a_long_block = nn.Sequential(
            *[conv(out_channels, out_channels, 3) for _ in range(12)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + self.the_many_layers_of_a_long_block(x)


class Constant(nn.Module):
    """A block that does not use its input."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def mobile(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    return InvertedResidual(in_channels, out_channels, stride, 6)


OTHERS: list[Callable[[int, int, int], nn.Module]] = [Four, Dense, Tangle, Attention, Split, Long, mobile]
ALL = {**BLOCKS, **{block.__name__: block for block in OTHERS}}


@cache
def taken(name: str, numbers: tuple[int, int, int] = NUMBERS[0]) -> tuple[reslab.Anatomy, nn.Module]:
    module = ALL[name](*numbers)
    return reslab.anatomy(module, (numbers[0], 56, 56), name=name), module


@cache
def graph_of(name: str, numbers: tuple[int, int, int] = NUMBERS[0]) -> tuple[Node, ...]:
    return block_graph(*taken(name, numbers))


def branches(path: BlockPath) -> Iterator[BlockPath]:
    """Yield a path and all branches inside it."""
    yield path
    for step in path.steps:
        for branch in step if isinstance(step, tuple) else ():
            yield from branches(branch)


def rows_of(path: BlockPath, nodes: Sequence[Node]) -> list[Row]:
    """Return the rows of the layers on a branch, also of branches inside it."""
    steps = [step for branch in branches(path) for step in branch.steps]
    return [row for step in steps if isinstance(step, int) for row in nodes[step].rows]


def ends(path: BlockPath, role: str) -> Iterator[tuple[BlockPath, int]]:
    """Yield each branch of a role, and the node where it ends."""
    for branch in branches(path):
        for split, end in pairwise(branch.steps):
            if isinstance(split, tuple) and isinstance(end, int):
                yield from ((side, end) for side in split[1:] if side.role == role)


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("name", ALL)
def test_paths_hold_every_node_once(name: str, numbers: tuple[int, int, int]) -> None:
    nodes = graph_of(name, numbers)
    held = [step for path in branches(block_path(nodes)) for step in path.steps if isinstance(step, int)]
    assert sorted(held) == list(range(len(nodes)))


@pytest.mark.parametrize("numbers", NUMBERS)
@pytest.mark.parametrize("name", BLOCKS)
def test_the_shortcut_holds_the_layers_that_the_block_gives_it(
    name: str, numbers: tuple[int, int, int]
) -> None:
    nodes, (_, module) = graph_of(name, numbers), taken(name, numbers)
    path = block_path(nodes)
    if name == "plain":
        assert list(branches(path)) == [path]
        return
    ((shortcut, add),) = ends(path, "shortcut")
    own = {key for key, layer in module.named_modules() if not list(layer.children())}
    expected = {
        key for key in own if key.startswith(("downsample", "conv3") if name == "textbook" else "downsample")
    }
    assert {row.layer.name for row in rows_of(shortcut, nodes)} == expected
    changes_shape = "zeros" if name == "shortcut_a" else "projection"
    assert shortcut.kind == (changes_shape if expected else "identity")
    assert nodes[add].kind == "add"
    assert [nodes[source].output for source in nodes[add].inputs] == [nodes[add].output] * 2


@pytest.mark.parametrize("name", BLOCKS)
def test_shapes_at_the_arrows_are_those_of_a_real_pass(name: str) -> None:
    nodes, (_, module) = graph_of(name), taken(name)
    made: dict[str, list[tuple[int, ...]]] = {}
    for key, layer in module.named_modules():
        layer.register_forward_hook(
            lambda _, __, output, key=key: made.setdefault(key, []).append(tuple(output.shape[1:]))
        )
    module.eval()
    output = module(torch.zeros(1, 64, 56, 56))
    assert nodes[-1].output == tuple(output.shape[1:])
    shown = [(node.rows[-1].layer.name, node.output) for node in nodes if node.rows]
    checked = [shape in made[key] for key, shape in shown if key in made]  # a layer may run twice
    assert len(checked) >= 2
    assert all(checked)


@pytest.mark.parametrize(("name", "gates"), [("se", 1), ("eca", 1), ("cbam", 2), ("basic", 0)])
def test_gates_are_side_branches_that_end_in_a_multiplication(name: str, gates: int) -> None:
    nodes = graph_of(name)
    path = block_path(nodes)
    found = list(ends(path, "gate"))
    assert len(found) == gates
    assert all(nodes[end].kind == "multiply" for _, end in found)
    on_gates = {row.layer.name for branch, _ in found for row in rows_of(branch, nodes)}
    assert not {"conv1", "conv2"} & on_gates


def test_layers_of_a_convolution_share_its_box() -> None:
    rows = [[row.text for row in node.rows] for node in graph_of("basic")]
    assert ["3×3 conv, 64 → 128, stride 2", "batch norm", "ReLU"] in rows
    rows = [[row.text for row in node.rows] for node in graph_of("preactivation")]
    assert ["batch norm", "ReLU", "3×3 conv, 64 → 128, stride 2"] in rows
    rows = [[row.text for row in node.rows] for node in graph_of("mobile")]
    assert ["3×3 depthwise conv, 384 → 384, stride 2", "batch norm", "ReLU6"] in rows
    texts = [row.text for node in graph_of("Tangle") for row in node.rows]
    assert texts.count("stochastic depth") == 1
    assert "multiply by gamma" in [row.text for node in graph_of("Split") for row in node.rows]


LETTERS = Lettering(6.0)


def check_lines(nodes: Sequence[Node]) -> None:
    """Assert one line for each edge, which crosses no box and no label, and that these do not overlap."""
    drawing: Piece = lay_out(block_path(nodes), Texts(nodes, LETTERS, 80))
    assert len(drawing.lines) == sum(len(node.inputs) for node in nodes)
    labels = [
        Box("box", label.y, label.x, label.x + LETTERS.width(label.text), 0.75 * LETTERS.leading)
        for label in drawing.labels
    ]
    solid = [box for box in drawing.boxes if box.kind not in ("input", "output")] + labels
    for line in drawing.lines:
        for (x0, y0), (x1, y1) in pairwise(line.points):
            for box in solid:
                over = min(max(x0, x1), box.right - 0.1) - max(min(x0, x1), box.left + 0.1)
                along = min(max(y0, y1), (box.y + box.height) - 0.1) - max(min(y0, y1), box.y + 0.1)
                assert over < 0 or along < 0, (line, box)
    for i, box in enumerate(solid):
        for other in solid[:i]:
            over = min(box.right, other.right) - max(box.left, other.left)
            assert (
                over < 0.1 or min((box.y + box.height), other.y + other.height) - max(box.y, other.y) < 0.1
            ), (box, other)


@pytest.mark.parametrize("name", ALL)
def test_no_line_crosses_a_box_or_a_label(name: str) -> None:
    check_lines(graph_of(name))


class Random(nn.Module):
    """A block whose operations take any two earlier values: (kind, one, other) each, as indices."""

    def __init__(self, steps: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(
            [conv(8, 8, 3) if kind == "conv" else nn.Identity() for kind, *_ in steps]
        )

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for (kind, one, other), layer in zip(self.steps, self.layers, strict=True):
            a, b = values[one % len(values)], values[other % len(values)]
            if kind == "conv":
                values.append(layer(a))
            elif kind == "gate":
                values.append(a * b.mean((2, 3), keepdim=True).sigmoid())
            elif kind == "max":
                values.append(torch.maximum(a, b))
            else:
                values.append(a + b)
        return sum(values[1:], values[0])  # type: ignore[return-value]


kinds = st.sampled_from(["conv", "conv", "gate", "max", "add"])


@pytest.mark.slow
@settings(max_examples=25)
@example([("add", 0, 0), ("conv", 0, 0)])  # a shortcut that begins with a fork
@given(st.lists(st.tuples(kinds, st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9))
def test_no_line_crosses_a_box_or_a_label_in_any_block(steps: list[tuple[str, int, int]]) -> None:
    block = Random(steps)
    check_lines(block_graph(reslab.anatomy(block, (8, 8, 8)), block))


def texts_of(figure: Figure) -> Iterator[Any]:
    figure.draw_without_rendering()
    return (text for text in figure.axes[0].texts if text.get_text())


@pytest.mark.parametrize(
    "name", [name for name in ALL if name not in ("plain", "textbook", "layerscale", "stochastic_depth")]
)
def test_texts_are_readable_inside_the_frame_and_do_not_overlap(name: str) -> None:
    figure = block_figure(*taken(name))
    shown = list(texts_of(figure))
    boxes = [text.get_window_extent() for text in shown]
    for text, box in zip(shown, boxes, strict=True):
        assert text.get_fontsize() >= 6
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1, text.get_text()
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1, text.get_text()
    for i, box in enumerate(boxes):
        for j in range(i):
            # the boxes of two lines of text may touch by the room for descenders
            over = min(box.y1, boxes[j].y1) - max(box.y0, boxes[j].y0)
            aside = min(box.x1, boxes[j].x1) > max(box.x0, boxes[j].x0)
            lowest = 0.3 * min(box.height, boxes[j].height)
            assert not (over > lowest and aside), (shown[i].get_text(), shown[j].get_text())


def test_a_block_has_the_font_of_a_network_and_fits_a_column() -> None:
    network = reslab.cifar_resnet20()
    figures = [block_figure(*taken("se")), network_figure(reslab.anatomy(network, (3, 32, 32)))]
    assert len({text.get_fontfamily()[0] for figure in figures for text in texts_of(figure)}) == 1
    assert figures[0].get_figwidth() * 25.4 == pytest.approx(85)
    assert block_figure(*taken("basic"), width=60).get_figwidth() * 25.4 == pytest.approx(60)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_block_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    files = [tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"]
    for file in files:
        reslab.draw_block(reslab.BasicBlock, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    state = torch.get_rng_state()
    reslab.draw_block(reslab.BasicBlock, files[0])
    assert torch.equal(state, torch.get_rng_state())


def ids(file: Path) -> Counter[str]:
    """Number of elements of an SVG by the first word of their id."""
    groups = ElementTree.parse(file).iter("{http://www.w3.org/2000/svg}g")
    return Counter(group.get("id", "").partition("-")[0] for group in groups)


def test_a_module_is_drawn_as_it_is(tmp_path: Path) -> None:
    block = reslab.BasicBlock(16, 16)
    reslab.draw_block(block, tmp_path / "block.svg", size=8)
    found = (tmp_path / "block.svg").read_text()
    assert 'id="shortcut-identity-' in found
    assert ids(tmp_path / "block.svg")["layer"] == 6
    assert block.training


USERS_FILE = """
from torch import nn

class Gated(nn.Module):
    def __init__(self, in_channels, out_channels, stride):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(out_channels, out_channels, 1)
        self.project = nn.Conv2d(in_channels, out_channels, 1, stride)

    def forward(self, x):
        y = self.conv(x).relu()
        return y * self.gate(self.pool(y)).sigmoid() + self.project(x)

class Other(nn.Module):
    def __init__(self, channels, use_1x1conv=False, strides=1):
        super().__init__()

def build(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(num_classes))
"""


@pytest.mark.slow
def test_show_draws_the_inside_of_a_users_block(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "my_block.py").write_text(USERS_FILE)
    name, file = f"{tmp_path / 'my_block.py'}:Gated", tmp_path / "block.svg"
    assert run(["show", name, "-o", str(file)]) == 0
    assert "85 mm wide" in capsys.readouterr().out
    assert ids(file) >= Counter({"layer": 6, "multiply": 1, "add": 1, "gate": 3, "shortcut": 2})
    assert run(["show", name, "-o", str(file), "--input", "16x32x32", "--output-width", "100"]) == 0
    assert "100 mm wide" in capsys.readouterr().out
    assert run(["show", f"cifar_resnet20:{name}", "-o", str(file)]) == 0
    assert ids(file)["bar"] > 9, "a network with the block is drawn as a network"
    assert run(["show", name, "-o", str(file), "--num-classes", "3"]) == 2
    assert run(["show", f"{tmp_path / 'my_block.py'}:Other", "-o", str(file)]) == 2
    assert "stride" in capsys.readouterr().err


def test_show_draws_the_inside_of_a_block_by_name(tmp_path: Path) -> None:
    for name in ("SEBlock", "SEBlock:64,128,2"):
        assert run(["show", name, "-o", str(tmp_path / "block.svg")]) == 0
        assert ids(tmp_path / "block.svg")["multiply"] == 1


def test_what_is_no_block_is_an_error(tmp_path: Path, refuses: Any) -> None:
    file = tmp_path / "block.svg"
    with refuses(NetworkError, "whole network", "draw_network"):
        reslab.draw_block(reslab.cifar_resnet20(), file)
    with refuses(NetworkError, "my_block", "in_channels, out_channels, stride"):
        reslab.draw_block(lambda i, o, s: 1 / 0, file, name="my_block")
    with refuses(NetworkError, "no layer"):
        reslab.draw_block(Constant(), file)
    with refuses(UsageError, "60 mm", "it needs"):
        reslab.draw_block(Four, file, width=60)
    with refuses(UsageError, "20 mm"):
        reslab.draw_block(reslab.BasicBlock, file, width=20)
    with refuses(UsageError, "block.gif"):
        reslab.draw_block(reslab.BasicBlock, tmp_path / "block.gif")
    assert list(tmp_path.iterdir()) == []
