"""Damaged photos of all formats give an image or an error, fast and with little memory.

benchmarks/fuzz_photos.py tests 20,000 of them."""

import pytest
from materials import fuzzed


@pytest.mark.slow
def test_damaged_photos_give_an_image_or_an_error_and_check_agrees() -> None:
    pytest.importorskip("pillow_heif")
    code, found = fuzzed("fuzz_photos.py", 500)
    assert found["failures"] == []
    assert code == 0
    outcomes = {outcome for _, outcome, _ in found["outcomes"]}
    assert {"read", "OSError", "UnidentifiedImageError"} <= outcomes  # so some are damaged and some are not
    assert len({kind for kind, _, _ in found["outcomes"]}) >= 8
