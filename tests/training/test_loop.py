"""training_loop: means over images, reproducible steps, and errors."""

import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from reslab import Epoch, Photos, Recipe, Step, cifar_resnet20, fit, prepare, training_loop
from reslab.errors import NetworkError, RecipeError, TrainingError
from reslab.photos.loading.batches import Batch
from reslab.randomness import torch_seeded
from reslab.training.runs import checkpoint
from reslab.training.setup import TrainingSetup
from reslab.training.state import CHECK_EVERY

SMALL = Recipe(epochs=2, size=16, resize=18, batch_size=8, precision="fp32", label_smoothing=0, seed=3)


def small(folder: Path, recipe: Recipe = SMALL, network: torch.nn.Module | None = None) -> TrainingSetup:
    torch.manual_seed(0)
    network = network or cifar_resnet20(num_classes=2)
    return prepare(network, Photos(folder), recipe, progress=False)


def test_the_loop_yields_a_step_per_update_then_an_epoch(photo_folder: Callable[..., Path]) -> None:
    setup = small(photo_folder(train=30))
    kinds = []
    for event in training_loop(setup.state, setup.train, setup.validate(False)):
        kinds.append(type(event).__name__)
        if isinstance(event, Epoch):
            break
    steps = len(setup.train)
    assert kinds == ["Step"] * steps + ["Epoch"]


def test_train_loss_is_the_mean_over_images(photo_folder: Callable[..., Path]) -> None:
    """The last batch is smaller, so that a mean over batches would differ."""
    setup = small(photo_folder(train=23), SMALL.with_settings(batch_size=8, learning_rate=1e-12))
    assert [len(batch.labels) for batch in setup.train.epoch()] not in ([8, 8], [8, 8, 8])
    total = images = 0.0
    oracle = copy.deepcopy(setup.state.network).train()
    for batch in setup.train.epoch(0):
        total += cross_entropy(oracle(batch.images), batch.labels, reduction="sum").item()
        images += len(batch.labels)
    epochs = [
        e for e in training_loop(setup.state, setup.train, setup.validate(False)) if isinstance(e, Epoch)
    ]
    assert epochs[0].train_loss == pytest.approx(total / images, rel=1e-5)
    assert len(epochs) == 2
    assert abs(epochs[1].train_loss - epochs[0].train_loss) < 0.2  # reset: it neither halves nor doubles


