"""benchmarks/gpu.py: without a device it says so, and a CPU runs the same code."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture
def main() -> Callable[..., Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "gpu.py"))["main"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_device_it_says_so(main: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err == "there is no CUDA device here: nothing was measured\n"


@pytest.mark.slow
def test_a_cpu_runs_the_same_code(main: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--quick"]) == 0
    out = capsys.readouterr().out
    for row in ("torchvision fp32", "torchvision --amp", "reslab (fp32|bf16)[a-z_+]*", "augmented"):
        assert re.search(rf"\n  {row} +\d+ images/s", out), row
    assert re.search(r"cifar_resnet20 on 40 drawn cats and dogs: photos in main memory, precision", out)
    assert re.search(r"\n +[\d.]+ s  [01]\.\d{4}  \d+ images/s\n94% (after|was not reached)", out)
