"""Damaged photos of every format: a picture or an answer, soon and in little memory. The long version is
benchmarks/fuzz_photos.py with 20,000."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "benchmarks/fuzz_photos.py"


def test_five_hundred_damaged_photos_are_pictures_or_answers_and_check_agrees() -> None:
    pytest.importorskip("pillow_heif")
    command = [sys.executable, str(FUZZ), "500", "--first", "1000000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.stdout, done.stderr[-2000:]  # a crash or a hang has said where
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert done.returncode == 0
    outcomes = {outcome for _, outcome, _ in found["outcomes"]}
    assert {"read", "OSError", "UnidentifiedImageError"} <= outcomes  # so the damage is neither none nor all
    assert len({kind for kind, _, _ in found["outcomes"]}) >= 8
