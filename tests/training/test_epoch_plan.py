"""Plans of epochs, by number or by time."""

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
    image_sizes,
    next_epoch_in_time,
    next_epoch_plan,
    possible_image_sizes,
)
from reslab.training.time_budget import interpolate_step_seconds, planned_epochs

SIZES = {64: 0.4, 96: 0.4, 128: 0.2}


def plans_of(recipe: Recipe, steps: int) -> list[EpochPlan]:
    past: list[EpochPlan] = []
    while plan := next_epoch_plan(recipe, None, past, steps):
        past.append(plan)
    return past


@given(epochs=st.integers(1, 60), steps=st.integers(1, 300), growing=st.booleans(), size=st.integers(8, 300))
def test_fixed_epochs_cover_the_run_without_a_gap_and_end_at_full_size(epochs, steps, growing, size):
    plans = plans_of(Recipe(epochs=epochs, size=size, progressive_resizing=growing), steps)
    assert len(plans) == epochs
    assert (plans[0].start, plans[-1].end) == (0, 1)
    assert all(first.end == second.start for first, second in zip(plans, plans[1:], strict=False))
    assert all(plan.steps == steps for plan in plans)
    sides = [plan.size for plan in plans]
    assert sides == sorted(sides)
    assert sides[-1] == size
    assert growing or set(sides) == {size}


def test_images_grow_from_half_to_full_size_and_start_at_32_pixels_or_more():
    assert image_sizes(Recipe(size=128)) == SIZES
    assert image_sizes(Recipe(size=128, progressive_resizing=False)) == {128: 1.0}
    assert list(image_sizes(Recipe(size=48))) == [32, 40, 48] or list(image_sizes(Recipe(size=48))) == [
        32,
        48,
    ]
    assert image_sizes(Recipe(size=32)) == {32: 1.0}
    assert image_sizes(Recipe(size=20)) == {20: 1.0}


def simulate(
    seconds: float, first: float, noise: float, wrong: float, draw: Random
) -> tuple[float, list[EpochPlan]]:
    """Simulate a run whose epochs take `wrong` times their estimate, with relative `noise`."""
    costs = {size: first * (size / 64) ** 1.5 for size in SIZES}
    spent, past = 0.0, []
    while True:
        known = {plan.size: plan.seconds * 100 / plan.steps for plan in past}
        ratio = known[past[-1].size] / costs[past[-1].size] if past else 1.0
        expected = {size: known.get(size, ratio * cost) for size, cost in costs.items()}
        plan = next_epoch_in_time(SIZES, 100, seconds - spent, expected, past)
        if plan is None:
            return spent, past
        took = costs[plan.size] * wrong * plan.steps / 100 * draw.uniform(1 - noise, 1 + noise)
        spent += took
        past.append(replace(plan, seconds=took))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    epochs=st.floats(8, 200),
    wrong=st.floats(0.7, 1.4),
    seed=st.integers(0, 10**6),
)
def test_a_time_is_kept_within_five_percent_if_epochs_take_longer_or_shorter(epochs, wrong, seed):
    seconds = 20.0 * epochs
    spent, plans = simulate(seconds, 20.0, 0.05, wrong, Random(seed))
    assert abs(spent / seconds - 1) <= 0.05
    sides = [plan.size for plan in plans]
    assert sides == sorted(sides)
    assert plans[0].start == 0
    assert plans[-1].end == 1
    assert all(first.end == second.start for first, second in zip(plans, plans[1:], strict=False))
    assert all(plan.end > plan.start or plan is plans[-1] for plan in plans)


def test_each_size_gets_its_fraction_of_the_epochs():
    _, plans = simulate(6000, 20, 0, 1, Random(0))
    count = {size: sum(plan.size == size for plan in plans) for size in SIZES}
    for size, share in SIZES.items():
        assert count[size] / len(plans) == pytest.approx(share, abs=0.03)


def test_a_time_too_short_for_one_epoch_raises():
    with pytest.raises(RecipeError, match="time: 5 s are left for training, and an epoch takes 20 s"):
        next_epoch_in_time(SIZES, 100, 5, {64: 20, 96: 37, 128: 57}, [])


