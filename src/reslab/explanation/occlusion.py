"""Cover and paste: the cells of a photo that a prediction needs, and a place that betrays a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reslab.randomness import permutation

from .faithfulness import probabilities

# chosen by hand; benchmarks/RESULTS.md has the figures of planted marks
GRID = 8  # cells along a side
MAX_PHOTOS = 12  # of a class
MIN_PHOTOS = 5  # of a class; fewer agree by chance
MIN_SHARE = 0.5  # of the photos that agree on a place
MIN_FALL = 0.05  # of the probability there
MIN_FALL_RATIO = 3.0  # to the largest fall elsewhere
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")


@dataclass(frozen=True)
class Place:
    """Cell that the photos of a class need most, as found by covering and replacing cells.

    A network that looks at animals needs another cell in each photo. If most photos agree on one, and the
    others hardly matter, a place in the picture betrays the class: a mark, a frame, a date.

    Attributes:
        class_name: the class.
        row: of the cell, from 0 at the top to `grid` - 1.
        column: of the cell, from 0 at the left.
        grid: number of cells along a side.
        photos: number of photos that were measured.
        agreeing: number of them whose most important cell is this one or a neighbor.
        fall: mean fall of the probability of the class without this cell.
        fall_elsewhere: the largest mean fall of the cells that are no neighbors of it.
        falls: mean fall of every cell, by row and column.
    """

    class_name: str
    row: int
    column: int
    grid: int
    photos: int
    agreeing: int
    fall: float
    fall_elsewhere: float
    falls: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    @property
    def betrays(self) -> bool:
        """True if half of at least five photos agree, and the fall is 0.05 and three times that elsewhere."""
        return (
            self.photos >= MIN_PHOTOS
            and self.agreeing >= MIN_SHARE * self.photos
            and self.fall >= max(MIN_FALL, MIN_FALL_RATIO * self.fall_elsewhere)
        )

    @property
    def where(self) -> str:
        """The ninth of the picture: "top left", "middle"."""
        row, column = (
            names[index * 3 // self.grid] for names, index in ((ROWS, self.row), (COLUMNS, self.column))
        )
        return row if row == column else f"{row} {column}"

    def __str__(self) -> str:
        place = (
            f"row {self.row + 1}, column {self.column + 1} of {self.grid} x {self.grid} cells ({self.where})"
        )
        falls = f"by {self.fall:.2f}, elsewhere by at most {max(0.0, self.fall_elsewhere):.2f}"
        start = f"a place in the picture betrays {self.class_name}" if self.betrays else self.class_name
        return (
            f"{start}: {place}. Without it the probability falls {falls}. "
            f"{self.agreeing} of {self.photos} photos need it most."
        )

    def as_json(self) -> dict[str, Any]:
        """Return the attributes, with `class` for the class, and `where` and `betrays`."""
        values = {"class" if name == "class_name" else name: value for name, value in vars(self).items()}
        return {**values, "where": self.where, "betrays": self.betrays}


def find_places(
    network: nn.Module, images: Tensor, labels: NDArray[np.int64], class_names: Sequence[str]
) -> tuple[Place, ...]:
    """Find the cell that the photos of each class need most, and whether it betrays the class.

    Each cell is covered with the mean color of the data, and replaced by the same cell of a photo of another
    class. The fall of the probability is the mean of both.

    Args:
        network: images -> logits (N, num_classes). It stays as it is.
        images: (N, C, H, W), normalized. At most the first 12 of a class are used.
        labels: (N,) class of each image, as an index of the logits.
        class_names: in the order of the logits.

    Returns:
        A place for each class that has at least five photos, in the order of `class_names`.

    Raises:
        ClassifierError: there is not enough memory.
    """
    found = []
    for index, name in enumerate(class_names):
        own = np.flatnonzero(labels == index)[:MAX_PHOTOS]
        others = np.flatnonzero(labels != index)
        if len(own) < MIN_PHOTOS:
            continue
        classes = torch.from_numpy(labels[own])
        falls = cell_falls(network, images[own], classes)  # (n, GRID, GRID)
        if len(others):
            order = permutation(0, f"photos to paste for {name}", count=len(others))
            donors = images[others[order[np.arange(len(own)) % len(others)]]]
            falls = (falls + cell_falls(network, images[own], classes, donors)) / 2
        found.append(consensus(falls, name))
    return tuple(found)


def cell_falls(network: nn.Module, images: Tensor, classes: Tensor, donors: Tensor | None = None) -> Tensor:
    """Return the fall of each image's probability when one cell is covered or replaced.

    Args:
        network: images -> logits (N, num_classes).
        images: (N, C, H, W), normalized.
        classes: (N,) class whose probability counts.
        donors: (N, C, H, W), images whose cells are pasted; None: cells get the mean color of the data,
            which normalized is 0.

    Returns:
        float64 (N, GRID, GRID), negative where the probability rises.
    """
    masks = _cells(*images.shape[2:])  # (GRID * GRID, 1, H, W)
    pasted = torch.zeros_like(images) if donors is None else donors
    falls = []
    for image, donor, index in zip(images, pasted, classes, strict=True):
        changed = torch.cat([image[None], torch.where(masks, donor, image)])  # (1 + GRID * GRID, C, H, W)
        p = probabilities(network, changed)[:, int(index)]
        falls.append((p[0] - p[1:]).view(GRID, GRID))
    return torch.stack(falls)


def consensus(falls: Tensor, class_name: str) -> Place:
    """Return the cell with the largest mean fall, and how many images agree on it.

    Args:
        falls: (N, GRID, GRID), from `cell_falls`, of images of one class.
        class_name: the class.
    """
    mean = falls.mean(0)  # (GRID, GRID)
    row, column = divmod(int(mean.argmax()), GRID)
    near = torch.zeros_like(mean, dtype=torch.bool)
    near[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    hottest = falls.flatten(1).argmax(1)  # (N,)
    return Place(
        class_name,
        row,
        column,
        GRID,
        len(falls),
        int(near.flatten()[hottest].sum()),
        float(mean[row, column]),
        float(mean[~near].max()),
        tuple(map(tuple, mean.tolist())),
    )


def _cells(height: int, width: int) -> Tensor:
    """Return a mask for each cell: bool (GRID * GRID, 1, height, width), row by row."""
    rows, columns = (torch.arange(side) * GRID // side for side in (height, width))
    numbers = rows[:, None] * GRID + columns  # (height, width)
    return (numbers == torch.arange(GRID * GRID).view(-1, 1, 1))[:, None]
