"""training/epoch_plan.py: the epochs of a run, by number or by time."""

from __future__ import annotations

import time
from dataclasses import replace
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab import Recipe
from reslab.errors import RecipeError
from reslab.training.epoch_plan import (
    MIN_EPOCHS_IN_TIME,
    EpochPlan,
    TimeBudget,
    choose_time_budget,
    epochs_left,
    next_epoch_in_time,
    next_epoch_plan,
    possible_image_sizes,
    image_sizes,
    image_sizes,
)
from reslab.training.time_budget import interpolate_step_seconds, planned_epochs

SIZES = {64: 0.4, 96: 0.4, 128: 0.2}


def legs_of(recipe: Recipe, steps: int) -> list[EpochPlan]:
    past: list[EpochPlan] = []
    while leg := next_epoch_plan(recipe, None, past, steps):
        past.append(leg)
    return past


@given(epochs=st.integers(1, 60), steps=st.integers(1, 300), growing=st.booleans(), size=st.integers(8, 300))
def test_fixed_epochs_cover_the_run_without_a_gap_and_end_at_full_size(epochs, steps, growing, size):
    legs = legs_of(Recipe(epochs=epochs, size=size, progressive_resizing=growing), steps)
    assert len(legs) == epochs
    assert (legs[0].start, legs[-1].end) == (0, 1)
    assert all(first.end == second.start for first, second in zip(legs, legs[1:], strict=False))
    assert all(leg.steps == steps for leg in legs)
    sides = [leg.size for leg in legs]
    assert sides == sorted(sides)
    assert sides[-1] == size
    assert growing or set(sides) == {size}


def test_pictures_grow_from_half_over_three_quarters_and_never_begin_under_32_pixels():
    assert image_sizes(Recipe(size=128)) == SIZES
    assert image_sizes(Recipe(size=128, progressive_resizing=False)) == {128: 1.0}
    assert list(image_sizes(Recipe(size=48))) == [32, 40, 48] or list(image_sizes(Recipe(size=48))) == [32, 48]
    assert image_sizes(Recipe(size=32)) == {32: 1.0}
    assert image_sizes(Recipe(size=20)) == {20: 1.0}


def simulate(
    seconds: float, first: float, noise: float, wrong: float, draw: Random
) -> tuple[float, list[EpochPlan]]:
    """A run whose epochs take `wrong` times what was measured before it, give or take `noise`."""
    costs = {size: first * (size / 64) ** 1.5 for size in SIZES}
    spent, past = 0.0, []
    while True:
        known = {leg.size: leg.seconds * 100 / leg.steps for leg in past}
        ratio = known[past[-1].size] / costs[past[-1].size] if past else 1.0
        expected = {size: known.get(size, ratio * cost) for size, cost in costs.items()}
        leg = next_epoch_in_time(SIZES, 100, seconds - spent, expected, past)
        if leg is None:
            return spent, past
        took = costs[leg.size] * wrong * leg.steps / 100 * draw.uniform(1 - noise, 1 + noise)
        spent += took
        past.append(replace(leg, seconds=took))


@settings(max_examples=200, deadline=None)
@given(
    epochs=st.floats(8, 200),
    wrong=st.floats(0.7, 1.4),
    seed=st.integers(0, 10**6),
)
def test_a_time_is_kept_within_five_percent_though_epochs_take_other_than_measured(epochs, wrong, seed):
    seconds = 20.0 * epochs
    spent, legs = simulate(seconds, 20.0, 0.05, wrong, Random(seed))
    assert abs(spent / seconds - 1) <= 0.05
    sides = [leg.size for leg in legs]
    assert sides == sorted(sides)
    assert legs[0].start == 0
    assert legs[-1].end == 1
    assert all(first.end == second.start for first, second in zip(legs, legs[1:], strict=False))
    assert all(leg.end > leg.start or leg is legs[-1] for leg in legs)


def test_the_shares_of_the_sizes_are_kept_where_there_is_time():
    _, legs = simulate(6000, 20, 0, 1, Random(0))
    count = {size: sum(leg.size == size for leg in legs) for size in SIZES}
    for size, share in SIZES.items():
        assert count[size] / len(legs) == pytest.approx(share, abs=0.03)


def test_a_time_too_short_for_one_epoch_is_answered():
    with pytest.raises(RecipeError, match="time: 5 s are left for training, and an epoch takes 20 s"):
        next_epoch_in_time(SIZES, 100, 5, {64: 20, 96: 37, 128: 57}, [])


