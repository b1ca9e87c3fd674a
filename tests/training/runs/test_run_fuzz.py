"""Damaged run folders give true answers or errors. benchmarks/fuzz_runs.py damages 2,000."""

import pytest
from materials import fuzzed


@pytest.mark.slow
def test_150_damaged_runs_are_refused_or_give_the_same_weights() -> None:
    code, found = fuzzed("fuzz_runs.py", 150)
    assert found["failures"] == []
    assert code == 0
    outcomes = {outcome for _, outcome, _ in found["outcomes"]}
    assert outcomes >= {"refused", "same results", "same results, with a note", "nothing to do"}
