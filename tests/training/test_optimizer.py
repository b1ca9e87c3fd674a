"""Parameter groups, learning-rate schedules, freezing and averaging, compared with torch's own."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reslab import Recipe, cifar_resnet20, resnet18
from reslab.errors import RecipeError
from reslab.networks.precision import FP32
from reslab.training.optimizer import (
    freeze,
    learning_rate_at,
    make_average,
    make_optimizer,
    set_learning_rate,
    train_mode,
)


def rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    total = recipe.epochs * steps_per_epoch
    return learning_rate_at(recipe, step / total, 1 / total)


def test_biases_and_batch_norm_have_no_weight_decay() -> None:
    network = cifar_resnet20()
    convolutions, head, vectors = make_optimizer(network, Recipe(weight_decay=0.1), FP32).param_groups
    norms = {id(p) for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters()}
    assert {id(p) for p in vectors["params"]} == norms | {id(network.fc.bias)}
    assert (convolutions["weight_decay"], head["weight_decay"], vectors["weight_decay"]) == (0.1, 0.1, 0.0)
    assert {id(p) for p in head["params"]} == {id(network.fc.weight)}
    parameters = [*convolutions["params"], *head["params"], *vectors["params"]]
    assert len(parameters) == len(list(network.parameters()))


def test_muon_gives_the_head_and_batch_norms_a_small_learning_rate() -> None:
    network = cifar_resnet20()
    for name, rates in (("muon", (0.06, 0.001, 0.001)), ("adamw", (0.06, 0.06, 0.06))):
        optimizer = make_optimizer(network, Recipe(optimizer=name), FP32)
        set_learning_rate(optimizer, 0.06)
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(rates)


def test_cosine_equals_torchs_schedule() -> None:
    recipe, steps = Recipe(schedule="cosine", epochs=4, learning_rate=0.3), 10
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    for step in range(40):
        assert rate(recipe, step, steps) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_steps_equal_torchs_multi_step_schedule() -> None:
    recipe = Recipe(schedule="steps", milestones=(0.5, 0.75), epochs=4, learning_rate=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [20, 30], gamma=0.1)
    for step in range(40):
        assert rate(recipe, step, 10) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


@given(st.sampled_from(["constant", "cosine", "one_cycle"]), st.integers(1, 50), st.integers(1, 200))
def test_learning_rates_are_positive_and_at_most_the_recipes(schedule: str, epochs: int, steps: int) -> None:
    recipe = Recipe(schedule=schedule, epochs=epochs, learning_rate=0.5)
    rates = [rate(recipe, step, steps) for step in range(0, epochs * steps, 7)]
    assert all(0 <= r <= 0.5 for r in rates)
    assert schedule != "constant" or set(rates) == {0.5}


def test_one_cycle_rises_and_falls_once_and_ends_near_zero() -> None:
    recipe = Recipe(schedule="one_cycle", epochs=10, learning_rate=1.0)
    rates = [rate(recipe, step, 20) for step in range(200)]
    top = rates.index(max(rates))
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert max(rates) == pytest.approx(1.0, abs=0.02)
    assert rates[-1] <= 0.001 + 1e-9


def test_warmup_is_linear() -> None:
    recipe = Recipe(schedule="cosine", epochs=10, warmup_epochs=2, learning_rate=1.0)
    rates = [rate(recipe, step, 10) for step in range(21)]
    assert rates[:20] == pytest.approx([(i + 1) / 21 for i in range(20)])
    assert rates[20] == pytest.approx(1.0)


def test_frozen_parts_do_not_change_and_keep_their_statistics() -> None:
    network = resnet18(num_classes=2)
    freeze(network, ("conv1", "bn1", "layer1"))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = make_optimizer(network, Recipe(learning_rate=0.1), FP32)
    train_mode(network, ("conv1", "bn1", "layer1"))
    network(torch.rand(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    for name, tensor in network.state_dict().items():
        frozen = name.startswith(("conv1", "bn1", "layer1"))
        assert torch.equal(tensor, before[name]) == frozen, name


def test_freezing_an_unknown_part_or_everything_raises() -> None:
    with pytest.raises(RecipeError, match="'layer1'"):
        freeze(resnet18(num_classes=2), ("layre1",))
    with pytest.raises(RecipeError, match="nothing is left"):
        freeze(cifar_resnet20(), ("conv1", "bn1", "layer1", "layer2", "layer3", "fc"))


def test_the_average_is_exponential_after_a_quick_start() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    average = make_average(network, 0.5)
    assert average is not None
    values = []
    for value in (1.0, 2.0, 4.0, 8.0):
        network.weight.data.fill_(value)
        average.update_parameters(network)
        values.append(average.module.weight.item())
    expected = 1.0
    for count, value in enumerate((2.0, 4.0, 8.0), start=1):
        expected += (value - expected) * max(0.5, 9 / (10 + count))
    assert values[0] == 1.0
    assert values[-1] == pytest.approx(expected)
    assert make_average(network, 0) is None


def test_the_average_includes_batch_norm_statistics() -> None:
    network = cifar_resnet20()
    average = make_average(network, 0.9)
    assert average is not None
    for _ in range(3):
        network(torch.rand(4, 3, 16, 16))
        average.update_parameters(network)
    assert not torch.equal(average.module.bn1.running_mean, torch.zeros(16))
    assert math.isfinite(average.module(torch.rand(2, 3, 16, 16)).sum().item())