def test_a_time_may_have_smaller_pictures_unless_they_are_all_of_one_size():
    assert [list(sizes) for sizes in possible_image_sizes(Recipe(size=128, time="2m"))] == [
        [64, 96, 128],
        [48, 72, 96],
        [32, 48, 64],
    ]
    assert [list(sizes) for sizes in possible_image_sizes(Recipe(size=40, time="2m"))] == [[32, 40], [32]]
    assert possible_image_sizes(Recipe(size=128, time="2m", progressive_resizing=False)) == [{128: 1.0}]
    assert possible_image_sizes(Recipe(size=128)) == [SIZES]


@given(
    size=st.integers(8, 300),
    minutes=st.integers(1, 600),
    more=st.integers(0, 600),
    fixed=st.floats(0, 10),
    pixel=st.floats(1e-6, 1e-2),
    reserve=st.floats(0, 60),
)
def test_pictures_are_as_large_as_leaves_more_than_a_few_epochs(size, minutes, more, fixed, pixel, reserve):
    recipe = Recipe(size=size, time=f"{minutes}m")
    clocks = [
        TimeBudget(
            time.monotonic() + 1e6,  # as if no second were over while this runs
            {side: fixed + pixel * side**2 for side in sizes},
            1e6 + reserve * max(sizes) / size,
        )
        for sizes in possible_image_sizes(recipe)
    ]

    def enough(clock):
        left = 60 * minutes - reserve * max(clock.costs) / size
        shares = image_sizes(recipe, max(clock.costs))
        return left > MIN_EPOCHS_IN_TIME * sum(share * clock.costs[side] for side, share in shares.items()) + 1

    chosen = choose_time_budget(recipe, clocks)
    assert chosen in clocks
    assert not any(enough(clock) for clock in clocks[: clocks.index(chosen)])
    longer = choose_time_budget(Recipe(size=size, time=f"{minutes + more}m"), clocks)
    assert clocks.index(longer) <= clocks.index(chosen)


def test_a_run_whose_clock_has_smaller_pictures_goes_on_with_them():
    recipe, began = Recipe(size=128, time="2m"), time.monotonic()
    clock = TimeBudget(began, {48: 15.0, 72: 20.0, 96: 30.0}, 15.0)
    assert image_sizes(recipe, clock) == {48: 0.4, 72: 0.4, 96: 0.2}
    past = [EpochPlan(48, 100, 0.0, 0.3, 5, 15.0)]
    first, second = next_epoch_plan(recipe, clock, [], 100), next_epoch_plan(recipe, clock, past, 100)
    assert first is not None
    assert second is not None
    assert first.size == 48
    assert second.size in (48, 72)


@given(small=st.floats(1e-3, 10), more=st.floats(-1, 10), size=st.integers(32, 256))
def test_a_step_of_any_size_is_told_by_those_of_two(small, more, size):
    measured = {64: small, 128: max(1e-3, small + more)}
    told = interpolate_step_seconds(measured, size)
    assert told > 0
    if more > 0:
        assert {side: interpolate_step_seconds(measured, side) for side in measured} == pytest.approx(measured)
        assert interpolate_step_seconds(measured, size + 1) >= told
    assert interpolate_step_seconds({64: small}, size) == small


@given(
    counts=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    seconds=st.floats(1, 1e4),
)
def test_what_is_left_counts_the_epochs_of_each_size_that_are_done(counts, seconds):
    past = [
        EpochPlan(size, 10, 0, 0, 1, 2.0) for size, n in zip(SIZES, counts, strict=True) for _ in range(n)
    ]
    left = epochs_left(SIZES, seconds, dict.fromkeys(SIZES, 1.0), past)
    assert sum(left.values()) == pytest.approx(seconds, rel=1e-6)
    total = min((left[s] + c) / SIZES[s] for s, c in zip(SIZES, counts, strict=True) if left[s] > 0)
    for size, count in zip(SIZES, counts, strict=True):
        assert left[size] == pytest.approx(max(0, SIZES[size] * total - count), abs=1e-6 * (1 + total))


def test_a_plan_of_a_hundred_thousand_epochs_is_made_at_once():
    recipe = Recipe(time="24h", size=128)
    budget = TimeBudget(time.monotonic(), dict.fromkeys(SIZES, 0.5), 10)
    state = SimpleNamespace(recipe=recipe, time_budget=budget)
    started = time.process_time()
    plan = planned_epochs(SimpleNamespace(state=state, train=range(3)), {})
    assert time.process_time() - started < 1
    assert sum(epochs for _, epochs in plan) == pytest.approx(2 * (86400 - 10), abs=10)
    assert [size for size, _ in plan] == list(SIZES)
