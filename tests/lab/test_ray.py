"""Promises of the Ray backend: the bits of the local one, also after a lost worker; clear refusals."""

import json
import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

import reslab
from reslab.hardware import threads
from reslab.lab.backends import choose, local, ray_cluster
from reslab.lab.backends import ray as ray_backend
from reslab.lab.backends.ray_node import perform_on_node
from reslab.lab.cells import ANSWERS, CHECKSUMS, FAILURE, Cell
from reslab.lab.planning import code_digest
from reslab.lab.splits import TEST_LIST, seed_list, write_photo_lists
from reslab.photos.folder.photos import Photos
from reslab.training.timing.precision_cache import MeasuredPrecision

TINY = reslab.Recipe(epochs=5, size=16, batch_size=4, progressive_resizing=False, optimizer="adamw")
SCALED = """
from reslab import BasicBlock
from part import SCALE

class Scaled(BasicBlock):
    def forward(self, x):
        return SCALE * super().forward(x)
"""
FAILING = """
from pathlib import Path
from reslab import BasicBlock

class Failing(BasicBlock):
    def forward(self, x):
        if self.training and len(x) > 2:
            with Path(__file__).with_name("attempts").open("a") as file:
                print("attempt", file=file)
            raise ValueError("my block cannot do this")
        return super().forward(x)
"""
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason='needs Ray: pip install "reslab[ray]"')


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Start one cluster on this machine for the tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", *ray_cluster.OWN_CLUSTER):
            patch.delenv(name, raising=False)
        ray = ray_cluster.connect()
        yield ray
        ray.shutdown()


@pytest.fixture
def make_cell(photo_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Cell]:
    """make_cell("se", "out"): a cell of cifar_resnet20:se in the comparison's folder out."""
    photos = Photos(photo_folder(train=24, test=6), val_fraction=0.25)

    def make(block: str, comparison: str = "out", **recipe: Any) -> Cell:
        folder = tmp_path / comparison
        folder.mkdir(exist_ok=True)
        write_photo_lists(photos, False, 0.25, None, [0], folder / "photos")
        return Cell(
            variant=block,
            seed=0,
            network=f"cifar_resnet20:{block}",
            recipe=TINY.with_settings(**recipe).as_json() | {"seed": 0},
            measured=asdict(MeasuredPrecision("fp32", 0.1, threads=1)),
            photos=str(folder / "photos" / seed_list(0)),
            test=str(folder / "photos" / TEST_LIST),
            code=code_digest(f"cifar_resnet20:{block}"),
            folder=str(folder / "cells" / Path(block).name.replace(":", "-")),
        )

    return make


