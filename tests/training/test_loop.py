"""The loop: honest means, whole states, the consumer's for."""

import copy
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from reslab import Epoch, Photos, Recipe, Step, cifar_resnet20, fit, prepare, training_loop
from reslab.errors import NetworkError, RecipeError, TrainingError
from reslab.photos.loading.batches import Batch
from reslab.training.setup import TrainingSetup

SMALL = Recipe(epochs=2, size=16, resize=18, batch_size=8, precision="fp32", label_smoothing=0, seed=3)


def small(folder: Path, recipe: Recipe = SMALL, network: torch.nn.Module | None = None) -> TrainingSetup:
    torch.manual_seed(0)
    network = network or cifar_resnet20(num_classes=2)
    return prepare(network, Photos(folder), recipe, progress=False)


def test_a_consumer_in_five_lines(photo_folder: Callable[..., Path]) -> None:
    prepared = small(photo_folder(train=30))
    seen = []
    for event in training_loop(prepared.state, prepared.train, prepared.validate(False)):
        seen.append(type(event).__name__)
        if isinstance(event, Epoch):
            break
    steps = len(prepared.train)
    assert seen == ["Step"] * steps + ["Epoch"]


def test_train_loss_is_the_mean_over_images_not_over_batches(photo_folder: Callable[..., Path]) -> None:
    """The tutorial divides by a counter it never resets; an uneven last batch shows the other mistake."""
    prepared = small(photo_folder(train=23), SMALL.with_settings(batch_size=8, learning_rate=1e-12))
    assert [len(batch.labels) for batch in prepared.train.epoch()] not in ([8, 8], [8, 8, 8])
    total = images = 0.0
    oracle = copy.deepcopy(prepared.state.network).train()
    for batch in prepared.train.epoch(0):
        total += cross_entropy(oracle(batch.images), batch.labels, reduction="sum").item()
        images += len(batch.labels)
    epochs = [
        e
        for e in training_loop(prepared.state, prepared.train, prepared.validate(False))
        if isinstance(e, Epoch)
    ]
    assert epochs[0].train_loss == pytest.approx(total / images, rel=1e-5)
    assert len(epochs) == 2
    assert abs(epochs[1].train_loss - epochs[0].train_loss) < 0.2  # reset: it neither halves nor doubles


