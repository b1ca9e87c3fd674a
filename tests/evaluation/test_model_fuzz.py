"""Damaged models and weights: an equal file or an answer, soon and in little memory. The long version is
benchmarks/fuzz_models.py with 20,000."""

import json
import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "benchmarks/fuzz_models.py"


def test_five_hundred_damaged_files_are_refused_in_words_or_read_to_the_bit() -> None:
    command = [sys.executable, str(FUZZ), "500", "--first", "1000000", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300)
    assert done.stdout, done.stderr[-2000:]  # a crash or a hang has said where
    found = json.loads(done.stdout)
    assert found["failures"] == []
    assert done.returncode == 0
    assert {(kind, outcome) for kind, outcome, _ in found["outcomes"]} >= {
        (".safetensors", "ClassifierError"),
        (".pth", "WeightsError"),
        (".pth", "equal"),  # so not everything is refused
    }
