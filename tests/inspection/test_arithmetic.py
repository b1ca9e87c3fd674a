"""Formulas and errors of the arithmetic, compared with torch's own layers for thousands of settings."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import reslab
from reslab.errors import NetworkError, ReslabError, UsageError
from reslab.inspection.arithmetic import parameters, windows
from reslab.inspection.convolution_text import explain, facts

PAIRS = {
    "input_size": st.tuples(st.integers(1, 40), st.integers(1, 40)),
    "kernel_size": st.tuples(st.integers(1, 9), st.integers(1, 9)),
    "stride": st.tuples(st.integers(0, 5), st.integers(1, 5)),
    "padding": st.tuples(st.integers(-1, 6), st.integers(0, 6)),
    "dilation": st.tuples(st.integers(0, 4), st.integers(1, 4)),
    "output_padding": st.tuples(st.integers(0, 4), st.integers(0, 4)),
}


def ours(size: tuple[int, int], **given: Any) -> object:
    try:
        return reslab.output_size(size, **given)
    except ReslabError:
        return "refused"


def theirs(size: tuple[int, int], layer: type[nn.Module], *arguments: Any, **given: Any) -> object:
    """On the CPU: on the meta device torch lets a stride or dilation of 0 pass.

    Some of torch's kernels for transposed convolutions let an output without pixels pass, others refuse it.
    """
    try:
        with torch.no_grad():
            shape = tuple(layer(*arguments, **given)(torch.zeros(1, 1, *size)).shape[2:])
    except (RuntimeError, ValueError):
        return "refused"
    return shape if all(shape) else "refused"


def drawn(*names: str) -> Any:
    return given(**{name: PAIRS[name] for name in ("input_size", *names)})


@settings(max_examples=300, deadline=None)
@drawn("kernel_size", "stride", "padding", "dilation")
def test_a_convolution_has_torchs_output_size(input_size: tuple[int, int], **drawn: Any) -> None:
    assert ours(input_size, **drawn) == theirs(input_size, nn.Conv2d, 1, 1, **drawn)


@settings(max_examples=300, deadline=None)
@drawn("kernel_size", "stride", "padding", "dilation", "output_padding")
def test_a_transposed_convolution_has_torchs_output_size(input_size: tuple[int, int], **drawn: Any) -> None:
    if 0 in drawn["dilation"]:  # the one setting that torch lets pass here and nowhere else
        assert ours(input_size, transposed=True, **drawn) == "refused"
        return
    expected = theirs(input_size, nn.ConvTranspose2d, 1, 1, **drawn)
    assert ours(input_size, transposed=True, **drawn) == expected


@settings(max_examples=300, deadline=None)
@given(
    ceil_mode=st.booleans(),
    **{n: PAIRS[n] for n in ("input_size", "kernel_size", "stride", "padding", "dilation")},
)
def test_a_maximum_pooling_has_torchs_output_size(input_size: tuple[int, int], **drawn: Any) -> None:
    assert ours(input_size, pool=True, **drawn) == theirs(input_size, nn.MaxPool2d, **drawn)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4), st.integers(1, 3))
def test_both_sides_of_a_formula_that_rounds_up_are_equal(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    about = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    try:
        text = facts(windows(**about, kind="pooling", ceil_mode=True), (size, size))["formula"]
    except NetworkError:
        reject()
    rounded, _, right = text.replace("·", "*").partition(" = ")
    inside, _, rest = rounded.removeprefix("⌈").partition("⌉")
    assert math.ceil(eval(inside)) + eval(rest) == int(right), text


def test_the_formula_subtracts_a_window_that_torch_drops() -> None:
    pool = windows(kernel_size=1, stride=2, kind="pooling", ceil_mode=True)
    assert facts(pool, (56, 56))["formula"] == "⌈(56 + 2·0 - 1)/2⌉ + 1 - 1 = 28"
    assert facts(pool, (56, 55))["formula"] == "⌈([56, 55] + 2·0 - 1)/2⌉ + 1 - [1, 0] = 28"
    text = explain(pool, (56, 56))
    assert "= 28 + 1 - 1\n         = 28\n  - 1, since the last window would begin beyond" in text
    layer = reslab.anatomy(nn.Sequential(nn.MaxPool2d(2, 2, padding=1, ceil_mode=True)), (3, 7, 7)).layers[0]
    assert layer.formula == "⌈(7 + 2·1 - 2)/2⌉ + 1 - 1 = 4"


@settings(max_examples=300, deadline=None)
@given(ceil_mode=st.booleans(), **{n: PAIRS[n] for n in ("input_size", "kernel_size", "stride", "padding")})
def test_a_mean_pooling_has_torchs_output_size(input_size: tuple[int, int], **drawn: Any) -> None:
    assert ours(input_size, pool=True, **drawn) == theirs(input_size, nn.AvgPool2d, **drawn)


def test_ints_give_an_int_and_a_pair_gives_a_pair() -> None:
    assert reslab.output_size(224, kernel_size=7, stride=2, padding=3) == 112
    assert reslab.output_size((224, 32), kernel_size=7, stride=2, padding=3) == (112, 16)
    assert reslab.output_size(224, kernel_size=(7, 1), stride=2, padding=(3, 0)) == (112, 112)


def test_examples_of_the_tutorial() -> None:
    assert reslab.output_size(512, kernel_size=3, stride=1, padding=1) == 512
    assert reslab.output_size(512, kernel_size=3, stride=2, padding=1) == 256
    assert parameters(in_channels=3, out_channels=64, kernel_size=3) == 1792


layer_settings = st.fixed_dictionaries(
    {
        "kernel_size": st.integers(1, 4),
        "stride": st.integers(1, 3),
        "padding": st.integers(0, 2),
        "dilation": st.integers(1, 2),
    }
)


@settings(max_examples=200, deadline=None)
@given(st.lists(layer_settings, min_size=1, max_size=4), st.data())
def test_the_receptive_field_is_where_the_gradient_is_not_0(layers: list[dict[str, int]], data: Any) -> None:
    field = reslab.receptive_field(layers)
    side = int(field.size) + 3 * int(field.jump) + 12
    network = nn.Sequential(
        *(
            nn.Conv2d(
                1,
                1,
                (1, s["kernel_size"]),
                (1, s["stride"]),
                (0, s["padding"]),
                (1, s["dilation"]),
                bias=False,
            )
            for s in layers
        )
    )
    for weight in network.parameters():
        nn.init.ones_(weight)
    photo = torch.ones(1, 1, 1, side, requires_grad=True, dtype=torch.float32)
    out = network(photo)[0, 0, 0]
    i = data.draw(st.integers(0, len(out) - 1))
    out[i].backward()
    seen = photo.grad[0, 0, 0].nonzero().flatten().tolist()  # type: ignore[index]
    first = field.start + i * field.jump
    inside = [pixel for pixel in range(first, first + field.size) if 0 <= pixel < side]
    if seen and all(s["dilation"] == 1 for s in layers):
        assert set(seen) <= set(inside)
        whole = first >= 0 and first + field.size <= side
        assert not whole or (seen[0], seen[-1]) == (first, first + field.size - 1)
    elif seen:
        assert set(seen) <= set(inside)


def test_the_receptive_field_of_a_resnets_stem_is_11() -> None:
    stem = [{"kernel_size": 7, "stride": 2, "padding": 3}, {"kernel_size": 3, "stride": 2, "padding": 1}]
    assert reslab.receptive_field(stem) == reslab.ReceptiveField(size=11, jump=4, start=-5)
    wide = reslab.receptive_field([{"kernel_size": (3, 5), "padding": (1, 2)}])
    assert wide == reslab.ReceptiveField(size=(3, 5), jump=(1, 1), start=(-1, -2))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    PAIRS["kernel_size"],
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.booleans(),
)
def test_costs_equal_torchs_counters(
    groups: int,
    wide_in: int,
    wide_out: int,
    bias: bool,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    transposed: bool,
) -> None:
    layer = nn.ConvTranspose2d if transposed else nn.Conv2d
    channels = groups * wide_in, groups * wide_out
    with torch.device("meta"):
        network = layer(*channels, kernel, stride, groups=groups, bias=bias)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, channels[0], 12, 17))
    about: dict[str, Any] = {"in_channels": channels[0], "out_channels": channels[1]}
    about |= {"kernel_size": kernel, "groups": groups}
    cost = reslab.multiply_adds((12, 17), stride=stride, transposed=transposed, **about)
    assert 2 * cost == counter.get_total_flops()
    assert parameters(bias=bias, **about) == sum(p.numel() for p in network.parameters())


@settings(max_examples=300, deadline=None)
@given(st.integers(3, 40), st.integers(1, 5), st.integers(1, 7), st.integers(0, 3), st.integers(1, 3))
def test_pixels_never_read_have_no_gradient(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    try:
        both = windows(kernel_size=kernel, stride=stride, padding=padding, dilation=dilation)
        never_seen = facts(both, (size, size))["never_seen"]
    except NetworkError:
        reject()
    layer = nn.Conv1d(1, 1, kernel, stride, padding, dilation, bias=False)
    nn.init.ones_(layer.weight)
    photo = torch.ones(1, 1, size, requires_grad=True)
    layer(photo).sum().backward()
    assert never_seen == [int((photo.grad == 0).sum())] * 2  # type: ignore[arg-type]
    assert explain(both, (size, size))


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 3))
def test_suggested_paddings_keep_and_halve_the_size(size: int, kernel: int, dilation: int) -> None:
    try:
        both = windows(kernel_size=kernel, dilation=dilation)
        found = facts(both, (size, size))
    except NetworkError:
        reject()
    about = {"kernel_size": kernel, "dilation": dilation}
    for name, stride, target in (("padding_same", 1, size), ("padding_half", 2, -(-size // 2))):
        for padding in range(60):
            fits = ours((size, size), stride=stride, padding=padding, **about) == (target, target)
            if padding == found[name][0]:
                assert fits
                break
            assert not fits  # no smaller padding fits, and none at all if none is suggested


def test_no_padding_is_suggested_that_pooling_does_not_allow() -> None:
    both, size = windows(kernel_size=3, dilation=3, kind="pooling"), (18, 18)  # a convolution would take 3
    assert facts(both, size)["padding_same"] == [None, None]
    text = explain(both, size)
    assert "no even padding gives 18 at stride 1; pooling has no more than half its kernel" in text
    assert "no even padding gives 9 at stride 2; pooling has no more than half its kernel" in text


def test_a_kernel_of_a_million_pixels_is_explained_at_once() -> None:
    assert facts(windows(kernel_size=10**6), (2 * 10**6,) * 2)["never_seen"] == [0, 0]


@pytest.mark.parametrize(
    ("given", "words", "error"),
    [
        ({"kernel_size": 7, "padding": 1}, "with the padding there are 5, 2 too few", NetworkError),
        ({"kernel_size": 3, "stride": 0}, "stride 0 is less than 1", NetworkError),
        ({"kernel_size": 3, "padding": -1}, "padding only adds pixels", NetworkError),
        ({"kernel_size": 3, "dilation": 2, "stride": 2}, "3 taps, dilation 2", NetworkError),
        ({"kernel_size": 2.0}, "no whole number", UsageError),
        ({"kernel_size": True}, "no whole number", UsageError),
        ({"kernel_size": (1, 2, 3)}, "has 3 numbers", UsageError),
        ({"kernel_size": 3, "padding": 2, "pool": True}, "half the kernel", NetworkError),
        ({"kernel_size": 1, "ceil_mode": True}, "convolutions round down", UsageError),
        ({"kernel_size": 1, "output_padding": 1}, "for a convolution", UsageError),
        ({"kernel_size": 1, "output_padding": 1, "transposed": True}, "0 or less", NetworkError),
        ({"kernel_size": 1, "padding": 2, "transposed": True}, "cuts 4 off", NetworkError),
        ({"kernel_size": 1, "pool": True, "transposed": True}, "one of the two", UsageError),
    ],
)  # fmt: skip
def test_impossible_settings_are_errors(given: Any, words: str, error: type[ReslabError]) -> None:
    with pytest.raises(error) as caught:
        reslab.output_size(3, **given)
    assert words in str(caught.value)
    assert caught.value.do


def test_wrong_groups_and_fields_of_transposed_layers_are_errors() -> None:
    with pytest.raises(NetworkError, match="2 groups do not divide 3 and 4 channels"):
        reslab.multiply_adds(8, in_channels=3, out_channels=4, kernel_size=1, groups=2)
    with pytest.raises(UsageError, match="transposed"):
        reslab.receptive_field([{"kernel_size": 2, "transposed": True}])


def test_the_arithmetic_needs_no_torch() -> None:
    code = (
        "import sys, reslab; reslab.output_size(224, kernel_size=7); reslab.receptive_field([]);"
        "reslab.multiply_adds(8, in_channels=1, out_channels=1, kernel_size=1); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
