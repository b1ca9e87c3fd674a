"""Groups of photos stay in one split, by folder or by a pattern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab import Photo, PhotoList, Photos
from reslab.errors import PhotosError, UsageError
from reslab.photos.folder.split import split_off


def fill(folder: Path, *paths: str) -> Path:
    """Write files of different bytes; nothing is decoded."""
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(path.encode())
    return folder


def groups_of(photos: Photos, part: int) -> dict[str, set[str]]:
    """Return {group: splits that it is in}, where the group is a part of each path."""
    found = defaultdict[str, set[str]](set)
    for split, of in photos.splits.items():
        for photo in of:
            found[photo.path.split("/")[part]].add(split)
    return found


def patients(folder: Path) -> Path:
    """Write 10 patients with 4 photos in each of two classes."""
    return fill(
        folder, *(f"{c}/patient{p}/{i}.png" for c in ("ill", "well") for p in range(10) for i in range(4))
    )


@pytest.mark.parametrize("by", ["folder", r"(patient\d+)"])
def test_a_group_is_in_one_split_also_across_classes(tmp_path: Path, by: str) -> None:
    photos = Photos(patients(tmp_path), group_by=by, val_fraction=0.25, test_fraction=0.2)
    found = groups_of(photos, 1)
    assert [len(splits) for splits in found.values()] == [1] * 10
    assert [len(of) for of in photos.splits.values()] == [48, 16, 16]
    assert f"groups by {by}: 10 in 80 photos, each in one split" in photos.notes
    assert photos == Photos(tmp_path, group_by=by, val_fraction=0.25, test_fraction=0.2)
    assert any(len(splits) > 1 for splits in groups_of(Photos(tmp_path), 1).values())


def test_names_of_groups_do_not_matter(tmp_path: Path) -> None:
    before = Photos(patients(tmp_path), group_by="folder")
    for path in sorted(tmp_path.glob("*/*")):
        path.rename(path.with_name(f"renamed {path.name}"))
    after = Photos(tmp_path, group_by="folder")
    for split in ("train", "val", "test"):
        assert set(map(bytes, after.splits[split].digests)) == set(map(bytes, before.splits[split].digests))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 2)), min_size=1, max_size=40),
    st.floats(0.05, 0.95),
)
def test_neither_groups_nor_equal_files_are_torn(rows: list[tuple[int, int, int]], fraction: float) -> None:
    photos = PhotoList.of(Photo(f"{i}.jpg", label, f"{c:032x}") for i, (c, _, label) in enumerate(rows))
    groups = np.array([group for _, group, _ in rows])
    kept, off = split_off(photos, fraction, 0, "val split", groups)
    assert sorted(kept.paths + off.paths) == sorted(photos.paths)
    first, second = ({int(path[:-4]) for path in part.paths} for part in (kept, off))
    for column in (0, 1):
        assert not {rows[i][column] for i in first} & {rows[i][column] for i in second}
    assert set(photos.labels.tolist()) == set(kept.labels.tolist())  # every class keeps photos


def test_without_groups_the_split_is_as_it_was() -> None:
    photos = PhotoList.of(Photo(f"{i}.jpg", i % 2, f"{i:032x}") for i in range(50))
    alone = np.arange(50)
    assert split_off(photos, 0.2, 0, "val split", alone) == split_off(photos, 0.2, 0, "val split")


def test_what_cannot_be_kept_together_is_refused(
    tmp_path: Path, refuses: Callable[..., AbstractContextManager[None]]
) -> None:
    one = fill(
        tmp_path / "one", *(f"cat/{p}/{i}.png" for p in "ab" for i in range(3)), "dog/a/1.png", "dog/a/2.png"
    )
    with refuses(PhotosError, "dog has one group, a, with all of its 2 photos"):
        Photos(one, group_by="folder")
    torn = fill(
        tmp_path / "torn", *(f"{s}/{c}/{p}/1.png" for s in ("train", "test") for c in "xy" for p in "ab")
    )
    with refuses(PhotosError, "2 groups are in both train and test, the first is a"):
        Photos(torn, group_by="folder")
    with refuses(PhotosError, "8 of 8 photos belong to no group", "cat/a/0.png"):
        Photos(one, group_by=r"(patient\d)")
    with refuses(UsageError, "is not a regular expression"):
        Photos(one, group_by="([")
    for pattern, count in (("cat", 0), ("(c)(a)", 2)):
        with refuses(UsageError, f"has {count} groups"):
            Photos(one, group_by=pattern)
