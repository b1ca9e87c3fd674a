"""Damaged model and weights files are refused or load exactly, fast and in little memory.

benchmarks/fuzz_models.py tests 20,000 of them.
"""

import pytest
from materials import fuzzed


@pytest.mark.slow
def test_damaged_files_are_refused_or_load_exactly() -> None:
    code, found = fuzzed("fuzz_models.py", 200)
    assert found["failures"] == []
    assert code == 0
    assert {(kind, outcome) for kind, outcome, _ in found["outcomes"]} >= {
        (".safetensors", "ClassifierError"),
        (".pth", "WeightsError"),
        (".pth", "equal"),  # damage that has no effect
    }
