"""fit(): trains any network in place, skips unreadable photos, and writes nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.datasets import ImageFolder

from reslab import Epoch, Photos, Recipe, cifar_resnet20, fit, prepare, train
from reslab.errors import NetworkError, RecipeError


class Own(nn.Module):
    """A network that is not one of reslab's."""

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(in_channels, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_fit_trains_a_custom_network_in_place_and_writes_nothing(
    channels: int, small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = photo_folder(train=30)
    files = sorted(tmp_path.rglob("*"))
    network = Own(channels)
    before = network.head.weight.clone()
    epochs = list(fit(network, folder, small, progress=False))
    assert [type(epoch) for epoch in epochs] == [Epoch, Epoch]
    assert not torch.equal(network.head.weight, before)
    assert sorted(tmp_path.rglob("*")) == files


def test_fit_accepts_a_folder_photos_and_an_image_folder(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, recipe = photo_folder(train=20), small.with_settings(epochs=1)
    (tmp_path / "mine.toml").write_text("")
    recipe.save(tmp_path / "mine.toml")
    losses = []
    for source, chosen in (
        (folder, recipe),
        (str(folder), tmp_path / "mine.toml"),
        (Photos(folder, val_fraction=recipe.val_fraction, seed=recipe.seed), str(tmp_path / "mine.toml")),
    ):
        torch.manual_seed(0)
        losses += [
            epoch.train_loss for epoch in fit(cifar_resnet20(num_classes=2), source, chosen, progress=False)
        ]
    assert losses[0] == losses[1] == losses[2]
    source = ImageFolder(os.fspath(folder / "train"))
    assert len(list(fit(cifar_resnet20(num_classes=2), source, recipe, progress=False))) == 1


def test_the_caller_can_stop_at_any_time(small: Recipe, photo_folder: Callable[..., Path]) -> None:
    stream = fit(Own(), photo_folder(train=20), small.with_settings(epochs=500), progress=False)
    assert next(stream).epochs == 500
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("network", "settings", "error", "words"),
    [
        (Own(), {"freeze": ("features", "head")}, RecipeError, "nothing is left to train"),
        (Own(), {"freeze": ("heads",)}, RecipeError, "did you mean 'head'"),
        (nn.Conv2d(3, 2, 3), {}, NetworkError, "does not return logits"),
        (Own(3), {"size": 8, "resize": 8, "device": "cuda:77"}, RecipeError, "'cuda:77' is not available"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), {}, NetworkError, "does not accept images of shape"),
    ],
    ids=["all frozen", "no part", "no logits", "no device", "no fit"],
)
def test_arguments_that_do_not_fit_together_raise_an_error(
    network: nn.Module,
    settings: dict[str, object],
    error: type[Exception],
    words: str,
    small: Recipe,
    photo_folder: Callable[..., Path],
) -> None:
    with pytest.raises(error, match=words):
        next(fit(network, photo_folder(train=10), small.with_settings(**settings), progress=False))


def test_unreadable_photos_are_skipped_with_a_warning(
    small: Recipe, photo_folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder, losses = photo_folder(train=20, val=6), []
    for bad in (None, folder / "train/red/bad.jpg"):
        if bad is not None:
            bad.write_bytes(b"no photo")
        torch.manual_seed(0)
        network = cifar_resnet20(num_classes=2)
        losses.append([epoch.train_loss for epoch in fit(network, folder, small, progress=False)])
        assert len(caplog.messages) == (bad is not None)
    assert losses[0] == losses[1]
    assert "1 of 27 photos that cannot be read: 1 of train\n  train/red/bad.jpg: its format" in caplog.text
    training = prepare(cifar_resnet20(num_classes=2), Photos(folder), small, progress=False)
    assert len(training.train.photos) == 20


@pytest.mark.parametrize("stop_after", [1, 2])
def test_the_network_gets_the_averaged_weights_that_were_validated(
    small: Recipe, photo_folder: Callable[..., Path], stop_after: int
) -> None:
    photos = Photos(photo_folder(train=30), val_fraction=0.3)
    network = cifar_resnet20(num_classes=2)
    recipe = small.with_settings(weight_averaging=0.9)
    for epoch in fit(network, photos, recipe, progress=False):
        if epoch.epoch == stop_after:
            break
    setup = prepare(network, photos, recipe, progress=False)
    loss, accuracy = setup.validate(False)(network, recipe.size)
    assert (loss, accuracy) == (pytest.approx(epoch.val_loss, rel=1e-5), epoch.val_accuracy)


def test_frozen_parameters_are_unfrozen_after_training(
    small: Recipe, photo_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, network = photo_folder(train=30, test=4), Own()
    network.head.bias.requires_grad_(False)  # frozen by the caller, so it stays frozen
    recipe = small.with_settings(freeze=("features",), epochs=1)
    list(fit(network, folder, recipe, progress=False))
    train(folder, network, recipe, run=tmp_path / "run", progress=False, say=str)
    held = [name for name, parameter in network.named_parameters() if not parameter.requires_grad]
    assert held == ["head.bias"]


class Wide(nn.Module):
    """A network whose head is a convolution and whose linear layer is not the head."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.head, self.gate = nn.Conv2d(3, outputs, 1), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x * self.gate(x.mean((2, 3)))[..., None, None]).mean((2, 3))


class Two(Own):
    """A network that returns a tuple in train mode, as networks with an auxiliary head do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits  # type: ignore[return-value]


def test_the_number_of_outputs_is_checked(small: Recipe, photo_folder: Callable[..., Path]) -> None:
    folder = photo_folder(train=20)
    assert len(list(fit(Wide(2), folder, small, progress=False))) == 2
    with pytest.raises(NetworkError, match="Wide has 3 outputs, but the photos have 2 classes"):
        next(fit(Wide(3), folder, small, progress=False))
    with pytest.raises(NetworkError, match="Two does not return logits"):
        next(fit(Two(), folder, small, progress=False))
