"""Cover and paste: the cell that a network needs, and the alarm of a place that betrays a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reslab.explanation.occlusion import GRID, cell_falls, consensus, find_places

SIDE = 32
CELL = SIDE // GRID


class Looks(nn.Module):
    """Class 0 if the mean of the cells at `place`, (rows, columns), is above 0.5; else class 1."""

    def __init__(self, place: tuple[slice, slice]) -> None:
        super().__init__()
        self.place = place

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.place
        score = 4 * (x[:, :, rows, columns].mean((1, 2, 3)) - 0.5)
        return torch.stack([score, -score], 1)


def photos(count: int) -> tuple[Tensor, np.ndarray]:
    """Return images whose first half, of class 0, has a white top right cell."""
    images = 0.1 * torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    images[: count // 2, :, :CELL, -CELL:] = 1
    return images, np.repeat([0, 1], count // 2)


@pytest.mark.parametrize("paste", [False, True])
def test_only_the_needed_cell_falls(paste: bool) -> None:
    images, labels = photos(4)
    network = Looks((slice(0, CELL), slice(-CELL, None)))
    donors = images.flip(0) if paste else None
    falls = cell_falls(network, images, torch.from_numpy(labels), donors)
    assert falls.shape == (4, GRID, GRID)
    assert bool((falls[:2, 0, -1] > 0.5).all())
    falls[:, 0, -1] = 0
    assert float(falls.abs().max()) == 0


def test_a_mark_on_every_photo_of_a_class_is_named() -> None:
    images, labels = photos(20)
    network = Looks((slice(0, CELL), slice(-CELL, None)))
    cat, dog = find_places(network, images, labels, ("cat", "dog"))
    assert cat.betrays
    assert (cat.row, cat.column, cat.where) == (0, GRID - 1, "top right")
    assert cat.agreeing == cat.photos == 10
    assert str(cat).startswith("a place in the picture betrays cat: row 1, column 8")
    assert cat.as_json()["class"] == "cat"
    assert (dog.row, dog.column) == (0, GRID - 1)  # a cat's cell pasted on a dog


def test_a_network_that_needs_another_cell_in_each_photo_raises_no_alarm() -> None:
    falls = torch.zeros(30, GRID, GRID, dtype=torch.float64)
    places = np.random.Generator(np.random.Philox(0)).integers(0, GRID, (30, 2))
    for fall, (row, column) in zip(falls, places, strict=True):
        fall[row, column] = 0.3
    assert not consensus(falls, "cat").betrays


def test_a_class_with_few_photos_has_no_place() -> None:
    images, _ = photos(10)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    network = Looks((slice(0, CELL), slice(0, CELL)))
    assert [place.class_name for place in find_places(network, images, labels, ("cat", "dog"))] == ["dog"]