@pytest.fixture
def block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a block that imports a module next to it, and return its relative notation."""
    (tmp_path / "blocks").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "blocks/scaled.py").write_text(SCALED)
    (tmp_path / "blocks/part.py").write_text("SCALE = 0.9")
    monkeypatch.chdir(tmp_path / "work")
    return "../blocks/scaled.py:Scaled"


def perform(cell: Cell, **changed: Any) -> dict[str, Any]:
    """Perform a training as a node does, in this process."""
    task = json.loads(ray_backend.describer("train", cell.path.parents[1] / "log.txt")(cell))
    with threads(1):
        reply: dict[str, Any] = json.loads(perform_on_node(json.dumps(task | changed)))
    return reply


def assert_same(first: Cell, second: Cell) -> None:
    for name in (ANSWERS, CHECKSUMS):
        assert (first.path / name).read_bytes() == (second.path / name).read_bytes()
    ours, theirs = (load_file(cell.path / "model.safetensors") for cell in (first, second))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    assert reslab.Run(first.path).about["network"] == reslab.Run(second.path).about["network"]


@needs_ray
@pytest.mark.slow
def test_the_bits_are_those_of_local_after_ctrl_c_and_after_a_lost_worker(
    make_cell: Callable[..., Cell],
    block: str,
    ray: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_backend, "PAUSE_S", 0.02)
    here = [make_cell(name, "here") for name in ("basic", block)]
    there = [make_cell(name, "there") for name in ("basic", block)]
    log = there[0].path.parents[1] / "log.txt"

    def press_ctrl_c() -> None:
        if all(cell.steps_done for cell in there):
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        closing(ray_backend.run_tasks("train", there, 2, log, press_ctrl_c)) as tasks,
    ):
        list(tasks)
    assert log.read_text().count("stopping after this step") == 2
    assert not any(cell.is_finished for cell in there)
    victim = there[1]

    def kill_a_worker() -> None:
        while "resuming after" not in (victim.path / "log.txt").read_text():
            time.sleep(0.005)
        os.kill(int((victim.path / ".lock-owner").read_text().split()[1]), signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    assert len(list(ray_backend.run_tasks("train", there, 2, log))) == 2
    killer.join()
    assert (victim.path / "log.txt").read_text().count("resuming after") == 2
    assert "A worker died" not in capsys.readouterr().out  # it would break --json
    list(local.run_tasks("train", here, 2, here[0].path.parents[1] / "log.txt"))
    for ours, theirs in zip(here, there, strict=True):
        assert_same(ours, theirs)


@needs_ray
@pytest.mark.slow
def test_a_comparison_on_a_cluster_of_its_own_which_only_this_machine_reaches(
    photo_folder: Callable[..., Path], tmp_path: Path, ray: Any
) -> None:
    comparison = reslab.compare(
        photo_folder(train=24, test=6), ["basic", "label_smoothing=0"], network="cifar_resnet20",
        recipe=TINY.with_settings(epochs=1), seeds=1, on="ray", output=tmp_path / "out",
        progress=False, say=lambda _: 0,
    )  # fmt: skip
    assert all(cell.accuracy is not None for cell in comparison.cells)
    (node,) = ray.nodes()
    assert node["NodeManagerAddress"] == "127.0.0.1"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@needs_ray
@pytest.mark.slow
def test_an_error_of_a_block_is_the_result_of_its_cell_after_one_attempt(
    make_cell: Callable[..., Cell], tmp_path: Path, ray: Any
) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    cell = make_cell(f"{tmp_path}/failing.py:Failing")
    assert list(ray_backend.run_tasks("train", [cell], 1, tmp_path / "log")) == [(cell, None)]
    assert "my block cannot do this" in json.loads((cell.path / FAILURE).read_text())["error"]
    assert (tmp_path / "attempts").read_text() == "attempt\n"


@needs_ray
@pytest.mark.slow
def test_a_demand_that_no_node_meets_is_refused_with_what_the_nodes_have(
    ray: Any, refuses: Callable[..., Any]
) -> None:
    count = int(ray.nodes()[0]["Resources"]["CPU"])
    with refuses(reslab.UsageError, f"{count + 1} CPU", platform.node(), f"has {count} CPU"):
        ray_cluster.check_demand({"CPU": count + 1})


def test_a_gpu_is_refused_before_a_cluster_is_started_on_a_machine_without(
    make_cell: Callable[..., Cell], tmp_path: Path, refuses: Callable[..., Any]
) -> None:
    cell = make_cell("basic", device="cuda")
    with refuses(reslab.UsageError, "1 CPU and 1 GPU", platform.node(), "0 GPU", "--device cpu"):
        list(ray_backend.run_tasks("train", [cell], 1, tmp_path / "log"))


@pytest.mark.slow
@pytest.mark.parametrize("absolute", [False, True])
def test_a_node_without_the_users_file_gets_its_text(
    make_cell: Callable[..., Cell], block: str, tmp_path: Path, absolute: bool
) -> None:
    if absolute:
        block = f"{tmp_path}/blocks/scaled.py:Scaled"
    here, there = (make_cell(block, name, epochs=1) for name in ("here", "there"))
    assert perform(here) == {"result": None}
    task = json.loads(ray_backend.describer("train", tmp_path / "log")(there))
    (tmp_path / "blocks/part.py").write_text("SCALE = 2.0")  # another text than on the first machine
    with threads(1):
        assert perform_on_node(json.dumps(task | {"folder": "/nowhere"})) == '{"result": null}'
    if not absolute:
        assert_same(here, there)
    assert (here.path / ANSWERS).read_bytes() == (there.path / ANSWERS).read_bytes()
    spec = reslab.Run(there.path).spec
    assert spec is not None
    assert spec.code is not None
    assert spec.code.sources["part.py"] == "SCALE = 0.9"


def test_a_node_names_itself_and_what_it_lacks(make_cell: Callable[..., Cell], tmp_path: Path) -> None:
    cell = make_cell("basic")
    lists = dict.fromkeys((cell.photos, cell.test), "0" * 32)
    task = {"kind": "train", "cell": asdict(cell), "code": None, "lists": lists, "versions": {}}
    task |= {"folder": str(tmp_path), "log": str(tmp_path / "log")}

    def error(**changed: Any) -> list[str]:
        with threads(1):
            reply = json.loads(perform_on_node(json.dumps(task | changed)))
        name, what, _, do = reply["error"]
        assert what.startswith(f"node {platform.node()}: ")
        assert do
        return [name, what]

    assert error()[0] == "PhotosError"  # another digest
    name, what = error(lists={"/nowhere/photos.jsonl": ""})
    assert (name, "/nowhere/photos.jsonl" in what) == ("PhotosError", True)
    name, what = error(cell=asdict(replace(cell, folder="/nowhere/cells/1")))
    assert (name, "/nowhere" in what) == ("RunError", True)
    name, what = error(versions={"torch": "0.1"})
    assert (name, "0.1 where the comparison was started" in what) == ("RunError", True)
    (tmp_path / "photos").rename(tmp_path / "moved")
    name, what = perform(cell)["error"][:2]
    assert (name, f"{tmp_path}/photos" in what, platform.node() in what) == ("PhotosError", True, True)


def test_a_cluster_that_does_not_answer_is_refused(
    monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., Any]
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(ray_cluster, "_is_connected", lambda: False)
    with refuses(reslab.RunError, "RAY_ADDRESS=127.0.0.1:1", "unset RAY_ADDRESS"):
        ray_backend.default_jobs("cpu")


def test_an_unknown_backend_and_a_missing_package(
    monkeypatch: pytest.MonkeyPatch, refuses: Callable[..., Any]
) -> None:
    monkeypatch.setattr(choose, "find_spec", lambda _: None)
    with refuses(reslab.UsageError, 'pip install "reslab[ray]"'):
        choose.backend("ray")
    with pytest.raises(reslab.UsageError, match="did you mean 'ray'"):
        choose.backend("rays")
