"""Promises of cells: equal images are proven, and only an error of the network is a cell's result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reslab
from reslab.errors import DivergedError
from reslab.lab import cells
from reslab.lab.cells import ANSWERS, CHECKSUMS, FAILURE, Cell, first_different_step, run_cell, write_failure


@pytest.fixture
def make_cell(tmp_path: Path) -> Callable[..., Cell]:
    """make_cell("se", [1, 2, 3]): a cell that was shown batches with these checksums."""

    def make(variant: str, checksums: list[int]) -> Cell:
        folder = tmp_path / variant
        folder.mkdir()
        np.array(checksums, "<u4").tofile(folder / CHECKSUMS)
        return Cell(variant, 0, f"cifar_resnet20:{variant}", "", {}, {}, "", "", str(folder))

    return make


@pytest.mark.parametrize("order", [1, -1])
def test_a_failed_cell_is_compared_as_far_as_it_came(make_cell: Callable[..., Cell], order: int) -> None:
    failed, finished = make_cell("basic", [1, 2]), make_cell("se", [1, 2, 3])
    pair = [failed, finished][::order]
    assert first_different_step(pair) == (finished, failed, 2)
    write_failure(failed, "the loss became nan")
    assert first_different_step(pair) is None
    np.array([1, 9], "<u4").tofile(failed.path / CHECKSUMS)
    assert first_different_step(pair) == (finished, failed, 1)


@pytest.mark.parametrize(
    ("error", "is_result"),
    [
        (DivergedError("the loss became nan"), True),
        (ValueError("a bug of the block"), True),
        (reslab.TrainingError("there is not enough memory"), False),
        (reslab.PhotosError("a photo is missing"), False),
        (OSError("the disk is full"), False),
    ],
)
def test_only_an_error_of_the_network_is_the_result_of_a_cell(
    error: Exception, is_result: bool, make_cell: Callable[..., Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cell: Cell) -> None:
        raise error

    monkeypatch.setattr(cells, "_train", fail)
    cell = make_cell("se", [])
    if is_result:
        run_cell(cell)
        assert str(error) in str(cell.error)
    else:
        with pytest.raises(type(error)):
            run_cell(cell)
        assert not cell.is_finished


def test_damaged_files_are_refused_with_the_cell_to_remove(
    make_cell: Callable[..., Cell], refuses: Any
) -> None:
    labels = np.zeros(3, np.int64)
    for name, content in ((ANSWERS, b""), (ANSWERS, b"\x93NUMPY"), (FAILURE, b"{"), (FAILURE, b"[]")):
        cell = make_cell(f"{name}-{len(content)}", [])
        (cell.path / name).write_bytes(content)
        with refuses(reslab.RunError, name, f"remove {cell.path}"):
            cells.read_cell(cell, labels)
    cell = replace(cell, folder=str(cell.path.with_name("short")))
    cell.path.mkdir()
    np.save(cell.path / ANSWERS, labels[:2])
    with refuses(reslab.RunError, "(2,) answers for 3 test photos"):
        cells.read_cell(cell, labels)
