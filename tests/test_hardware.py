"""Which device a run computes on, and what is answered where it is not there."""

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
    keep_memory,
    multiplies_bf16,
    processor,
    reproducible,
    threads,
)

CPUINFO = Path("/proc/cpuinfo")


def test_auto_is_the_best_that_torch_sees() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device().type == choose_device("auto").type == best
    assert choose_device("cpu").type == choose_device("cpu:0").type == "cpu"


@pytest.mark.parametrize(
    "name",
    ["gpu", "", "auto:1", "cuda:one", "cpu:-1", "CPU", "cuda::1", "cpu:", "cpu:²", "cuda:" + "9" * 5000],
)
def test_an_unknown_device_is_refused_by_name(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_device(name)
    assert f"there is no device '{name}'" in str(caught.value)
    assert "cuda:1" in caught.value.do


@pytest.mark.parametrize("name", ["cuda:99", "cpu:1", "mps:3"])
def test_a_device_that_is_not_there_is_answered_with_how_many_there_are(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_device(name)
    kind = name.partition(":")[0]
    assert caught.value.what == f"device '{name}' is not there"
    assert f"torch {torch.__version__} sees " in caught.value.why
    assert f" {kind} devices" in caught.value.why


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process to cores")
def test_only_the_cores_that_the_process_may_use_are_counted() -> None:
    code = (
        "import os; from reslab.hardware import cores; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("on_device", [True, False])
def test_reproducible_leaves_the_flags_as_they_were(on_device: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "benchmark", True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: on_device)
    with reproducible():
        assert (cudnn.deterministic, cudnn.benchmark) == (on_device, not on_device)
    assert (cudnn.deterministic, cudnn.benchmark) == (False, True)


def test_threads_are_those_of_the_block_and_given_back_afterwards() -> None:
    before = torch.get_num_threads()
    other = 1 if before > 1 else min(2, cores())
    with suppress(KeyError), threads(other):
        assert torch.get_num_threads() == other
        raise KeyError
    assert torch.get_num_threads() == before
    with threads(0):
        assert torch.get_num_threads() == before
    with threads(100_000):  # of a run that began on a larger machine
        assert torch.get_num_threads() == max(before, cores())
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="this system counts no waiting")
def test_waiting_for_a_core_grows_where_two_programs_share_one() -> None:
    code = (
        "import os, time; from reslab.hardware import waiting; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "child, end = os.fork(), time.time() + 0.5\n"
        "before = waiting()\n"
        "while time.time() < end: pass\n"
        "if child: os.wait(); print(waiting() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.05 < float(done.stdout) < 5


def test_the_processor_has_a_name() -> None:
    assert processor()
    assert processor() == processor().strip()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is that of Linux")
def test_memory_that_is_kept_is_not_cleared_by_the_system_again() -> None:
    code = (
        "import resource, torch; from reslab.hardware import keep_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(4): torch.ones(20_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "first = faults(); keep_memory(); [faults() for _ in range(5)]; print(first, faults())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 10


def test_keeping_memory_twice_harms_nothing() -> None:
    keep_memory()
    keep_memory()
    assert torch.ones(1000).sum() == 1000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_worker_dies_with_the_process_that_started_it_and_at_once_if_that_is_dead_already() -> None:
    code = """
import os, sys, time
from reslab.parallel import (end_with_parent, own_number)
parent, late = own_number(), sys.argv[1] == "late"
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
        out, _ = process.communicate(timeout=30)  # as long as a worker lives, it holds this pipe
        assert (out, process.returncode) == (b"", -9)


@pytest.mark.skipif(platform.machine() != "x86_64" or not CPUINFO.exists(), reason="needs x86 flags")
def test_whether_the_processor_computes_in_bf16_is_told_as_its_flags_tell_it() -> None:
    flags = set(CPUINFO.read_text().split())
    native = bool(flags & {"avx512_bf16", "amx_bf16"})
    if not native and flags & {"avx512bw", "avx_ne_convert"}:
        pytest.skip("this processor converts, and may be quick at that")
    before = torch.get_num_threads()
    assert multiplies_bf16() == native
    assert torch.get_num_threads() == before
