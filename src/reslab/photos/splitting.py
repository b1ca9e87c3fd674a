"""Cuts one list of photos in two, stratified by class and by content, so that equal files stay together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol, TypeVar

from ..randomness import key


class Labelled(Protocol):
    @property
    def label(self) -> int: ...
    @property
    def digest(self) -> str: ...


P = TypeVar("P", bound=Labelled)


def cut(photos: Iterable[P], fraction: float, seed: int, purpose: str) -> tuple[list[P], list[P]]:
    """(kept, cut off), the second with about `fraction` of every class and at least one of its photos.

    Whether a photo is cut off depends on its content and its class-mates' only: not on its name, and not on
    the order in which a disk lists the files. A class with one content stays whole in the first list.
    """
    photos = list(photos)
    contents: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for photo in photos:
        contents[photo.label][photo.digest] += 1
    chosen: set[str] = set()
    for of_class in contents.values():
        if len(of_class) < 2:
            continue
        total = sum(of_class.values())
        wanted = max(1, round(fraction * total))
        taken = sum(count for content, count in of_class.items() if content in chosen)  # by another class
        for content in sorted(of_class, key=lambda content: key(seed, f"{purpose} {content}")):
            if content in chosen:
                continue
            if taken >= wanted or taken + of_class[content] >= total:
                break
            chosen.add(content)
            taken += of_class[content]
    kept = [photo for photo in photos if photo.digest not in chosen]
    return kept, [photo for photo in photos if photo.digest in chosen]
