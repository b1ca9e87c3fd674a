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
    """(kept, cut off), the second with about `fraction` of every class, and at least one photo if it can be.

    Whether a photo is cut off depends on its content and its class-mates' only: not on its name, and not on
    the order in which a disk lists the files. The first list keeps at least one photo of every class, so a
    class of equal files stays whole.
    """
    photos = list(photos)
    contents: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    classes_of: dict[str, set[int]] = defaultdict(set)
    for photo in photos:
        contents[photo.label][photo.digest] += 1
        classes_of[photo.digest].add(photo.label)
    left = {label: len(of_class) for label, of_class in contents.items()}
    chosen: set[str] = set()

    def can_go(content: str) -> bool:
        return content not in chosen and all(left[label] > 1 for label in classes_of[content])

    def choose(content: str) -> None:
        chosen.add(content)
        for label in classes_of[content]:
            left[label] -= 1

    for _, of_class in sorted(contents.items()):
        wanted = max(1, round(fraction * sum(of_class.values())))
        taken = sum(count for content, count in of_class.items() if content in chosen)  # by another class
        order = sorted(of_class, key=lambda content: key(seed, f"{purpose} {content}"))
        for content in order:
            if taken + of_class[content] <= wanted and can_go(content):
                choose(content)
                taken += of_class[content]
        if not taken:  # every content has more copies than are wanted, or cannot go
            possible = [content for content in order if can_go(content)]
            if possible:
                choose(min(possible, key=of_class.__getitem__))
    kept = [photo for photo in photos if photo.digest not in chosen]
    return kept, [photo for photo in photos if photo.digest in chosen]
