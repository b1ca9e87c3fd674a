"""Properties of the files, such as format and width, and the recall of each class from one of them alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .class_recall import FOLDS, Recall, folds_of, recall_of
from .photo_stats import PhotoStats

Value = str | float
PROPERTIES: dict[
    str, Callable[[PhotoStats], Value]
] = {  # of two that tell a class equally, the first is named
    "format": lambda stats: stats.format,
    "EXIF camera": lambda stats: stats.camera,
    "color mode": lambda stats: stats.mode,
    "JPEG quantization": lambda stats: stats.quantization,
    "width": lambda stats: stats.width,
    "height": lambda stats: stats.height,
    "aspect ratio": lambda stats: stats.width / stats.height,
    "file size": lambda stats: stats.file_size,
}
MAX_BINS = 16  # of a number: quantiles, unless it has no more values than this


def property_recalls(stats: Sequence[PhotoStats], labels: NDArray[np.int64]) -> dict[str, Recall]:
    """Return {property: recall of each class from this property alone}.

    A number with more than MAX_BINS values is cut at its quantiles. The score of a value is its frequency in
    the class over its frequency in the others, in four of five folds. File names are no property: a network
    never gets them.

    Args:
        stats: N statistics.
        labels: (N,), from 0 to K - 1.
    """
    members = labels[:, None] == np.arange(labels.max() + 1)  # (N, K)
    folds, recalls = folds_of(labels), dict[str, Recall]()
    for name, value_of in PROPERTIES.items():
        values = _binned([value_of(one) for one in stats])  # (N,)
        scores = np.zeros(members.shape)
        for fold in range(FOLDS):
            x, y = values[folds != fold], members[folds != fold]
            inside = np.zeros((values.max() + 1, members.shape[1]))  # (values, K), counts
            np.add.at(inside, x, y)
            others = inside.sum(axis=1, keepdims=True) - inside
            ratio = (inside / y.sum(axis=0) + 1e-3) / (others / (~y).sum(axis=0) + 1e-3)
            scores[folds == fold] = ratio[values[folds == fold]]
        recalls[name] = recall_of(scores, members)
    return recalls


def typical_value(name: str, stats: Sequence[PhotoStats]) -> str:
    """Return the most frequent value of a property with its share, or the median of numbers, as text."""
    values = [PROPERTIES[name](one) for one in stats]
    ((value, count),) = Counter(values).most_common(1)
    if isinstance(value, str) or count > len(values) / 2:
        text = value or "none" if isinstance(value, str) else f"{value:.4g}"
        return f"{text} in {count / len(values):.0%}"
    return f"median {np.median(np.array(values, float)):.4g}"


def _binned(values: Sequence[Value]) -> NDArray[np.int64]:
    """Return the index of each value, 0 to the number of values; of many numbers that of its quantile."""
    array = np.array(values)
    distinct, index = np.unique(array, return_inverse=True)
    if len(distinct) <= MAX_BINS or array.dtype.kind == "U":
        return index
    edges = np.quantile(array, np.linspace(0, 1, MAX_BINS + 1)[1:-1])
    return np.searchsorted(edges, array, side="right")