def test_validation_uses_every_photo_in_eval_mode_without_gradients(
    photo_folder: Callable[..., Path],
) -> None:
    setup = small(photo_folder(train=60))
    network = setup.state.network.train()
    modes: list[tuple[bool, bool, int]] = []
    network.register_forward_hook(
        lambda module, args, out: modes.append((module.training, torch.is_grad_enabled(), len(out)))
    )
    statistics = network.bn1.running_mean.clone()
    loss, accuracy = setup.validate(False)(network, setup.preprocess.size)
    assert {(training, grad) for training, grad, _ in modes} == {(False, False)}
    assert sum(count for *_, count in modes) == len(setup.val.photos)
    assert network.training
    assert torch.equal(network.bn1.running_mean, statistics)
    with torch.no_grad():
        network.eval()
        batches = list(setup.val.epoch())
        logits = torch.cat([network(batch.images) for batch in batches])
        labels = torch.cat([batch.labels for batch in batches])
    assert loss == pytest.approx(cross_entropy(logits, labels).item(), rel=1e-5)
    assert accuracy == pytest.approx((logits.argmax(1) == labels).float().mean().item())


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_a_step_with_sgd_equals_the_same_step_in_plain_torch(
    smoothing: float, photo_folder: Callable[..., Path]
) -> None:
    """Compare one step of the loop with the same step written in torch."""
    recipe = SMALL.with_settings(
        optimizer="sgd", momentum=0, weight_decay=0, schedule="constant", learning_rate=0.1,
        label_smoothing=smoothing,
    )  # fmt: skip
    setup = small(photo_folder(train=30), recipe)
    oracle = copy.deepcopy(setup.state.network).train()
    batch = next(setup.train.epoch(0))
    logits = oracle(batch.images.contiguous())
    cross_entropy(logits, batch.labels, label_smoothing=smoothing).backward()
    expected = [p.detach() - 0.1 * p.grad for p in oracle.parameters() if p.grad is not None]
    next(training_loop(setup.state, setup.train, setup.validate(False)))
    for ours, theirs in zip(setup.state.network.parameters(), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("settings", [{"mixup": 0.4}, {"cutmix": 1.0}], ids=["mixup", "cutmix"])
def test_a_step_with_mixed_images_has_the_loss_of_both_labels(
    settings: dict[str, float], photo_folder: Callable[..., Path]
) -> None:
    recipe = SMALL.with_settings(**settings, label_smoothing=0.1)
    setup = small(photo_folder(train=30), recipe)
    network = copy.deepcopy(setup.state.network).train()
    batch = next(setup.train.epoch(0))
    with torch_seeded(recipe.seed, "step", 0, 0):
        assert setup.state.mixing is not None
        images, shares = setup.state.mixing(batch.images, batch.labels)
        logits = network(images)
    other_labels = batch.labels.roll(1)
    own = cross_entropy(logits, batch.labels, label_smoothing=0.1, reduction="none")
    other = cross_entropy(logits, other_labels, label_smoothing=0.1, reduction="none")
    share = shares.gather(1, batch.labels[:, None])[:, 0]
    mixed = torch.where(batch.labels == other_labels, own, share * own + (1 - share) * other)
    assert not torch.equal(images, batch.images)
    step = next(training_loop(setup.state, setup.train, setup.validate(False)))
    assert step.train_loss == pytest.approx(mixed.mean().item(), rel=1e-5)


def test_balanced_class_weights_are_those_of_scikit_learn(photo_folder: Callable[..., Path]) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    folder = photo_folder(train=30)
    for path in sorted((folder / "train/blue").iterdir())[:9]:
        path.unlink()
    recipe = SMALL.with_settings(class_weights="balanced", val_fraction=0.2)
    setup = small(folder, recipe)
    labels = setup.train.photos.labels
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert expected[0] > 1.5 > 1 > expected[1]
    assert setup.state.class_weights is not None
    assert setup.state.class_weights.tolist() == pytest.approx(expected)
    network = copy.deepcopy(setup.state.network).train()
    batch = next(setup.train.epoch(0))
    wanted = cross_entropy(network(batch.images), batch.labels, torch.tensor(expected, dtype=torch.float32))
    step = next(training_loop(setup.state, setup.train, setup.validate(False)))
    assert step.train_loss == pytest.approx(wanted.item(), rel=1e-5)


def test_gradients_are_clipped_to_the_norm(photo_folder: Callable[..., Path]) -> None:
    recipe = SMALL.with_settings(
        optimizer="sgd", momentum=0, weight_decay=0, schedule="constant", learning_rate=1.0, clip_grad=1e-3
    )
    setup = small(photo_folder(train=30), recipe)
    before = [p.detach().clone() for p in setup.state.network.parameters()]
    next(training_loop(setup.state, setup.train, setup.validate(False)))
    moved = [(p - old).norm() for p, old in zip(setup.state.network.parameters(), before, strict=True)]
    assert torch.stack(moved).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_training_does_not_change_the_global_random_state(photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=30)
    setup = small(folder)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    for _ in training_loop(setup.state, setup.train, setup.validate(False)):
        pass
    assert torch.equal(torch.rand(3), expected)


def test_random_numbers_of_the_caller_do_not_change_the_training(photo_folder: Callable[..., Path]) -> None:
    folder, weights = photo_folder(train=30), []
    for disturb in (False, True):
        network = torch.nn.Sequential(
            cifar_resnet20(num_classes=8), torch.nn.Dropout(), torch.nn.Linear(8, 2)
        )
        with torch.no_grad():
            for i, parameter in enumerate(network.parameters()):
                parameter.copy_(torch.sin(torch.arange(parameter.numel()) + i).view_as(parameter) / 10)
        setup = small(folder, network=network)
        for _ in training_loop(setup.state, setup.train, setup.validate(False)):
            if disturb:
                torch.rand(5)
        weights.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    assert torch.equal(*weights)


def test_a_loss_that_is_not_finite_raises_an_error(photo_folder: Callable[..., Path]) -> None:
    setup = small(photo_folder(train=30), SMALL.with_settings(learning_rate=1e30))
    with pytest.raises(TrainingError) as caught:
        list(training_loop(setup.state, setup.train, setup.validate(False)))
    for word in ("epoch 1", "step", "learning rate", "--learning-rate 1e+29"):
        assert word in str(caught.value)


@pytest.mark.slow
def test_training_reaches_full_accuracy_on_easy_photos(photo_folder: Callable[..., Path]) -> None:
    torch.manual_seed(0)
    network = cifar_resnet20(num_classes=2)
    recipe = SMALL.with_settings(epochs=4, learning_rate=0.1, weight_averaging=0.9)
    epochs = list(fit(network, photo_folder(train=60), recipe, progress=False))
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    assert epochs[-1].val_accuracy == 1.0
    assert str(epochs[0]).startswith("Epoch 1/4  train_loss ")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_weights(
    photo_folder: Callable[..., Path], workers: int
) -> None:
    folder, found = photo_folder(train=30), []
    for count in (0, workers):
        setup = small(folder, SMALL.with_settings(workers=count))
        losses = [e.train_loss for e in training_loop(setup.state, setup.train, setup.validate(False))]
        found.append((losses, setup.state.network.state_dict()))
    assert found[0][0] == found[1][0]
    assert all(torch.equal(a, b) for a, b in zip(found[0][1].values(), found[1][1].values(), strict=True))


def test_steps_are_numbered_from_one(photo_folder: Callable[..., Path]) -> None:
    setup = small(photo_folder(train=30))
    steps = [e for e in training_loop(setup.state, setup.train, setup.validate(False)) if isinstance(e, Step)]
    assert [s.step for s in steps if s.epoch == 1] == list(range(1, steps[0].steps + 1))
    assert all(s.images_per_second > 0 for s in steps)


def test_a_network_with_1000_outputs_for_two_classes_is_refused(photo_folder: Callable[..., Path]) -> None:
    with pytest.raises(NetworkError, match="1000 outputs, but the photos have 2 classes"):
        list(fit(cifar_resnet20(num_classes=1000), photo_folder(train=10), SMALL, progress=False))


def test_a_network_with_four_input_channels_is_refused(photo_folder: Callable[..., Path]) -> None:
    with pytest.raises(NetworkError, match="the network takes 4 channels"):
        list(fit(cifar_resnet20(num_classes=2, in_channels=4), photo_folder(train=10), SMALL, progress=False))


def test_a_batch_unpacks_into_images_and_labels() -> None:
    images, labels = Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64))
    assert images.shape == (1, 3, 8, 8)
    assert labels.tolist() == [0]


