"""Damaged run folders: a true answer or one in words, and resume the same bits or none. The long version is
benchmarks/fuzz_runs.py with 2,000."""

from materials import fuzzed


def test_a_hundred_and_fifty_damaged_runs_are_refused_in_words_or_end_in_the_same_bits() -> None:
    code, found = fuzzed("fuzz_runs.py", 150)
    assert found["failures"] == []
    assert code == 0
    outcomes = {outcome for _, outcome, _ in found["outcomes"]}
    assert outcomes >= {"refused", "same bits", "same bits, and a word", "nothing to do"}
