"""What can be wrong with photos, one small class per kind: the docstring of each is its explanation."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, ClassVar

PARTS = ("What", "Why it spoils", "Example", "Instead")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: where, and why it counts as this kind.

    `path`: relative to the folder, None for what concerns a whole class or split. `split`: None where the
    folder is not divided into splits. `class_name`: None where no single class is concerned. `other`: the
    path of a second photo that it is about, such as the one that a copy repeats.
    """

    path: str | None
    split: str | None
    class_name: str | None
    why: str
    other: str | None = None

    kind: ClassVar[str] = ""
    spoils_training: ClassVar[bool] = False

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "path": self.path,
            "split": self.split,
            "class": self.class_name,
            "why": self.why,
            "other": self.other,
        }

    @property
    def place(self) -> str:
        """The file; else the split and the class that the finding concerns."""
        return self.path or " ".join(part for part in (self.split, self.class_name) if part) or "the folder"


def explanation(kind: type[Finding]) -> dict[str, str]:
    """{"What": ..., "Why it spoils": ..., "Example": ..., "Instead": ...}, from the class's docstring."""
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    pieces = re.split(rf"(?:^| )({'|'.join(PARTS)}): ", text)
    return {name: said.strip() for name, said in zip(pieces[1::2], pieces[2::2], strict=True)}


class Empty(Finding):
    """What: a file of zero bytes. Why it spoils: there is nothing to learn from, and a training leaves it
    out. Example: a download that ended before its first byte. Instead: fetch it again, or remove it."""

    kind = "empty file"
    spoils_training = True


class NotAnImage(Finding):
    """What: a file with an image's suffix that is no image. Why it spoils: it cannot be decoded, and a
    training leaves it out. Example: a web page saved as cat.jpg. Instead: remove it."""

    kind = "not an image"
    spoils_training = True


class Truncated(Finding):
    """What: an image whose end is missing. Why it spoils: it cannot be decoded whole, and a training leaves
    it out. Example: a download that broke off half-way. Instead: fetch it again, remove it, or train with
    --truncated keep on what is there."""

    kind = "truncated"
    spoils_training = True


class Unreadable(Finding):
    """What: a photo that cannot be opened or decoded. Why it spoils: a training leaves it out. Example: a
    file without permission to read, or with a damaged header. Instead: mend its permissions, replace or
    remove it.
    """

    kind = "unreadable"
    spoils_training = True


class Leak(Finding):
    """What: the same or nearly the same picture stands in two splits. Why it spoils: the network is tested on
    what it has seen, so the test measures memory. Example: test/dog/9.jpg is train/dog/41.jpg, saved once
    more. Instead: remove it from one of the two."""

    kind = "leak"
    spoils_training = True


class Contradiction(Finding):
    """What: the same or nearly the same picture stands in two classes. Why it spoils: one of the two labels
    is wrong, whatever the network answers. Example: train/cat/3.jpg is train/dog/8.jpg. Instead: look at it,
    and keep it in the class where it belongs."""

    kind = "contradiction"
    spoils_training = True


class TooFewClasses(Finding):
    """What: fewer than two classes have photos to train on. Why it spoils: a classifier needs at least two to
    tell apart. Example: train/cat with photos, and nothing beside it. Instead: add a folder for each further
    class."""

    kind = "too few classes"
    spoils_training = True


class UnknownClass(Finding):
    """What: val or test has photos of a class that train lacks. Why it spoils: a network cannot know what it
    was never shown, and a training refuses it. Example: test/bird, with no photos in train/bird. Instead: add
    photos of it to train, or rename or remove the folder."""

    kind = "class missing from train"
    spoils_training = True


class AlikeClasses(Finding):
    """What: two classes whose names differ by upper and lower case, or by the way that Unicode writes an
    accent, alone. Why it spoils: the network learns to tell a thing from itself. Example: train/Cat beside
    train/cat. Instead: put the photos of both into one folder."""

    kind = "classes named alike"
    spoils_training = True


