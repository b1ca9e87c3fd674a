"""Damaged photos of every format: a picture or an answer, soon and in little memory. The long version is
benchmarks/fuzz_photos.py with 20,000."""

import pytest
from materials import fuzzed


def test_five_hundred_damaged_photos_are_pictures_or_answers_and_check_agrees() -> None:
    pytest.importorskip("pillow_heif")
    code, found = fuzzed("fuzz_photos.py", 500)
    assert found["failures"] == []
    assert code == 0
    outcomes = {outcome for _, outcome, _ in found["outcomes"]}
    assert {"read", "OSError", "UnidentifiedImageError"} <= outcomes  # so the damage is neither none nor all
    assert len({kind for kind, _, _ in found["outcomes"]}) >= 8