def test_validation_runs_in_eval_mode_without_gradients_over_every_photo(
    photo_folder: Callable[..., Path],
) -> None:
    prepared = small(photo_folder(train=60))
    network = prepared.state.network.train()
    modes: list[tuple[bool, bool, int]] = []
    network.register_forward_hook(
        lambda module, args, out: modes.append((module.training, torch.is_grad_enabled(), len(out)))
    )
    statistics = network.bn1.running_mean.clone()
    loss, accuracy = prepared.validate(False)(network, prepared.preprocess.size)
    assert {(training, grad) for training, grad, _ in modes} == {(False, False)}
    assert sum(count for *_, count in modes) == len(prepared.val.photos)
    assert network.training
    assert torch.equal(network.bn1.running_mean, statistics)
    with torch.no_grad():
        network.eval()
        batches = list(prepared.val.epoch())
        logits = torch.cat([network(batch.images) for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
    assert loss == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_the_update_is_plain_sgd(smoothing: float, photo_folder: Callable[..., Path]) -> None:
    """One step of the loop against the same step written out with torch."""
    recipe = SMALL.with_settings(
        optimizer="sgd", momentum=0, weight_decay=0, schedule="constant", learning_rate=0.1,
        label_smoothing=smoothing,
    )  # fmt: skip
    prepared = small(photo_folder(train=30), recipe)
    oracle = copy.deepcopy(prepared.state.network).train()
    batch = next(prepared.train.epoch(0))
    logits = oracle(batch.images.contiguous())
    cross_entropy(logits, batch.labels, label_smoothing=smoothing).backward()
    expected = [p.detach() - 0.1 * p.grad for p in oracle.parameters() if p.grad is not None]
    next(training_loop(prepared.state, prepared.train, prepared.validate(False)))
    for ours, theirs in zip(prepared.state.network.parameters(), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_global_random_state_is_left_alone(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=30)
    prepared = small(folder)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for _ in training_loop(prepared.state, prepared.train, prepared.validate(False)):
        pass
    assert torch.equal(torch.rand(3), expected)


def test_what_the_consumer_draws_does_not_change_the_training(photo_folder: Callable[..., Path]) -> None:
    folder, weights = photo_folder(train=30), []
    for disturb in (False, True):
        network = torch.nn.Sequential(
            cifar_resnet20(num_classes=8), torch.nn.Dropout(), torch.nn.Linear(8, 2)
        )
        with torch.no_grad():
            for i, parameter in enumerate(network.parameters()):
                parameter.copy_(torch.sin(torch.arange(parameter.numel()) + i).view_as(parameter) / 10)
        prepared = small(folder, network=network)
        for _ in training_loop(prepared.state, prepared.train, prepared.validate(False)):
            if disturb:
                torch.rand(5)
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(*weights)


def test_a_loss_that_is_not_finite_stops_with_an_answer(photo_folder: Callable[..., Path]) -> None:
    prepared = small(photo_folder(train=30), SMALL.with_settings(learning_rate=1e30))
    with pytest.raises(TrainingError) as caught:
        list(training_loop(prepared.state, prepared.train, prepared.validate(False)))
    for word in ("epoch 1", "step", "learning rate", "--learning-rate 1e+29"):
        assert word in str(caught.value)


def test_it_learns(photo_folder: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    network = cifar_resnet20(num_classes=2)
    recipe = SMALL.with_settings(epochs=4, learning_rate=0.1, weight_averaging=0.9)
    epochs = list(fit(network, photo_folder(train=60), recipe, progress=False))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1].val_accuracy == 1.0
    assert str(epochs[0]).startswith("Epoch 1/4  train_loss ")


@pytest.mark.parametrize("workers", [1, 3])
def test_the_same_bits_for_any_number_of_workers(photo_folder: Callable[..., Path], workers: int) -> None:
    folder, found = photo_folder(train=30), []
    for count in (0, workers):
        prepared = small(folder, SMALL.with_settings(workers=count))
        losses = [
            e.train_loss for e in training_loop(prepared.state, prepared.train, prepared.validate(False))
        ]
        found.append((losses, prepared.state.network.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1].values(), found[1][1].values(), strict=True))


def test_a_step_reports_the_running_mean(photo_folder: Callable[..., Path]) -> None:
    prepared = small(photo_folder(train=30))
    steps = [
        e
        for e in training_loop(prepared.state, prepared.train, prepared.validate(False))
        if isinstance(e, Step)
    ]
    assert [s.step for s in steps if s.epoch == 1] == list(range(1, steps[0].steps + 1))
    assert all(s.images_per_second > 0 for s in steps)


def test_a_head_of_1000_for_two_classes_is_refused(photo_folder: Callable[..., Path]) -> None:
    with pytest.raises(NetworkError, match="1000 outputs, and the photos have 2 classes"):
        list(fit(cifar_resnet20(num_classes=1000), photo_folder(train=10), SMALL, progress=False))


def test_a_network_for_four_channels_is_refused(photo_folder: Callable[..., Path]) -> None:
    with pytest.raises(RecipeError, match="1 or 3 channels"):
        list(fit(cifar_resnet20(num_classes=2, in_channels=4), photo_folder(train=10), SMALL, progress=False))


def test_a_batch_is_a_pair() -> None:
    images, labels = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64))
    assert images.shape == (1, 3, 8, 8)
    assert labels.tolist() == [0]


def test_a_time_without_a_clock_is_refused_and_not_ignored(photo_folder: Callable[..., Path]) -> None:
    prepared = small(photo_folder(train=30), SMALL.with_settings(time="2m"))
    with pytest.raises(RecipeError, match="time: nothing here tells when 2m are over"):
        next(training_loop(prepared.state, prepared.train, prepared.validate(False)))


def test_what_a_consumer_does_with_an_epoch_counts_among_its_seconds(
    photo_folder: Callable[..., Path],
) -> None:
    prepared = small(photo_folder(train=30))
    stream = training_loop(prepared.state, prepared.train, prepared.validate(False))
    seen = []
    for event in stream:
        if isinstance(event, Epoch):
            seen.append(event.seconds)
            time.sleep(0.3)
    assert all(leg.seconds > 0.3 + s for leg, s in zip(prepared.state.past_epochs, seen, strict=True))


def test_memory_that_ends_in_validation_is_answered_as_in_training(photo_folder: Callable[..., Path]) -> None:
    prepared = small(photo_folder(train=30))

    def validate(network: torch.nn.Module, size: int) -> tuple[float, float]:
        raise MemoryError

    with pytest.raises(TrainingError, match="not enough memory for batches of 8") as caught:
        list(training_loop(prepared.state, prepared.train, validate))
    assert "--batch-size 4" in caught.value.do