class Duplicate(Finding):
    """What: the same or nearly the same picture twice in one class and split. Why it spoils: it counts twice,
    and where a validation split is cut from these photos, a near copy may fall on either side. Example:
    train/cat/3.jpg and train/cat/3 (copy).jpg. Instead: keep one of them."""

    kind = "duplicate"


class MissingClass(Finding):
    """What: a class of train has no photos in val or test. Why it spoils: what is measured there says nothing
    of this class. Example: train/bird with photos, test/bird without. Instead: move some photos of it there.
    """

    kind = "class missing from a split"


class EmptyClass(Finding):
    """What: a folder of a class holds no photos to train on. Why it spoils: the network will not know this
    class. Example: an empty train/bird. Instead: put photos into it, or remove it."""

    kind = "empty class"


class Imbalance(Finding):
    """What: a class has several times fewer photos to train on than the largest. Why it spoils: answering the
    large class is right so often that the small one is hardly learned, and accuracy hides it. Example: 4,000
    dogs and 200 cats. Instead: add photos of it, and look at the figures per class."""

    kind = "class imbalance"


class AlikeNames(Finding):
    """What: two files of one folder whose names differ by upper and lower case, or by the way that Unicode
    writes an accent, alone. Why it spoils: one replaces the other when the folder is copied to a Mac or to
    Windows. Example: A.jpg beside a.jpg. Instead: rename one of them."""

    kind = "files named alike"


class Blank(Finding):
    """What: a picture of a single colour, or nearly. Why it spoils: there is nothing in it to learn, and its
    label is noise. Example: a white page where a shop had no photo. Instead: remove it."""

    kind = "blank"


class UnderExposed(Finding):
    """What: a picture so dark that hardly anything is to be seen. Why it spoils: its label is close to noise.
    Example: a photo taken with the lens covered. Instead: look at it, and brighten or remove it."""

    kind = "under-exposed"


class OverExposed(Finding):
    """What: a picture so bright that hardly anything is to be seen. Why it spoils: its label is close to
    noise. Example: a photo taken against the sun. Instead: look at it, and remove it."""

    kind = "over-exposed"


class Tiny(Finding):
    """What: a picture far smaller than the others. Why it spoils: it is blown up until it is blurred, and the
    network may learn the blur. Example: a thumbnail of 24 x 24 pixels among photos. Instead: find the
    original, or remove it."""

    kind = "tiny"


class Stretched(Finding):
    """What: a picture several times longer than wide, or wider than long. Why it spoils: the square that the
    network sees shows a small part of it. Example: a panorama, or a banner of 900 x 80 pixels. Instead: cut
    out the part that matters."""

    kind = "extreme shape"


class Animated(Finding):
    """What: a file of several frames or pages. Why it spoils: it does so only where the first frame is not
    the one meant, for the others are never looked at. Example: a GIF that fades in from black. Instead: save
    the frame that matters as a picture of its own."""

    kind = "animated"


class OddMetadata(Finding):
    """What: a photo whose file says of itself what cannot be, so that programs show different pictures. Why
    it spoils: the network may see it on its side, stretched or in other colours than you do. Example: an EXIF
    orientation that says "turn me", on pixels that were turned already. Instead: look at it, and save it anew
    as it should look."""

    kind = "odd metadata"


class WrongSuffix(Finding):
    """What: a photo in another format than its name says. Why it spoils: it does not, for reslab looks at the
    content; other programs may refuse it. Example: a PNG called cat.jpg. Instead: rename it, if you like."""

    kind = "wrong suffix"


# What spoils a training comes first, and in the order in which to mend it.
KINDS: tuple[type[Finding], ...] = (
    *(
        Empty,
        NotAnImage,
        Truncated,
        Unreadable,
        Leak,
        Contradiction,
        TooFewClasses,
        UnknownClass,
        AlikeClasses,
    ),
    *(Duplicate, MissingClass, EmptyClass, Imbalance, AlikeNames, Blank, UnderExposed, OverExposed, Tiny),
    *(Stretched, Animated, OddMetadata, WrongSuffix),
)
