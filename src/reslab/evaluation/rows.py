"""PhotoRows: one row per photo of an evaluation, with label, probabilities and loss; a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reslab import files
from reslab.errors import ClassifierError
from reslab.files import user_path

from .probabilities import cross_entropies, softmax

TEST_ROWS_NAME = "test.csv"  # in a run folder
FIRST_COLUMNS = ("path", "label", "predicted", "loss")  # a column per class follows


@dataclass(frozen=True, eq=False)
class PhotoRows:
    """Predictions of a classifier for photos with known labels, one row per photo.

    Attributes:
        classes: class names, in the order of the logits.
        folder: folder that the relative paths begin in.
        paths: N paths, relative and with / inside `folder`, else absolute.
        labels: (N,), true classes as indices into `classes`.
        probabilities: (N, num_classes), each row sums to 1; the temperature is applied.
        losses: (N,), cross-entropy in nats.
    """

    classes: tuple[str, ...]
    folder: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    losses: NDArray[np.float64]

    @classmethod
    def from_logits(
        cls,
        logits: NDArray[Any],
        labels: NDArray[np.int64],
        classes: Sequence[str],
        *,
        temperature: float = 1.0,
        folder: Path = Path(),
        paths: Sequence[str] = (),
    ) -> PhotoRows:
        """Return the rows of logits (N, num_classes) for labels (N,).

        Args:
            logits: of the network, without a temperature.
            labels: indices into `classes`.
            classes: class names, in the order of the logits.
            temperature: divides the logits.
            folder: folder that the relative paths begin in.
            paths: N paths; by default the numbers of the photos, from 0.
        """
        scaled = logits / temperature
        return cls(
            tuple(classes),
            folder,
            tuple(paths) or tuple(map(str, range(len(labels)))),
            labels,
            softmax(scaled),
            cross_entropies(scaled, labels),
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __str__(self) -> str:
        return f"PhotoRows({len(self):,} photos, {len(self.classes)} classes)"

    __repr__ = __str__

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(N,), most probable classes as indices into `classes`."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(N,), True where the most probable class is the label."""
        return self.predicted == self.labels

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """(N,), probability of the most probable class, 0 to 1."""
        return self.probabilities.max(axis=1)

    @property
    def most_frequent(self) -> tuple[str, float]:
        """The class with most photos, and its share: the accuracy of always answering it."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return self.classes[int(counts.argmax())], float(counts.max() / len(self))

    @cached_property
    def mistakes(self) -> NDArray[np.int64]:
        """Indices of the photos with a wrong prediction, the surest first."""
        wrong = np.flatnonzero(~self.correct)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")]

    def file(self, index: int) -> Path:
        """Return the path of photo `index`, with `folder` in front of a relative one."""
        return self.folder / self.paths[index]

    def write(self, path: Path | str) -> None:
        """Write a CSV file: a header, then a row per photo. An existing file is replaced as a whole.

        The columns are path, label, predicted, loss, and the probability of each class under its name.
        Numbers are written with all their digits, so that `read` returns the same ones.

        Args:
            path: file to write, in a folder that exists.

        Raises:
            OSError: the file cannot be written.
        """
        columns = zip(
            self.paths,
            self.labels.tolist(),
            self.predicted.tolist(),
            self.losses.tolist(),
            self.probabilities.tolist(),
            strict=True,
        )
        lines = (
            [name, self.classes[label], self.classes[predicted], loss, *probabilities]
            for name, label, predicted, loss, probabilities in columns
        )
        files.write_csv(user_path(path), chain([[*FIRST_COLUMNS, *self.classes]], lines))

    @classmethod
    def read(cls, path: Path | str, folder: Path | str = ".") -> PhotoRows:
        """Read a file that `write` wrote.

        Args:
            path: the CSV file, such as a run's test.csv.
            folder: folder that the relative paths begin in, which the file does not name.

        Raises:
            ClassifierError: the file is missing, cannot be read or has another content.
        """
        path = user_path(path)
        try:
            with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                header, *lines = csv.reader(file)
        except OSError as error:
            raise ClassifierError(
                f"{path} cannot be read", error.strerror or str(error), "write it: reslab evaluate --rows"
            ) from error
        except (ValueError, csv.Error) as error:  # ValueError: the file is empty
            raise _damaged(path, str(error)) from error
        classes = tuple(header[len(FIRST_COLUMNS) :])
        if tuple(header[: len(FIRST_COLUMNS)]) != FIRST_COLUMNS or not classes or not lines:
            raise _damaged(path, "it has no rows, or does not begin with path, label, predicted, loss")
        try:
            numbers = np.array([line[3:] for line in lines], np.float64).reshape(len(lines), -1)
            return cls(
                classes,
                user_path(folder),
                tuple(line[0] for line in lines),
                np.array([classes.index(line[1]) for line in lines], np.int64),
                numbers[:, 1:].reshape(len(lines), len(classes)),
                numbers[:, 0],
            )
        except (ValueError, IndexError) as error:
            raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> ClassifierError:
    do = "write it again: reslab evaluate MODEL FOLDER --rows FILE"
    return ClassifierError(f"{path} is not a file of rows", why, do)
