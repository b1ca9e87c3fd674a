"""Subject of a report: a classifier, its answers for labeled photos, and the run that trained it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from reslab.errors import ClassifierError, RunError, UsageError
from reslab.evaluation.classifier import Classifier
from reslab.evaluation.inference import read_photo, stack, without_errors
from reslab.evaluation.metrics import Evaluation, evaluate_rows
from reslab.evaluation.model_file import MODEL_NAME
from reslab.evaluation.rows import TEST_ROWS_NAME, PhotoRows
from reslab.files import user_path
from reslab.photos.folder.digests import digest_all
from reslab.photos.folder.photo_list import PhotoList
from reslab.photos.folder.photos import Photos
from reslab.training.runs.run import Run
from reslab.training.runs.train_overlap import evaluation_photos

Kind = Literal["test", "val", "other"]


@dataclass(frozen=True, eq=False)
class Subject:
    """A classifier with its answers for the photos that it is judged by.

    Attributes:
        classifier: the network with its classes and preprocessing.
        evaluation: all figures, with `rows`, the answers.
        kind: "test" and "val" for a split of the run, "other" for another folder.
        source: folder or list of the photos, as the user knows it.
        run: the run that trained the classifier; None for a model file alone.
        photos: photos of the run; None without a run.
        available: (N,), True for each photo of the rows that is where and as it was.
        rows_file: the file that the rows were read from; None if they were computed.
        notes: sentences on how to read the figures.
    """

    classifier: Classifier
    evaluation: Evaluation
    kind: Kind
    source: Path
    run: Run | None
    photos: Photos | None
    available: NDArray[np.bool_]
    rows_file: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> PhotoRows:
        """Answers for the photos, one row per photo."""
        return self.evaluation.rows


def find_subject(
    model: Path | str | Run,
    photos: Path | str | None,
    *,
    network: nn.Module | str | None,
    device: str,
    say: Callable[[str], Any],
) -> Subject:
    """Load a classifier, and read or compute its answers for the photos.

    The answers for a run's own test split are read from its test.csv, if it has one.

    Args:
        model: a finished run, its folder, or a model file.
        photos: a folder or list; by default the run's own test split, or val if it has none.
        network: names the user's file again, for a network of the user's own; or a module.
        device: auto, cpu, cuda or mps.
        say: called with a line of text before the photos are evaluated.

    Raises:
        UsageError: a model file without photos.
        RunError: the run is not finished, or damaged.
        ClassifierError: the model is damaged.
        NetworkError: the network is from a user's file that `network` does not name.
        PhotosError: the photos cannot be used.
    """
    path = model.folder if isinstance(model, Run) else user_path(model)
    run = _run_of(path)
    if run is None and photos is None:
        what = f"a report on {path} needs labeled photos"
        do = f"name a folder of classes: reslab report {shlex.quote(str(path))} FOLDER"
        raise UsageError(what, "a model file has no photos", do)
    if run is not None and run.state != "finished":
        quoted = shlex.quote(str(run.folder))
        do = "wait for its end" if run.state == "running" else f"finish it: reslab resume {quoted}"
        done = f"{len(run.rows)} of {run.epochs} epochs are done"
        raise RunError(f"{run.folder} is not finished", f"it is {run.state}, and {done}", do)
    classifier = Classifier.load(path, network=network, device=device)
    own = None if run is None else run.photos
    if run is not None and own is not None and photos is None:
        return _own_split(classifier, run, own, say)
    source = user_path(photos or "")
    found, notes = evaluation_photos(path, source)
    if run is not None and own is not None and isinstance(found, Photos):
        return _own_split(classifier, run, own, say)
    say(f"evaluating on {source}")
    evaluation = classifier.evaluate(found)
    there = np.ones(evaluation.photos, bool)
    return Subject(classifier, evaluation, "other", source, run, own, there, None, tuple(notes))


def _run_of(path: Path) -> Run | None:
    """Return the run of a run folder, or of the model file in one; None for another model file."""
    folder = path.parent if path.name == MODEL_NAME else path
    is_run = os.path.isfile(folder / "run.json")
    return Run(folder) if is_run or os.path.isdir(path) else None


def _own_split(classifier: Classifier, run: Run, photos: Photos, say: Callable[[str], Any]) -> Subject:
    """Return the subject for the run's own test split, or for val if it has none."""
    kind: Kind = "test" if photos.test else "val"
    split = photos.splits[kind]
    file = run.folder / TEST_ROWS_NAME
    rows = _recorded(file, photos, classifier) if photos.test else None
    if rows is None:
        say(f"evaluating on {len(split):,} photos of {kind}")
        evaluation = classifier.evaluate(photos)
    else:
        unread = int((run.result or {}).get("test_unread", 0))
        evaluation = replace(evaluate_rows(rows), unread=unread)
    available = _unchanged(evaluation.rows, split)
    rows_file = None if rows is None else file
    return Subject(classifier, evaluation, kind, photos.folder, run, photos, available, rows_file)


def _recorded(file: Path, photos: Photos, classifier: Classifier) -> PhotoRows | None:
    """Return the rows that the training wrote; None for a run of an older version, or a damaged file."""
    try:
        rows = PhotoRows.read(file, photos.folder)
    except ClassifierError:
        return None
    return rows if rows.classes == classifier.classes else None


def _unchanged(rows: PhotoRows, split: PhotoList) -> NDArray[np.bool_]:
    """Return for each row whether its photo has the bytes that the run recorded: (N,)."""
    recorded = dict(zip(split.paths, split.digests, strict=True))
    now = digest_all(rows.folder, rows.paths)
    known = [recorded.get(path) for path in rows.paths]
    return np.array([k is not None and bool((k == d).all()) for k, d in zip(known, now, strict=True)], bool)


def read_images(subject: Subject, chosen: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Return normalized images (n, C, size, size) of rows, and the n rows whose photo could be read."""
    preprocess = subject.classifier.preprocess
    read = [read_photo(subject.rows.file(row), preprocess) for row in chosen]
    rows = [row for row, image in zip(chosen, read, strict=True) if isinstance(image, Tensor)]
    return (preprocess.normalize(stack(without_errors(read))) if rows else Tensor()), rows
