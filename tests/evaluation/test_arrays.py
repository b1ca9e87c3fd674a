"""Classifier.predict of arrays, tensors, images and lists: the answer of the file, or a clear error."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reslab.errors import UsageError
from reslab.evaluation.classifier import Classifier
from reslab.photos.loading.preprocess import Preprocess


class Logits(nn.Module):
    """Network whose logits are the mean of all pixels and its negative."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        return torch.stack([mean, -mean], 1)


def classifier(channels: int = 3, value_range: tuple[float, float] | None = None) -> Classifier:
    preprocess = Preprocess(
        size=16,
        resize=16,
        channels=channels,
        mean=(0.5,) * channels,
        std=(0.2,) * channels,
        value_range=value_range,
    )
    return Classifier(Logits(), ("bright", "dark"), preprocess)


COLOR = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
GREY = COLOR[..., 0]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_array_gives_the_prediction_of_its_file(channels: int, tmp_path: Path) -> None:
    model = classifier(channels)
    for name, array in (("color", COLOR), ("grey", GREY)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        expected = model.predict(tmp_path / f"{name}.png").probability
        first = array.transpose(2, 0, 1) if array.ndim == 3 else array[None]
        for photo in (
            array,
            first,
            torch.from_numpy(first.copy()),
            torch.from_numpy(array),
            Image.fromarray(array),
        ):
            assert model.predict(photo).probability == expected
        several = model.predict([array, Image.fromarray(array), tmp_path / f"{name}.png"])
        assert [each.probability for each in several] == [expected] * 3
        assert [each.path for each in several] == ["image 0", "image 1", str(tmp_path / f"{name}.png")]
    assert model.predict([]) == []


def test_an_array_of_more_than_8_bits_gives_the_prediction_of_its_file(tmp_path: Path) -> None:
    model, values = classifier(value_range=(-1000, 3000)), GREY.astype(np.int32) * 15 - 1000
    Image.fromarray(values).save(tmp_path / "ct.tif")
    expected = model.predict(tmp_path / "ct.tif").probability
    assert model.predict(values).probability == expected
    assert model.predict(Image.fromarray(values)).probability == expected
    assert model.predict(values.astype(np.float32)).probability == expected
    assert model.predict(torch.from_numpy(values)).probability == expected


@pytest.mark.parametrize(
    ("photo", "what"),
    [
        (np.zeros((8, 40, 30, 3), np.uint8), "4 dimensions"),
        (np.zeros((40, 30, 4), np.uint8), "4 channels"),
        (torch.zeros(2, 3, 40, 30, dtype=torch.uint8), "4 dimensions"),
        (np.zeros(40, np.uint8), "1 dimension;"),
        (np.zeros((0, 30), np.uint8), "empty"),
        (np.full((40, 30, 3), 0.5), "an array of float64 with values 0.5 to 0.5"),
        (torch.full((3, 40, 30), -2.0), "an array of float32 with values -2 to -2"),
        (torch.zeros(3, 40, 30, dtype=torch.bfloat16), "float32 with values 0 to 0"),
        (np.zeros((40, 30), np.uint16), "an array of uint16"),
        (np.array([["a"]]), "<U1"),
        (np.zeros((40, 30), complex), "complex128"),
        (None, "a photo cannot be of type NoneType"),
        ({"image": GREY}, "a photo cannot be of type dict"),
        (7, "a photo cannot be of type int"),
    ],
)
def test_what_is_no_photo_is_refused_with_what_to_do(photo: Any, what: str) -> None:
    for given in (photo, [photo]):
        with pytest.raises(UsageError) as caught:
            classifier().predict(given)
        assert what in str(caught.value)
        assert caught.value.do
