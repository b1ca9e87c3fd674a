"""Labels in the names of photos: cat.0.jpg, great_pyrenees_12.jpg, n01440764_10026.JPEG, "cat (1).jpg"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

LAST_NUMBERS = re.compile(r"([ ._-]+\(?\d+\)?)+$")
LAST_NUMBER = re.compile(r"[ ._-]+\(?\d+\)?$")
WORDNET = re.compile(r"n\d{8}")
# Cameras, telephones and programs begin every name with these; people number subjects with the last ones.
NOT_CLASSES = {
    *("img", "image", "images", "photo", "photos", "pic", "picture", "pict", "dsc", "dscn", "dscf", "dcim"),
    *("p", "pxl", "gopr", "mvi", "vid", "video", "movie", "mov", "clip", "sam", "cimg", "imgp"),
    *("screenshot", "screen", "scan", "frame", "file", "foto", "bild", "untitled", "download", "whatsapp"),
    *("signal", "received", "sample", "isic", "crop", "tile", "patch", "slice", "id", "index", "item"),
    *("patient", "subject", "person", "user", "case", "session", "series", "study", "camera", "cam"),
}


@dataclass(frozen=True)
class NamedClasses:
    """Classes that the names of photos give.

    Attributes:
        classes: {class: paths}, in the order of the paths; {} if the names give none.
        others: paths of the photos whose name has no class.
        why_not: reason why the names give no classes, or "".
    """

    classes: dict[str, list[str]]
    others: list[str]
    why_not: str = ""


def classes_by_name(paths: Iterable[str]) -> NamedClasses:
    """Return the classes in the names of photos: the part before the number at the end.

    It is empty where two readings are possible: names of a camera, dates, numbered subjects, a class in
    which nearly every photo would be alone, or two numbers that may both belong to the class.

    Args:
        paths: paths of photos in one folder.
    """
    classes, longer, others = dict[str, list[str]](), set[str](), list[str]()
    for path in paths:
        stem = PurePath(path).stem
        name = LAST_NUMBERS.sub("", stem)
        if name == stem or not any(map(str.isalpha, name)):
            others.append(path)
        else:
            classes.setdefault(name, []).append(path)
            longer.add(LAST_NUMBER.sub("", stem))
    named = sum(map(len, classes.values()))
    if why := _why_not(classes, longer, named, len(others)):
        return NamedClasses({}, [*others, *(path for of in classes.values() for path in of)], why)
    return NamedClasses(classes, others)


def _why_not(classes: Mapping[str, list[str]], longer: set[str], named: int, others: int) -> str:
    """Return why these are not classes, or "".

    Args:
        classes: {class: paths}.
        longer: the names without their last number alone.
        named: number of photos in `classes`.
        others: number of photos without a class in their name.
    """
    if named <= others:
        names = f"{others:,} of {named + others:,} names" if others else "no names"
        return f"{names} have no number after a class, as in cat.0.jpg"
    first = next(iter(classes))
    if len(classes) == 1:
        return f"every name begins with the same word, {first}"
    if camera := next((name for name in classes if _words(name) & NOT_CLASSES), None):
        return f"{camera!r} has a word that cameras and programs put into any name"
    if 2 * len(classes) > named:
        return f"{named:,} names begin with {len(classes):,} words, so nearly every photo would be a class"
    plain = {re.sub(r"\d+", "0", name) for name in classes}
    if len(plain) == 1 and not all(WORDNET.fullmatch(name) for name in classes):
        return f"the words differ by a number alone, such as {' and '.join(sorted(classes)[:2])}"
    if len(classes) < len(longer) < named:
        example = next(name for name in sorted(longer) if name not in classes)
        short = next((name for name in classes if example.startswith(name)), first)
        return f"two readings are possible: the class of {example}_... may be {short} or {example}"
    return ""


def _words(name: str) -> set[str]:
    return set(re.split(r"[\W\d_]+", name.casefold()))
