"""What is wrong with a folder as a whole: classes missing, empty, uneven; names that are nearly equal."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from .findings import (
    AlikeClasses,
    AlikeNames,
    EmptyClass,
    Finding,
    Imbalance,
    MissingClass,
    TooFewClasses,
    UnknownClass,
)

UNEVEN = 5  # times as many photos as in another class, from which on it is a finding
Counts = Mapping[str, Mapping[str, int]]  # {split: {class: photos}}


def class_faults(counts: Counts) -> Iterator[Finding]:
    """What is wrong with the classes; the split of a folder without splits is "all"."""
    learned = "train" if "train" in counts else "all"
    trained = {name: count for name, count in counts.get(learned, {}).items() if count}
    split = None if learned == "all" else learned
    if len(trained) < 2:
        why = f"one class: {next(iter(trained))}" if trained else "no photos to train on"
        yield TooFewClasses(None, split, None, why)
    for name in sorted(set(counts.get(learned, {})) - set(trained)):
        yield EmptyClass(None, split, name, "its folder has no photos")
    yield from _compare_splits(counts, trained)
    most = max(trained, key=trained.__getitem__, default="")
    for name, count in sorted(trained.items()):
        if count * UNEVEN <= trained[most]:
            times = trained[most] / count
            why = f"{_photos(count)}, where {most} has {trained[most]:,}: {times:.0f} times as many"
            yield Imbalance(None, split, name, why)
    for names in _alike(trained):
        yield AlikeClasses(None, split, names[1], f"differs from {names[0]} by {_difference(*names[:2])}")


def _compare_splits(counts: Counts, trained: Mapping[str, int]) -> Iterator[Finding]:
    for split in sorted(set(counts) - {"train", "all"}, reverse=True):
        present = {name for name, count in counts[split].items() if count}
        if not present:
            continue  # an empty split is cut anew, or done without
        for name in sorted(present - set(trained)):
            yield UnknownClass(None, split, name, f"{_photos(counts[split][name])}, and none in train")
        for name in sorted(set(trained) - present):
            yield MissingClass(None, split, name, f"{_photos(trained[name])} in train, and none here")


def name_faults(paths: Sequence[tuple[str, str | None, str]]) -> Iterator[Finding]:
    """Files of one folder whose names are nearly equal. `paths`: path, split and class of each."""
    folders: dict[str, list[tuple[str, str | None, str]]] = defaultdict(list)
    for index in _perhaps_alike(paths):
        folders[os.path.dirname(paths[index][0])].append(paths[index])
    for files in folders.values():
        where = {os.path.basename(path): (path, split, name) for path, split, name in files}
        for alike in _alike(where):
            for name in alike[1:]:
                why = f"differs from {alike[0]} by {_difference(alike[0], name)}"
                yield AlikeNames(*where[name], why, where[alike[0]][0])


def _perhaps_alike(paths: Sequence[tuple[str, str | None, str]]) -> list[int]:
    """The few, of perhaps a million, that share folder and plain name with another: eight bytes for each."""
    hashes = (hash((os.path.dirname(path), _plain(os.path.basename(path)))) for path, _, _ in paths)
    shared, counts = np.unique(known := np.fromiter(hashes, np.int64, len(paths)), return_counts=True)
    return np.flatnonzero(np.isin(known, shared[counts > 1])).tolist()


def _plain(name: str) -> str:
    """The same for names that a Mac or Windows takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that a Mac or Windows takes for one."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[_plain(name)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _difference(one: str, other: str) -> str:
    same = unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other)
    return "the way Unicode writes an accent" if same else "upper and lower case"


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count:,} photos"
