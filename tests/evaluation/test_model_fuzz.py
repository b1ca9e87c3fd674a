"""Damaged models and weights: an equal file or an answer, soon and in little memory. The long version is
benchmarks/fuzz_models.py with 20,000."""

from materials import fuzzed


def test_five_hundred_damaged_files_are_refused_in_words_or_read_to_the_bit() -> None:
    code, found = fuzzed("fuzz_models.py", 500)
    assert found["failures"] == []
    assert code == 0
    assert {(kind, outcome) for kind, outcome, _ in found["outcomes"]} >= {
        (".safetensors", "ClassifierError"),
        (".pth", "WeightsError"),
        (".pth", "equal"),  # so not everything is refused
    }
