"""Range of values of a data set's 16-bit, 32-bit and float photos, the same for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reslab.parallel import on_all_cores
from reslab.photos.decoding.decode import SHALLOW_SUFFIXES, is_deep_file, read_values
from reslab.photos.decoding.levels import ValueRange, format_range, robust_range, sample_values
from reslab.photos.folder.digests import FILES_PER_TASK, digest_all
from reslab.photos.folder.photo_list import as_words

MAX_READ_PHOTOS = 256  # of a data set, those with the smallest digests
VALUES_PER_PHOTO = 2**14
MAX_COUNTED_PHOTOS = 16  # of those to predict, whose clipped values are counted
MAX_CLIPPED_FRACTION = 0.05  # of the values of a photo to predict, above which a warning counts them
MAX_RANGE_RATIO = 10  # between the ranges of two types of photos, beyond which they are in different units


@dataclass(frozen=True)
class DataRange:
    """Range of the values of a data set's photos of more than 8 bits. It prints as a line.

    Attributes:
        low: value that becomes black.
        high: value that becomes white.
        photos: number of these photos.
        outside: fraction of the values below `low` or above `high`, which are clipped.
        by_type: {"16-bit" or "float" or "32-bit": range of these photos}.
    """

    low: float
    high: float
    photos: int
    outside: float
    by_type: dict[str, ValueRange]

    @property
    def used_fraction(self) -> float | None:
        """Fraction of 0 to 65,535 that the values of 16-bit photos use; None for others and below 0."""
        is_unsigned = [*self.by_type] == ["16-bit"] and self.low >= 0
        return (self.high - self.low) / 65_535 if is_unsigned else None

    @property
    def mixed(self) -> bool:
        """True if the photos are of types whose values differ so much that one range does not fit them."""
        widths = [high - low for low, high in self.by_type.values()]
        return max(widths) > MAX_RANGE_RATIO * min(widths)

    @property
    def types(self) -> str:
        """Types and values as text: "16-bit, values 0 to 4,080"."""
        return f"{' and '.join(self.by_type)}, values {format_range((self.low, self.high))}"

    def __str__(self) -> str:
        if self.mixed:
            each = "; ".join(f"{name}: {format_range(values)}" for name, values in self.by_type.items())
            return (
                f"WARNING: photos of different units ({each}) get one range, "
                f"{format_range((self.low, self.high))}\n"
                "  save them in one type, or give --value-range LOW HIGH"
            )
        count = "1 photo is" if self.photos == 1 else f"{self.photos:,} photos are"
        return f"{count} {self.types}; {100 * self.outside:.1f} % of the values are outside and clipped"


class _Sample(NamedTuple):
    """Values (n,) of one photo, and the name of their type."""

    type: str
    values: NDArray[np.float64]


def find_data_range(
    folder: Path,
    paths: Sequence[str],
    digests: NDArray[np.uint8] | None = None,
    given: ValueRange | None = None,
) -> DataRange | None:
    """Find the range of the values of all photos of more than 8 bits; None without such photos.

    It leaves out the lowest and the highest thousandth of the values (`levels.robust_range`), so that hot
    pixels do not change it. Values come from MAX_READ_PHOTOS photos, VALUES_PER_PHOTO each. The result
    depends on the contents of the photos alone, not on their names or order. Of 8-bit photos at most the
    headers are read.

    Args:
        folder: folder that the paths are relative to.
        paths: the photos to train on.
        digests: (N, 16), of these photos; read if they are needed.
        given: range that the user has set, which is kept.
    """
    deep = find_deep(folder, paths)
    read = deep
    if len(deep) > MAX_READ_PHOTOS:
        known = digest_all(folder, [paths[i] for i in deep]) if digests is None else digests[deep]
        read = deep[np.argsort(as_words(known), kind="stable")[:MAX_READ_PHOTOS]]
    samples = [each for each in on_all_cores(_sample, (folder / paths[i] for i in read)) if each is not None]
    if not samples:
        return None
    by_type = {
        name: robust_range(np.concatenate([each.values for each in samples if each.type == name]))
        for name in sorted({each.type for each in samples})
    }
    values = np.concatenate([each.values for each in samples])
    low, high = given or robust_range(values)
    outside = float(np.mean((values < low) | (values > high))) if len(values) else 0.0
    return DataRange(low, high, len(deep), outside, by_type)


def note_on_values(paths: Sequence[str], value_range: ValueRange | None) -> str:
    """Return a warning if photos to predict have values that the training did not have; "" if they fit.

    Args:
        paths: the photos.
        value_range: of the model; None if it was trained on 8-bit photos.
    """
    deep = find_deep(Path(), paths)
    if not len(deep):
        return ""
    count = f"{len(deep):,} of {len(paths):,} photos have more than 8 bits"
    if value_range is None:
        return (
            f"{count}, but the model was trained on 8-bit photos: 16-bit values 0 to 65,535 become black to "
            "white, and other photos are scaled by their own values; save them with 8 bits, as for training"
        )
    chosen = deep[np.unique(np.linspace(0, len(deep) - 1, MAX_COUNTED_PHOTOS).astype(np.int64))]
    samples = [each for each in on_all_cores(_sample, (Path(paths[i]) for i in chosen)) if each is not None]
    low, high = value_range
    shares = [float(np.mean((s.values < low) | (s.values > high))) for s in samples if len(s.values)]
    clipped = sum(share > MAX_CLIPPED_FRACTION for share in shares)
    if not clipped:
        return ""
    return (
        f"{count}; in {clipped} of {len(shares)} that were measured, up to {max(shares):.0%} of the values "
        f"lie outside the range of the training, {format_range(value_range)}, and are clipped"
    )


def find_deep(folder: Path, paths: Sequence[str]) -> NDArray[np.int64]:
    """Return the indices of the photos of more than 8 bits, by headers; most suffixes rule them out."""
    possible = [i for i, path in enumerate(paths) if not path.lower().endswith(SHALLOW_SUFFIXES)]

    def look(start: int) -> list[int]:
        return [i for i in possible[start : start + FILES_PER_TASK] if is_deep_file(folder / paths[i])]

    found = on_all_cores(look, range(0, len(possible), FILES_PER_TASK))
    return np.array([i for each in found for i in each], np.int64)


def _sample(path: Path) -> _Sample | None:
    values = read_values(path)
    if values is None:
        return None
    return _Sample(_type_name(values.dtype), sample_values(values, VALUES_PER_PHOTO))


def _type_name(dtype: np.dtype[Any]) -> str:
    return "float" if dtype.kind == "f" else f"{8 * dtype.itemsize}-bit"
