"""The device, threads and memory that a process computes with, and workers that end with their parent."""

import os
import platform
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from reslab.errors import RecipeError
from reslab.hardware import (
    choose_device,
    cores,
    deterministic_cudnn,
    has_fast_bf16,
    processor_name,
    threads,
)

CPUINFO = Path("/proc/cpuinfo")


def test_auto_is_the_best_available_device() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device().type == choose_device("auto").type == best
    assert choose_device("cpu").type == choose_device("cpu:0").type == "cpu"


@pytest.mark.parametrize(
    "name",
    ["gpu", "", "auto:1", "cuda:one", "cpu:-1", "CPU", "cuda::1", "cpu:", "cpu:²", "cuda:" + "9" * 5000],
)
def test_an_unknown_device_raises_an_error_with_its_name(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_device(name)
    assert f"there is no device '{name}'" in str(caught.value)
    assert "cuda:1" in caught.value.do


@pytest.mark.parametrize("name", ["cuda:99", "cpu:1", "mps:3"])
def test_a_missing_device_raises_an_error_with_the_number_of_devices(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_device(name)
    kind = name.partition(":")[0]
    assert caught.value.what == f"device '{name}' is not available"
    assert f"torch {torch.__version__} finds " in caught.value.why
    assert f" {kind} devices" in caught.value.why


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to cores")
def test_cores_counts_those_that_the_process_may_use() -> None:
    code = (
        "import os; from reslab.hardware import cores; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("on_device", [True, False])
def test_deterministic_cudnn_restores_the_flags(on_device: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: on_device)
    with deterministic_cudnn():
        assert (cudnn.deterministic, cudnn.benchmark) == (on_device, not on_device)
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def test_threads_are_set_in_the_block_and_restored_after_it() -> None:
    before = torch.get_num_threads()
    other = 1 if before > 1 else min(2, cores())
    with suppress(KeyError), threads(other):
        assert torch.get_num_threads() == other
        raise KeyError
    assert torch.get_num_threads() == before
    with threads(0):
        assert torch.get_num_threads() == before
    with threads(100_000):  # of a run that was started on a larger machine
        assert torch.get_num_threads() == max(before, cores())
    assert torch.get_num_threads() == before


def test_the_processor_has_a_name() -> None:
    assert processor_name()
    assert processor_name() == processor_name().strip()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is that of Linux")
def test_kept_memory_causes_few_page_faults() -> None:
    code = (
        "import resource, torch; from reslab.hardware import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(4): torch.ones(20_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "first = faults(); keep_freed_memory(); [faults() for _ in range(5)]; print(first, faults())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_worker_ends_with_its_parent_even_if_that_died_before() -> None:
    code = """
import os, sys, time
from reslab.parallel import (end_with_parent, parent_id_for_workers)
parent, late = parent_id_for_workers(), sys.argv[1] == "late"
if os.fork() == 0:
    if late:
        while os.getppid() == parent:
            time.sleep(0.01)
    end_with_parent(parent)
    time.sleep(600)
if not late:
    time.sleep(1)
os.kill(os.getpid(), 9)
"""
    for when in ("early", "late"):
        process = subprocess.Popen([sys.executable, "-c", code, when], stdout=subprocess.PIPE)
        out, _ = process.communicate(timeout=30)  # a living worker holds this pipe
        assert (out, process.returncode) == (b"", -9)


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.exists(), reason="needs x86 flags")
def test_has_fast_bf16_agrees_with_the_processor_flags() -> None:
    flags = set(CPUINFO.read_text().split())
    native = bool(flags & {"avx512_bf16", "amx_bf16"})
    if not native and flags & {"avx512bw", "avx_ne_convert"}:
        pytest.skip("this processor converts, possibly fast")
    before = torch.get_num_threads()
    assert has_fast_bf16() == native
    assert torch.get_num_threads() == before
