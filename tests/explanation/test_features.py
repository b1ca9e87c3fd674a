"""Features: the input of the last layer, the same for every kind of network, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from materials import make_photo, network_of
from torch import Tensor, nn

from reslab import Classifier, ClassifierError, create_network
from reslab.explanation.features import photo_features, pooled_features
from reslab.photos.loading.preprocess import Preprocess

Refuses = Callable[..., AbstractContextManager[None]]


def test_features_of_a_resnet_are_its_output_without_the_last_layer() -> None:
    network = network_of("cifar_resnet20").eval()
    images = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = network[:-1](images)  # type: ignore[index]
    torch.testing.assert_close(pooled_features(network, images), expected)


@pytest.mark.slow  # imports timm
@pytest.mark.parametrize(
    ("name", "width"),
    [("torchvision:mobilenet_v3_small", 1024), ("torchvision:squeezenet1_1", 512), ("timm:test_vit", 64)],
)
def test_networks_of_libraries_have_features(name: str, width: int) -> None:
    """They end in a linear layer, in a convolution before the pooling, and in a linear layer after tokens."""
    pytest.importorskip("timm")
    network = create_network(name, num_classes=3)
    side = 160 if "vit" in name else 64
    features = pooled_features(network, torch.rand(2, 3, side, side))
    assert features.shape == (2, width)
    assert features.isfinite().all()


@pytest.mark.slow  # imports timm
def test_timm_agrees() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model("test_resnet", num_classes=3).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
    torch.testing.assert_close(pooled_features(network, images), expected)


def test_the_network_is_unchanged() -> None:
    network = network_of("cifar_resnet20").train()
    network[1].eval()  # type: ignore[index]
    modes = [module.training for module in network.modules()]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pooled_features(network, torch.rand(2, 3, 32, 32))
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_pre_hooks for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Bare(nn.Module):
    """A network without a layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) @ self.weight


class Patches(nn.Module):
    """A network whose last layer gets four rows per image."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Tensor:
        rows = images.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2)).permute(0, 2, 3, 1)
        return self.fc(rows.reshape(-1, 3)).reshape(len(images), -1, 2).mean(1)


@pytest.mark.parametrize("network", [Bare(), Patches()])
def test_a_network_without_features_is_refused(network: nn.Module, refuses: Refuses) -> None:
    with refuses(ClassifierError, type(network).__name__):
        pooled_features(network, torch.rand(2, 3, 8, 8))


def test_photos_have_a_row_each_and_unread_ones_nan(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.jpg" for i in range(5)]
    for i, path in enumerate(paths):
        make_photo(path, i, (200, 50 * i, 20))
    paths[2].write_bytes(b"not a photo")
    classifier = Classifier(network_of("cifar_resnet20"), tuple("abcd"), Preprocess(size=32, resize=32))
    features = photo_features(classifier, paths)
    assert features.shape == (5, 64)
    assert features.dtype == np.float32
    assert np.isnan(features).all(axis=1).tolist() == [False, False, True, False, False]
    np.testing.assert_array_equal(features, photo_features(classifier, paths))
    alone = photo_features(classifier, [paths[4].read_bytes()])
    np.testing.assert_allclose(alone[0], features[4], rtol=1e-5, atol=1e-6)
    assert photo_features(classifier, [paths[2]]).shape == (1, 0)
    assert photo_features(classifier, []).shape == (0, 0)
