"""Groups of photos that stay in one split: all photos of a patient, a video or a session."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reslab.errors import PhotosError, UsageError
from reslab.text import printable

from .layout import ALL_SPLIT_NAMES
from .photo_list import PhotoList

FOLDER = "folder"
EXAMPLE = r"--group-by folder, or a pattern with one group in brackets: --group-by '(patient\d+)'"


def group_numbers(photos: PhotoList, classes: Sequence[str], by: str) -> NDArray[np.int64]:
    """Return the number of each photo's group, (N,): equal for photos of one group.

    Args:
        photos: photos with paths and labels.
        classes: names of the classes.
        by: "folder" or a pattern, see `group_names`.
    """
    return np.unique(group_names(photos, classes, by), return_inverse=True)[1].reshape(-1)


def group_names(photos: PhotoList, classes: Sequence[str], by: str) -> list[str]:
    r"""Return the name of each photo's group.

    Args:
        photos: photos with paths and labels.
        classes: names of the classes.
        by: "folder": the folders of the photo below its split and class, so that cat/anna/1.jpg and
            dog/anna/2.jpg are one group; of a photo that is in no such folder, its class. Or a regular
            expression with one group in brackets, which is searched in the path: r"(patient\d+)".

    Raises:
        UsageError: the pattern is not valid or has not exactly one group.
        PhotosError: the pattern is not found in a path.
    """
    paths = [path.replace("\\", "/") for path in photos.paths]
    if by == FOLDER:
        return [_folder(path, classes[label]) for path, label in zip(paths, photos.labels, strict=True)]
    try:
        pattern = re.compile(by)
    except re.error as error:
        raise UsageError(f"group_by {by!r} is not a regular expression", str(error), EXAMPLE) from error
    if pattern.groups != 1:
        raise UsageError(f"group_by {by!r} has {pattern.groups} groups", "it needs exactly one", EXAMPLE)
    found = [pattern.search(path) for path in paths]
    if missing := [path for path, match in zip(paths, found, strict=True) if not match or not match[1]]:
        first = printable(missing[0])
        raise PhotosError(
            f"{len(missing):,} of {len(paths):,} photos belong to no group, the first is {first}",
            f"the pattern {by!r} does not name a group in these paths",
            "change the pattern so that it fits every path",
        )
    return [match[1] for match in found if match]


def group_note(folder: Path, splits: Mapping[str, PhotoList], classes: Sequence[str], by: str) -> str:
    """Return a line with the number of groups and of splits to cut, after checking that they can be cut.

    Args:
        folder: folder of the photos, for errors.
        splits: {split: photos} as they were found: "all", or train and perhaps val and test.
        classes: names of the classes.
        by: see `group_names`.

    Raises:
        PhotosError: two splits share a group, or a class to be split has one group only.
        UsageError: the pattern is not valid.
    """
    names = {split: group_names(photos, classes, by) for split, photos in splits.items()}
    for (first, of_first), (second, of_second) in combinations(names.items(), 2):
        if shared := sorted(set(of_first) & set(of_second)):
            example = printable(shared[0])
            raise PhotosError(
                f"{len(shared):,} groups are in both {first} and {second}, the first is {example}",
                f"the splits of {folder} divide them already",
                "move each group into one split, or leave --group-by out",
            )
    cut = "all" if "all" in splits else "train" if not splits.get("val") else None
    if cut is None:
        return f"groups by {by}: {sum(len(set(of)) for of in names.values()):,}, each in one split"
    groups_of = Counter(label for label, _ in set(zip(splits[cut].labels.tolist(), names[cut], strict=True)))
    label, count = min(groups_of.items(), key=lambda item: (item[1], item[0]))
    if count == 1:
        photos = int((splits[cut].labels == label).sum())
        name = next(n for n, of in zip(names[cut], splits[cut].labels, strict=True) if of == label)
        raise PhotosError(
            printable(f"the class {classes[label]} has one group, {name}, with all of its {photos:,} photos"),
            "a group stays in one split, so this class cannot be both trained on and validated",
            f"add photos of another group to this class in {folder}, or group by something else",
        )
    line = f"groups by {by}: {len(set(names[cut])):,} in {len(names[cut]):,} photos, each in one split"
    few = [classes[label] for label, count in groups_of.items() if count < 3 and cut == "all"]
    if few:
        line += f"; too few for all three splits in {printable(', '.join(sorted(few)))}"
    return line


def _folder(path: str, class_name: str) -> str:
    parts = path.split("/")[:-1]
    if parts and parts[0].lower() in ALL_SPLIT_NAMES:
        parts = parts[1:]
    if parts and parts[0] == class_name:
        parts = parts[1:]
    return "/".join(parts) or class_name
