"""Photos of a comparison: each seed validates on what `train` with this seed validates on."""

from __future__ import annotations

from pathlib import Path

import pytest

from reslab import Photos
from reslab.lab.splits import has_own_val, seed_list, write_photo_lists


@pytest.mark.parametrize("group_by", [None, "folder", r"(anna\d)"])
def test_the_list_of_a_seed_is_the_split_of_train(tmp_path: Path, group_by: str | None) -> None:
    folder = tmp_path / "photos"
    for split, people in (("train", range(8)), ("test", range(8, 10))):
        for path in (
            folder / split / c / f"anna{p}" / f"{i}.png" for c in "xy" for p in people for i in range(3)
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(str(path).encode())
    place = tmp_path / "compare" / "photos"
    write_photo_lists(Photos(folder), has_own_val(folder), 0.2, group_by, [3, 4], place)
    for seed in (3, 4):
        listed = Photos.load(place / seed_list(seed))
        wanted = Photos(folder, val_fraction=0.2, seed=seed, group_by=group_by)
        assert (listed.train, listed.val) == (wanted.train, wanted.val)