def test_a_time_may_get_smaller_images_with_progressive_resizing_only():
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
def test_the_largest_images_that_allow_enough_epochs_are_chosen(size, minutes, more, fixed, pixel, reserve):
    recipe = Recipe(size=size, time=f"{minutes}m")
    budgets = [
        TimeBudget(
            time.monotonic() + 1e6,  # so that none of it is spent
            {side: fixed + pixel * side**2 for side in sizes},
            1e6 + reserve * max(sizes) / size,
        )
        for sizes in possible_image_sizes(recipe)
    ]

    def enough(budget):
        left = 60 * minutes - reserve * max(budget.costs) / size
        shares = image_sizes(recipe, budget)
        return (
            left > MIN_EPOCHS_IN_TIME * sum(share * budget.costs[side] for side, share in shares.items()) + 1
        )

    chosen = choose_time_budget(recipe, budgets)
    assert chosen in budgets
    assert not any(enough(budget) for budget in budgets[: budgets.index(chosen)])
    longer = choose_time_budget(Recipe(size=size, time=f"{minutes + more}m"), budgets)
    assert budgets.index(longer) <= budgets.index(chosen)


def test_a_run_keeps_the_smaller_images_of_its_budget():
    recipe, began = Recipe(size=128, time="2m"), time.monotonic()
    budget = TimeBudget(began, {48: 15.0, 72: 20.0, 96: 30.0}, 15.0)
    assert image_sizes(recipe, budget) == {48: 0.4, 72: 0.4, 96: 0.2}
    past = [EpochPlan(48, 100, 0.0, 0.3, 5, 15.0)]
    first, second = next_epoch_plan(recipe, budget, [], 100), next_epoch_plan(recipe, budget, past, 100)
    assert first is not None
    assert second is not None
    assert first.size == 48
    assert second.size in (48, 72)


@given(small=st.floats(1e-3, 10), more=st.floats(-1, 10), size=st.integers(32, 256))
def test_step_seconds_are_interpolated_by_pixels(small, more, size):
    measured = {64: small, 128: max(1e-3, small + more)}
    seconds = interpolate_step_seconds(measured, size)
    assert seconds > 0
    if more > 0:
        assert {side: interpolate_step_seconds(measured, side) for side in measured} == pytest.approx(
            measured
        )
        assert interpolate_step_seconds(measured, size + 1) >= seconds
    assert interpolate_step_seconds({64: small}, size) == small


@given(
    counts=st.lists(st.integers(0, 40), min_size=3, max_size=3),
    seconds=st.floats(1, 1e4),
)
def test_epochs_left_are_reduced_by_past_epochs(counts, seconds):
    past = [
        EpochPlan(size, 10, 0, 0, 1, 2.0) for size, n in zip(SIZES, counts, strict=True) for _ in range(n)
    ]
    left = epochs_left(SIZES, seconds, dict.fromkeys(SIZES, 1.0), past)
    assert sum(left.values()) == pytest.approx(seconds, rel=1e-6)
    total = min((left[s] + c) / SIZES[s] for s, c in zip(SIZES, counts, strict=True) if left[s] > 0)
    for size, count in zip(SIZES, counts, strict=True):
        assert left[size] == pytest.approx(max(0, SIZES[size] * total - count), abs=1e-6 * (1 + total))


def test_a_hundred_thousand_epochs_are_planned_quickly():
    recipe = Recipe(time="24h", size=128)
    budget = TimeBudget(time.monotonic(), dict.fromkeys(SIZES, 0.5), 10)
    state = SimpleNamespace(recipe=recipe, time_budget=budget)
    started = time.process_time()
    plan = planned_epochs(SimpleNamespace(state=state, train=range(3)), {})
    assert time.process_time() - started < 1
    assert sum(epochs for _, epochs in plan) == pytest.approx(2 * (86400 - 10), abs=10)
    assert [size for size, _ in plan] == list(SIZES)
