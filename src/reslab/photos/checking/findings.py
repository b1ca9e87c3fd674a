"""Kinds of findings, one small class each, with the explanation that users see as its docstring."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any, ClassVar

PARTS = ("What", "Why it spoils", "Example", "Instead")


@dataclass(frozen=True)
class Finding:
    """A problem of a photo, a class or a split. Its class is its kind: Leak, Duplicate, Blank ...

    Attributes:
        path: path of the photo, relative to the folder; None for a problem of a class or a split.
        split: "train", "val" or "test"; None in a folder without splits.
        class_name: name of the class; None for a problem of several classes.
        why: what was found, with numbers.
        other: path of a second photo, such as the one that this one duplicates.
        kind: name of the kind, as printed.
        spoils_training: whether this kind would spoil a training.
    """

    path: str | None
    split: str | None
    class_name: str | None
    why: str
    other: str | None = None

    kind: ClassVar[str] = ""
    spoils_training: ClassVar[bool] = False

    def as_json(self) -> dict[str, Any]:
        """Return {"kind", "path", "split", "class", "why", "other"}."""
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
        """Path of the photo; without one, split and class as in "train cat"; else "the folder"."""
        return self.path or " ".join(part for part in (self.split, self.class_name) if part) or "the folder"


def explanation(kind: type[Finding]) -> dict[str, str]:
    """Return the four parts of a kind's docstring: {"What", "Why it spoils", "Example", "Instead"}.

    Each is one line of text. "What" starts in lower case, to follow the kind's name.
    """
    text = " ".join(inspect.cleandoc(kind.__doc__ or "").split())
    pieces = re.split(rf" (?:{'|'.join(PARTS[1:])}): ", text)
    return dict(zip(PARTS, [pieces[0][0].lower() + pieces[0][1:], *pieces[1:]], strict=True))


class Leak(Finding):
    """The same or nearly the same photo in two splits. Why it spoils: the network is tested on a photo
    that it was trained on, so the test measures memory. Example: test/dog/9.jpg is train/dog/41.jpg, saved
    again. Instead: remove one of the two."""

    kind = "leak"
    spoils_training = True


class Contradiction(Finding):
    """The same or nearly the same photo in two classes. Why it spoils: one of the two labels is wrong.
    Example: train/cat/3.jpg is train/dog/8.jpg. Instead: look at it, and keep it only in the right class."""

    kind = "contradiction"
    spoils_training = True


class TooFewClasses(Finding):
    """Fewer than two classes have photos to train on. Why it spoils: a classifier needs at least two
    classes. Example: train/cat with photos, and no other folder. Instead: add a folder for each further
    class."""

    kind = "too few classes"
    spoils_training = True


class UnknownClass(Finding):
    """Val or test has photos of a class that train lacks. Why it spoils: a network can only learn
    classes that it is trained on, and a training refuses these photos. Example: test/bird, with no photos in
    train/bird. Instead: add photos of it to train, or rename or remove the folder."""

    kind = "class missing from train"
    spoils_training = True


class MostlyUnreadable(Finding):
    """More than half of the photos of a class or split cannot be read. Why it spoils: the folder is wrong
    or a decoder is missing, and a training refuses to start. Example: HEIC photos without pillow-heif.
    Instead: look at the reasons, and install the decoder or replace the photos."""

    kind = "mostly unreadable"
    spoils_training = True


class AlikeClasses(Finding):
    """Two classes whose names differ only by upper and lower case, or by the way that Unicode writes an
    accent. Why it spoils: they are probably one class, and the network is trained to distinguish its photos.
    Example: train/Cat and train/cat. Instead: put the photos of both into one folder."""

    kind = "classes named alike"
    spoils_training = True


class PlaceBetraysClass(Finding):
    """A place at the border of the photos from which a class can be recognized far better than from the
    middle, where the object is. Why it spoils: the network learns this place instead of the object, and fails
    on photos without it. Example: a shop's logo in the corner of every cat. Instead: look at this place in
    photos of each class, and crop it off all of them."""

    kind = "a place betrays the class"
    spoils_training = True


class FilePropertyBetraysClass(Finding):
    """A property of the files from which a class can be recognized far better than from the middle of the
    photos. Why it spoils: the classes come from different sources, and the network learns their traces, such
    as blur or JPEG blocks. Example: cats from a phone, dogs from the web at half the size. Instead: collect
    all classes from the same sources, or save all photos at one size in one format."""

    kind = "a file property betrays the class"
    spoils_training = True


class Empty(Finding):
    """A file of zero bytes. Why it spoils: there is nothing to learn from, and a training skips it.
    Example: a download that failed before its first byte. Instead: download it again, or remove it."""

    kind = "empty file"


class NotAnImage(Finding):
    """A file with an image's suffix that is not an image. Why it spoils: it cannot be decoded, and a
    training skips it. Example: a web page saved as cat.jpg. Instead: remove it."""

    kind = "not an image"


class Truncated(Finding):
    """A photo whose end is missing. Why it spoils: it cannot be decoded completely, and a training
    skips it. Example: a download that was interrupted. Instead: download it again, remove it, or train with
    --truncated keep to use the part that exists."""

    kind = "truncated"


class Unreadable(Finding):
    """A photo that cannot be opened or decoded. Why it spoils: a training skips it. Example: a file
    that you have no permission to read, or one with a damaged header. Instead: correct its permissions,
    replace it or remove it."""

    kind = "unreadable"


class Duplicate(Finding):
    """The same or nearly the same photo twice in one class and split. Why it spoils: it counts twice,
    and where a validation split is cut from these photos, a near duplicate may get into it. Example:
    train/cat/3.jpg and train/cat/3 (copy).jpg. Instead: keep one of them."""

    kind = "duplicate"


class MissingClass(Finding):
    """A class of train has no photos in val or test. Why it spoils: the figures of that split do not
    cover this class. Example: train/bird with photos, test/bird without. Instead: move some photos of it
    there."""

    kind = "class missing from a split"


class EmptyClass(Finding):
    """A class folder without photos to train on. Why it spoils: the network will not know this class.
    Example: an empty train/bird. Instead: put photos into it, or remove it."""

    kind = "empty class"


class SinglePhoto(Finding):
    """A class with one photo to train on. Why it spoils: one photo cannot be both trained on and validated.
    Example: train/bird with 1.jpg alone. Instead: add photos of it, or leave the class out."""

    kind = "class of one photo"


class Imbalance(Finding):
    """A class has several times fewer photos to train on than the largest. Why it spoils: predicting
    the large class is right so often that the small one is hardly learned, and accuracy hides it. Example:
    4,000 dogs and 200 cats. Instead: add photos of it, and read the figures of each class."""

    kind = "class imbalance"


class AlikeNames(Finding):
    """Two files of one folder whose names differ only by upper and lower case, or by the way that
    Unicode writes an accent. Why it spoils: one replaces the other when the folder is copied to a Mac or to
    Windows. Example: A.jpg and a.jpg. Instead: rename one of them."""

    kind = "files named alike"


class Blank(Finding):
    """A photo of a single color, or nearly. Why it spoils: there is nothing in it to learn, and its
    label is noise. Example: a white page where a shop had no photo. Instead: remove it."""

    kind = "blank"


class UnderExposed(Finding):
    """A photo so dark that hardly anything is visible. Why it spoils: its label is close to noise.
    Example: a photo taken with the lens covered. Instead: look at it, and brighten or remove it."""

    kind = "under-exposed"


class OverExposed(Finding):
    """A photo so bright that hardly anything is visible. Why it spoils: its label is close to noise.
    Example: a photo taken against the sun. Instead: look at it, and remove it."""

    kind = "over-exposed"


class Tiny(Finding):
    """A photo far smaller than the others. Why it spoils: it is enlarged until it is blurred, and the
    network may learn the blur. Example: a thumbnail of 24 x 24 pixels among photos. Instead: find the
    original, or remove it."""

    kind = "tiny"


class Stretched(Finding):
    """A photo several times longer than wide, or wider than long. Why it spoils: the square that the
    network gets shows a small part of it. Example: a panorama, or a banner of 900 x 80 pixels. Instead: cut
    out the part that matters."""

    kind = "extreme shape"


class Animated(Finding):
    """A file of several frames or pages. Why it spoils: only the first frame is used, which may not be
    the right one. Example: a GIF that fades in from black. Instead: save the frame that matters as a photo of
    its own."""

    kind = "animated"


class OddMetadata(Finding):
    """A photo with metadata that contradict its pixels, so that programs show different images. Why it
    spoils: the network may get it on its side or in other colors than you see. Example: an EXIF orientation
    for pixels that are turned already. Instead: look at it, and save it again as it should look."""

    kind = "odd metadata"


class PartOfRange(Finding):
    """Photos of more than 8 bits whose values use a small part of their range. Why it spoils: it does
    not if the whole folder uses this part, since a training finds the range; a single photo, or 16-bit
    color, becomes a few levels. Example: 12-bit values in 16-bit PNGs. Instead: scale the values of single
    photos and of color, and save them again."""

    kind = "part of its range"


class LongPhotos(Finding):
    """Photos so long that the center crop cuts much of them off. Why it spoils: the object may be in the
    part that the network never gets. Example: street views of 1,600 x 600 pixels. Instead: look at them, and
    train with --fit pad or --fit squash, which keep all of them."""

    kind = "long photos"


class WrongSuffix(Finding):
    """A photo in another format than its name says. Why it spoils: it does not, since reslab reads the
    content; other programs may refuse it. Example: a PNG named cat.jpg. Instead: rename it, if you like."""

    kind = "wrong suffix"


KINDS = tuple(Finding.__subclasses__())  # in the order above, in which to fix them
UNREADABLE_KINDS = (Empty, NotAnImage, Truncated, Unreadable)  # a training skips these photos
