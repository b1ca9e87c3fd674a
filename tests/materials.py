"""Test data: generated photos, shared real data, and networks with random weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from torch import nn

DATA = Path(os.environ.get("RESLAB_TEST_DATA", Path(__file__).parents[1] / "../shared/data")).resolve()
WEIGHTS = Path(os.environ.get("RESLAB_TEST_WEIGHTS", DATA.parent / "weights"))


def real_data(name: str) -> Path:
    """Return a folder of shared real data, or skip the test if it is missing."""
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"needs the real data set {name}, which is not at {folder}")
    return folder


def make_photo(path: Path, seed: int, color: tuple[int, int, int], size: tuple[int, int] = (48, 40)) -> None:
    """Write a JPEG of noise around a color. The seed makes each file different."""
    generator = np.random.default_rng(seed)
    pixels = generator.normal(color, 40, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=90)


@contextmanager
def without_permission(file: Path) -> Iterator[Path]:
    """Yield a copy of a file that may not be read, in a folder that may. Root becomes the user nobody."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copy(file, folder))
        copy.chmod(0)
        copy.parent.chmod(0o755)
        if os.geteuid():
            yield copy
            return
        os.seteuid(65534)
        try:
            yield copy
        finally:
            os.seteuid(0)


def fuzzed(script: str, count: int) -> tuple[int, dict[str, Any]]:
    """Run a fuzzing script of benchmarks/ from number 1,000,000. Return its exit code and findings."""
    path = Path(__file__).parents[1] / "benchmarks" / script
    command = [sys.executable, str(path), str(count), "--first", "1000000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.stdout, done.stderr[-2000:]  # standard error names the place of a crash
    return done.returncode, json.loads(done.stdout)


def network_of(name: str, in_channels: int = 3) -> nn.Module:
    """Create a network with random weights and updated batch norm statistics."""
    import torch

    from reslab.networks.registry import NetworkSpec

    torch.manual_seed(0)
    network = NetworkSpec(name, 4, in_channels).build().train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.rand(8, in_channels, 32, 32) * 3)
    return network
