"""Which device a run computes on, and what is answered where it is not there."""

import os
import subprocess
import sys

import pytest
import torch

from reslab.errors import RecipeError
from reslab.processes import choose_device, cores, reproducible


def test_auto_is_the_best_that_torch_sees() -> None:
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert choose_device().type == choose_device("auto").type == best
    assert choose_device("cpu").type == choose_device("cpu:0").type == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "auto:1", "cuda:one", "cpu:-1", "CPU", "cuda::1"])
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
        "import os; from reslab.processes import cores; "
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert cores() == len(os.sched_getaffinity(0))


def test_reproducible_leaves_the_flags_as_they_were() -> None:
    flags = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with reproducible():
        pass
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == flags
