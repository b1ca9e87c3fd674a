"""The tutorial's own script runs with three imports exchanged and nothing else changed."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("tutorial_script.py")


def test_only_the_three_imports_are_reslabs() -> None:
    ours = [line for line in SCRIPT.read_text().splitlines() if "reslab" in line]
    assert ours == [
        "import reslab as hl  # import hiddenlayer as hl",
        "from reslab import resnet18  # from torchvision.models import resnet18",
    ]


@pytest.mark.slow
def test_the_tutorials_script_runs(photo_folder: Callable[..., Path], tmp_path: Path) -> None:
    photos = photo_folder(train=24, test=8)
    done = subprocess.run(
        [sys.executable, SCRIPT, photos],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert "torch.Size([8, 3, 32, 32]) torch.Size([8])" in done.stdout
    found = re.search(r"train_loss \[(\d\.\d+), (\d\.\d+)\]", done.stdout)
    assert found
    assert (tmp_path / "resnet18.pkl").stat().st_size > 40e6
