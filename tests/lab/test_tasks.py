"""Promises of tasks and local workers: an edit does not reach waiting cells; a broken worker is an error."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

import reslab
from reslab.lab.backends import local
from reslab.lab.backends.tasks import code_in_place, describer
from reslab.lab.cells import Cell
from reslab.lab.planning import code_digest
from reslab.networks.from_text import parse_name

BLOCK = (
    "from reslab import BasicBlock\nfrom part import SCALE\n\nclass Mine(BasicBlock):\n    scale = SCALE\n"
)


def cell_of(network: str, folder: Path) -> Cell:
    return Cell(network, 0, network, code_digest(network), {}, {}, "", "", str(folder / "cells/1"))


def test_cells_that_wait_train_the_planned_text_of_an_edited_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(BLOCK)
    Path("part.py").write_text("SCALE = 1\n")
    cell = cell_of("cifar_resnet20:mine.py:Mine", tmp_path)
    task = describer("train")(cell)
    Path("part.py").write_text("SCALE = 2\n")
    with code_in_place(task) as network:
        code = parse_name(network).run_file()
    assert network == cell.network
    assert code is not None
    assert (code.digest, code.sources["part.py"]) == (cell.code, "SCALE = 1\n")
    with refuses(reslab.RunError, "mine.py was changed", "another variant"):
        describer("train")(cell)


def test_a_worker_that_answers_nonsense_ends_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_echo(worker: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(local._Worker, "_start_process", start_echo)
    with pytest.raises(KeyError, match="result"):
        list(local.run_tasks("train", [cell_of("cifar_resnet20:se", tmp_path)], 2, tmp_path / "log"))


@pytest.mark.parametrize("kind", ["train", "measure"])
def test_a_crash_of_every_worker_is_the_result_of_a_training_only(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: Any
) -> None:
    def start_crash(worker: Any) -> subprocess.Popen[bytes]:
        command = ["sh", "-c", "read task; kill -SEGV $$"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(local._Worker, "_start_process", start_crash)
    cell = cell_of("cifar_resnet20:se", tmp_path)
    if kind == "train":
        assert list(local.run_tasks(kind, [cell], 1, tmp_path / "log")) == [(cell, None)]
        assert "signal 11, 3 times" in str(cell.error)
    else:
        with refuses(reslab.RunError, "signal 11"):
            list(local.run_tasks(kind, [cell], 1, tmp_path / "log"))
        assert not cell.is_finished