def test_a_recipe_with_a_time_needs_a_time_budget(photo_folder: Callable[..., Path]) -> None:
    setup = small(photo_folder(train=30), SMALL.with_settings(time="2m"))
    with pytest.raises(RecipeError, match="time=2m needs a time budget"):
        next(training_loop(setup.state, setup.train, setup.validate(False)))


@pytest.mark.slow
def test_time_of_the_caller_after_an_epoch_counts_as_its_cost(
    photo_folder: Callable[..., Path],
) -> None:
    setup = small(photo_folder(train=30))
    events = training_loop(setup.state, setup.train, setup.validate(False))
    seconds = []
    for event in events:
        if isinstance(event, Epoch):
            seconds.append(event.seconds)
            time.sleep(0.3)
    assert all(plan.seconds > 0.3 + s for plan, s in zip(setup.state.past_epochs, seconds, strict=True))


def test_out_of_memory_in_validation_raises_a_training_error(photo_folder: Callable[..., Path]) -> None:
    setup = small(photo_folder(train=30))

    def validate(network: torch.nn.Module, size: int) -> tuple[float, float]:
        raise MemoryError

    with pytest.raises(TrainingError, match="not enough memory for batches of 8") as caught:
        list(training_loop(setup.state, setup.train, validate))
    assert "--batch-size 4" in caught.value.do


def test_each_step_keeps_its_own_mean_loss(photo_folder: Callable[..., Path]) -> None:
    setup = small(photo_folder(train=30), SMALL.with_settings(epochs=1))
    losses, steps = [], []
    for event in training_loop(setup.state, setup.train, setup.validate(False)):
        if isinstance(event, Step):
            losses.append(event.train_loss)
            steps.append(event)
    assert [step.train_loss for step in steps] == losses
    assert len(set(losses)) == len(losses)


def test_where_reading_the_loss_waits_it_is_checked_every_50_steps_and_before_a_checkpoint(
    photo_folder: Callable[..., Path],
) -> None:
    setup = small(photo_folder(train=30), SMALL.with_settings(learning_rate=1e30, optimizer="sgd"))
    state = setup.state
    state.device = torch.device("meta")  # stands for a GPU in `count`
    losses = torch.full((), torch.nan)
    for _ in range(CHECK_EVERY - 1):
        state.count(losses, 8)
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1, step 49"):
        checkpoint.save(state, [], Path("never written"))
    with pytest.raises(TrainingError, match="the loss became nan in epoch 1, step 50"):
        state.count(losses, 8)
