"""Random numbers that depend only on their key."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from reslab.randomness import key, permutation, torch_seeded, uniforms_of_each

KEYS = st.tuples(
    st.integers(0, 99), st.text("a1:2", max_size=5), st.lists(st.integers(0, 99), max_size=3).map(tuple)
)


@given(KEYS, KEYS)
def test_two_keys_are_equal_only_if_all_parts_are(
    one: tuple[int, str, tuple[int, ...]], other: tuple[int, str, tuple[int, ...]]
) -> None:
    same = key(one[0], one[1], *one[2]) == key(other[0], other[1], *other[2])
    assert same == (one == other)


def test_a_colon_in_a_purpose_does_not_make_it_another_key() -> None:
    assert len({key(1, "a", 2), key(1, "a:2"), key(1, "a:", 2), key(1, "a::2")}) == 4


def test_another_process_gives_the_same_numbers() -> None:
    code = "from reslab.randomness import *; print(key(3, 'x', 7), permutation(3, 'x', 1, count=5).tolist())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == f"{key(3, 'x', 7)} {permutation(3, 'x', 1, count=5).tolist()}"


def test_numbers_are_those_of_the_first_release() -> None:
    assert key(0, "order", 0) == 14268844861902671836
    assert permutation(0, "order", 0, count=6).tolist() == [0, 5, 1, 4, 3, 2]
    (row,) = uniforms_of_each(0, "order", 0, things=np.array([[1, 2]], np.uint64), count=2).tolist()
    assert row == [0.024282698710505368, 0.8624980526575001]


def test_uniforms_are_uniform_within_a_row_and_across_rows() -> None:
    things = np.arange(5_000, dtype=np.uint64)[:, None]
    (within,) = uniforms_of_each(0, "test", things=things[:1], count=20_000)
    across = uniforms_of_each(0, "test", things=things, count=1)[:, 0]
    for draws in (within, across):
        assert 0 <= draws.min() <= draws.max() < 1
        assert kstest(draws, "uniform").pvalue > 0.001
    neighbours = np.corrcoef(across[:-1], across[1:])[0, 1]
    assert abs(neighbours) < 0.05


@given(st.integers(0, 9), st.integers(0, 99), st.integers(0, 200))
def test_a_permutation_has_every_index_once(seed: int, epoch: int, count: int) -> None:
    order = permutation(seed, "order", epoch, count=count)
    assert sorted(order) == list(range(count))
    assert (order == permutation(seed, "order", epoch, count=count)).all()


def test_every_order_is_equally_likely() -> None:
    orders = [tuple(permutation(0, "order", epoch, count=3)) for epoch in range(6_000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 0.001


def test_torch_numbers_depend_on_the_key_inside_the_block() -> None:
    def draw(*numbers: int) -> list[float]:
        with torch_seeded(0, "test", *numbers):
            return torch.rand(4).tolist()

    first = draw(1)
    torch.manual_seed(5)
    assert draw(1) == first
    assert draw(2) != first


def test_torch_random_state_is_restored_even_after_an_error() -> None:
    torch.manual_seed(5)
    expected = torch.rand(8)
    torch.manual_seed(5)
    drawn = [torch.rand(4)]

    def fail() -> None:
        with torch_seeded(0, "test"):
            torch.rand(100)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with torch_seeded(0, "outer"), torch_seeded(0, "inner"):
        torch.rand(100)
    drawn.append(torch.rand(4))
    assert torch.equal(torch.cat(drawn), expected)


def test_an_inner_block_does_not_disturb_the_outer_one() -> None:
    with torch_seeded(0, "outer"):
        expected = torch.rand(8)
    with torch_seeded(0, "outer"):
        drawn = [torch.rand(4)]
        with torch_seeded(0, "inner"):
            torch.rand(3)
        drawn.append(torch.rand(4))
    assert torch.equal(torch.cat(drawn), expected)
