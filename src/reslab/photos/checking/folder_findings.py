"""Problems of a folder as a whole: missing, empty and uneven classes, and names that differ only by case."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from .findings import (
    AlikeClasses,
    AlikeNames,
    EmptyClass,
    Finding,
    Imbalance,
    MissingClass,
    SinglePhoto,
    TooFewClasses,
    UnknownClass,
)
from .folder_stats import FolderPhotos, FoundPhoto

IMBALANCE_RATIO = 5  # the largest class has at least this many times the photos of another
Counts = Mapping[str, Mapping[str, int]]  # {split: {class: photos}}


def class_findings(counts: Counts) -> Iterator[Finding]:
    """Yield problems of the classes: too few, empty, missing from a split, uneven or named alike.

    Args:
        counts: {split: {class: number of photos}}; the split of a folder without splits is "all".
    """
    learned = "train" if "train" in counts else "all"
    trained = {name: count for name, count in counts.get(learned, {}).items() if count}
    split = None if learned == "all" else learned
    if len(trained) < 2:
        why = f"only one class: {next(iter(trained))}" if trained else "no photos to train on"
        yield TooFewClasses(None, split, None, why)
    for name in sorted(set(counts.get(learned, {})) - set(trained)):
        yield EmptyClass(None, split, name, "its folder has no photos")
    for name, count in sorted(trained.items()):
        if count == 1:
            yield SinglePhoto(None, split, name, "1 photo")
    yield from _compare_splits(counts, trained)
    most = max(trained, key=trained.__getitem__, default="")
    for name, count in sorted(trained.items()):
        if count * IMBALANCE_RATIO <= trained[most]:
            times = trained[most] / count
            why = f"{_photos(count)}; {most} has {trained[most]:,}, {times:.0f} times as many"
            yield Imbalance(None, split, name, why)
    for names in _similar(trained):
        why = f"differs from {names[0]} only by {_difference(*names[:2])}"
        yield AlikeClasses(None, split, names[1], why)


def _compare_splits(counts: Counts, trained: Mapping[str, int]) -> Iterator[Finding]:
    """Yield the classes that val or test has and train lacks, and the reverse; empty splits are ignored."""
    for split in sorted(set(counts) - {"train", "all"}, reverse=True):
        present = {name for name, count in counts[split].items() if count}
        if not present:
            continue  # Photos cuts an empty split off train, or does without
        for name in sorted(present - set(trained)):
            yield UnknownClass(None, split, name, f"{_photos(counts[split][name])}, but none in train")
        for name in sorted(set(trained) - present):
            yield MissingClass(None, split, name, f"{_photos(trained[name])} in train, but none here")


def name_findings(files: FolderPhotos) -> Iterator[Finding]:
    """Yield an AlikeNames for each file whose name a Mac or Windows confuses with another one's.

    Only files of the same folder are compared. The first name of each group, by sorting, is the `other` of
    the findings for the rest.
    """
    hashed = (hash((folder, _normalized(name))) for folder, name in map(os.path.split, files.paths))
    hashes = np.fromiter(hashed, np.int64, len(files))  # 8 bytes a photo: only repeated ones are compared
    repeated, counts = np.unique(hashes, return_counts=True)
    folders: dict[str, list[FoundPhoto]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(hashes, repeated[counts > 1])).tolist():
        folders[os.path.dirname(files.paths[index])].append(files[index])
    for inside in folders.values():
        by_name = {os.path.basename(photo.path): photo for photo in inside}
        for first, *others in _similar(by_name):
            for name in others:
                why = f"differs from {first} only by {_difference(first, name)}"
                yield AlikeNames(*by_name[name], why, by_name[first].path)


def _normalized(name: str) -> str:
    """Return the name in NFC and without case: equal if a Mac or Windows does not distinguish two names."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _similar(names: Iterable[str]) -> list[list[str]]:
    """Return groups of two or more names that a Mac or Windows does not distinguish, each sorted."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[_normalized(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _difference(one: str, other: str) -> str:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return "the way Unicode writes an accent" if same else "upper and lower case"


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"
