"""Figures of a comparison: every variant and seed is there, no text overlaps, equal bytes, empty states."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_comparisons import LONG_NAMES, make_variants
from matplotlib.axes import Axes
from matplotlib.axis import Tick
from matplotlib.figure import Figure
from matplotlib.text import Text

from reslab.lab.results.figures.cost import draw_cost
from reslab.lab.results.figures.curves import draw_curves
from reslab.lab.results.figures.forest import draw_forest
from reslab.lab.results.variant_result import VariantResult
from reslab.plots.figure_file import figure_bytes

Draw = Callable[[Sequence[VariantResult]], Figure]
THREE = {"basic": 0.0, "se": 0.02, "my_block.py:MyBlock": -0.002}
NAMES = {
    "one": ["basic"],
    "three": [*THREE],
    "seven": ["basic", "se", "eca", "cbam", "resnet-d", "blur_pool", "stochastic-depth"],
    "twelve long": ["basic", *LONG_NAMES[:11]],
    "thirty": [f"cifar_resnet20:blocks_{i}.py:Block" for i in range(30)],
    "odd": ["basic", "$x_1$ & _y", "_hidden", "a\nb", "我的.py:块", "x" * 200],
}


def forest(variants: Sequence[VariantResult]) -> Figure:
    return draw_forest(variants, 0.01)


@pytest.fixture(scope="module")
def variants() -> Callable[[str], Sequence[VariantResult]]:
    def make(kind: str) -> Sequence[VariantResult]:
        gains = np.random.default_rng(3).normal(0, 0.012, len(NAMES[kind]))
        return make_variants(dict(zip(NAMES[kind], gains, strict=True)), seeds=6, photos=400)

    return make


@pytest.mark.parametrize("draw", [forest, draw_curves, draw_cost])
@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[pytest.mark.slow] * (len(names) > 10)) for kind, names in NAMES.items()],
)
def test_texts_do_not_overlap_and_are_on_the_page(
    draw: Draw, kind: str, variants: Callable[[str], Sequence[VariantResult]]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a letter that the font lacks
        figure = draw(variants(kind))
        boxes = text_boxes(figure)
    width, height = figure.bbox.size
    for text, box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0, text
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not overlaps(first, second), (one, other)


def text_boxes(figure: Figure) -> list[tuple[str, SimpleNamespace]]:
    """Return the visible texts with the boxes of their letters, in pixels."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    hidden = {id(tick.label1) for axes in figure.axes for tick in _hidden_ticks(axes)}
    texts = [t for t in figure.findobj(Text) if t.get_text().strip() and id(t) not in hidden]
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_visible()]
    return [(text, SimpleNamespace(x0=b.x0, x1=b.x1, y0=b.y0, y1=b.y1)) for text, b in boxes]


def _hidden_ticks(axes: Axes) -> Iterator[Tick]:
    """Iterate over ticks that matplotlib keeps but does not draw."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not axes.axison or not low <= tick.get_loc() <= high:
                yield tick


def overlaps(one: SimpleNamespace, other: SimpleNamespace, slack: float = 1.0) -> bool:
    """Return True if two boxes share more than `slack` pixels: lines of a text may touch."""
    return bool(
        min(one.x1, other.x1) - max(one.x0, other.x0) > slack
        and min(one.y1, other.y1) - max(one.y0, other.y0) > slack
    )


@pytest.mark.parametrize("draw", [forest, draw_curves, draw_cost])
def test_every_variant_is_named(draw: Draw, variants: Callable[[str], Sequence[VariantResult]]) -> None:
    for kind in ("three", "seven"):
        shown = "".join(text.get_text() for text in draw(variants(kind)).findobj(Text))
        assert all(name in shown for name in NAMES[kind][draw is forest :])


def test_the_forest_has_a_dot_for_each_seed_and_both_intervals() -> None:
    variants = make_variants(THREE, failed={"se": [2]})
    axes = draw_forest(variants, 0.01).axes[1]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
    dots = [sorted(line.get_xdata()) for line in lines if line.get_marker() == "o"]
    base = {cell.seed: cell.accuracy for cell in variants[0].cells}
    for variant, row in zip(variants[1:], dots, strict=True):
        gains = [100 * (c.accuracy - base[c.seed]) for c in variant.cells if c.accuracy is not None]
        assert row == pytest.approx(sorted(gains))
    ends = {tuple(np.round(line.get_xdata(), 6)) for line in lines if line.get_marker() == "None"}
    for variant in variants[1:]:
        assert variant.difference is not None
        for interval in (variant.difference.interval, variant.difference.interval_same_photos):
            assert (round(100 * interval.low, 6), round(100 * interval.high, 6)) in ends


def test_the_curves_have_a_line_for_each_seed_and_a_mean() -> None:
    variants = make_variants(THREE, seeds=5)
    lines = [line for line in draw_curves(variants).axes[1].get_lines() if len(line.get_xdata()) == 30]
    assert len(lines) == 3 * (5 + 1)
    means = [line for line in lines if line.get_linewidth() == 2]
    for variant, line in zip(variants, means, strict=True):
        curves = np.array([cell.val_accuracies for cell in variant.cells])
        assert line.get_ydata() == pytest.approx(100 * curves.mean(axis=0))
    assert len({line.get_color() for line in means}) == 3


@pytest.mark.parametrize("draw", [forest, draw_curves, draw_cost])
@pytest.mark.parametrize("kind", ["svg", pytest.param("pdf", marks=pytest.mark.slow), "png"])
def test_the_same_comparison_gives_the_same_bytes(draw: Draw, kind: str) -> None:
    variants = make_variants(THREE, seeds=5, photos=200)
    first, second = (figure_bytes(draw(variants), kind, "a", dpi=60) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("draw", [forest, draw_curves, draw_cost])
@pytest.mark.parametrize(
    "settings",
    [
        {"seeds": 1},
        {"seeds": 2, "failed": {name: [0, 1] for name in THREE}},
        {"seeds": 5, "photos": 1},
        {"seeds": 5, "spread": 0.0},
    ],
)
def test_little_data_is_drawn(draw: Draw, settings: dict[str, object]) -> None:
    figure = draw(make_variants(THREE, **settings))  # type: ignore[arg-type]
    assert len(figure_bytes(figure, "png", "a", dpi=40)) > 1000


def test_intervals_of_few_seeds_do_not_stretch_the_axis() -> None:
    variants = make_variants(THREE, seeds=2)
    low, high = draw_forest(variants, 0.01).axes[1].get_xlim()
    assert -10 < low < high < 10
