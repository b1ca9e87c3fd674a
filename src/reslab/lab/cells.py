"""Cells: one training of one variant with one seed, in a run folder of its own, and its test answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reslab import files
from reslab.errors import DivergedError, NetworkError, ReslabError, RunError
from reslab.evaluation.classifier import load
from reslab.evaluation.inference import predict_logits
from reslab.hardware import choose_device, keep_freed_memory, threads
from reslab.networks.from_text import parse_name
from reslab.networks.registry import NetworkSpec
from reslab.photos.folder import list_file
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.batch_checksums import BYTES_PER_STEP, read_checksums
from reslab.photos.loading.batches import Batches
from reslab.photos.loading.pixel_cache import open_pixels
from reslab.photos.loading.unreadable import ReadablePhotos
from reslab.training.recipe import Recipe
from reslab.training.runs.resume import train_epochs
from reslab.training.runs.run import Run
from reslab.training.runs.start import build_network, spec_of, write_run
from reslab.training.setup import TrainingSetup, prepare, reopen_photos
from reslab.training.timing.precision_cache import MeasuredPrecision
from reslab.untrusted import read_text

from .arrays import read_array, write_array
from .results.variant_result import CellResult

ANSWERS = "answers.npy"  # the class that the cell's network gives to each test photo
FAILURE = "failure.json"
CHECKSUMS = "batches.crc32"
BATCH_SIZE = 128  # of the test


@dataclass(frozen=True)
class Cell:
    """Everything that a worker needs to train a cell; each field is a JSON value.

    Attributes:
        variant: name of the variant.
        seed: of validation split, initial weights, order and augmentation.
        network: notation of the network.
        code: digest of the user's files that it is built from, or timm's version; "" for others.
        recipe: every setting of the training, with the seed.
        measured: MeasuredPrecision of all cells, as JSON.
        photos: list file of the photos to train and to validate on.
        test: list file of the test photos, all with the label 0: a cell does not know their labels.
        folder: run folder of the cell.
    """

    variant: str
    seed: int
    network: str
    code: str
    recipe: Mapping[str, Any]
    measured: Mapping[str, Any]
    photos: str
    test: str
    folder: str

    @property
    def path(self) -> Path:
        """Run folder of the cell."""
        return Path(self.folder)

    @property
    def is_finished(self) -> bool:
        """Return whether the cell has its answers or has failed."""
        return (self.path / ANSWERS).is_file() or (self.path / FAILURE).is_file()

    @property
    def error(self) -> str | None:
        """Reason why the cell failed; None if it did not.

        Raises:
            RunError: the file with the reason is damaged.
        """
        path = self.path / FAILURE
        if not path.is_file():
            return None
        try:
            return str(json.loads(read_text(path))["error"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path} cannot be read", str(error), _again(self)) from error

    @property
    def steps_done(self) -> int:
        """Number of training steps so far, counted from the file of checksums."""
        with suppress(OSError):
            return (self.path / CHECKSUMS).stat().st_size // BYTES_PER_STEP
        return 0


def run_cell(cell: Cell) -> None:
    """Train a cell from where it stands, then write its test answers. A finished cell is left as it is.

    An error of its network, or a training that diverges, is the cell's result: it goes to failure.json.

    Raises:
        TrainingError: the memory is too small for a batch.
        PhotosError: the photos are missing or have changed.
        RunError: the folder is damaged, in use, or cannot be written.
        KeyboardInterrupt: after Ctrl-C or SIGTERM. The checkpoint is of the last finished step.
    """
    if cell.is_finished:
        return
    try:
        _train(cell)
        _write_answers(cell)
    except (DivergedError, NetworkError) as error:
        write_failure(cell, ": ".join(filter(None, [error.what, error.why])))
    except (ReslabError, OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  # a user's block may raise anything
        write_failure(cell, f"{type(error).__name__}: {error}")


def prepare_cell(cell: Cell) -> tuple[NetworkSpec, TrainingSetup, ReadablePhotos]:
    """Build the cell's network and return its spec, its training, ready to start, and its photos.

    Nothing is written.

    Raises:
        NetworkError: the network cannot be built or does not fit the photos.
    """
    recipe, photos = Recipe(**cell.recipe), Photos.load(cell.photos)
    spec = spec_of(cell.network, len(photos.classes), recipe)
    network = build_network(spec, recipe)
    readable = reopen_photos(network, photos, recipe, name=cell.network, progress=False)
    measured = MeasuredPrecision(**cell.measured)
    setup = prepare(network, readable, recipe, measured=measured, name=cell.network, progress=False)
    return spec, setup, readable


def read_cell(cell: Cell, labels: NDArray[np.int64]) -> tuple[CellResult, NDArray[np.bool_] | None]:
    """Return the result of a finished cell, and its right answers (N,) as True; None if it failed.

    Args:
        cell: a finished cell.
        labels: (N,) labels of the test photos.

    Raises:
        RunError: a file of the cell is damaged.
    """
    rows = Run(cell.path).rows if (cell.path / "run.json").exists() else []
    accuracies = tuple(row["val_accuracy"] for row in rows)
    seconds = sum(row["seconds"] for row in rows)
    folder = f"{cell.path.parent.name}/{cell.path.name}"
    if (error := cell.error) is not None:
        return CellResult(cell.variant, cell.seed, folder, None, accuracies, seconds, error), None
    answers = read_array(cell.path / ANSWERS, _again(cell))
    if answers.shape != labels.shape:
        why = f"it has {answers.shape} answers for {len(labels):,} test photos"
        raise RunError(f"{cell.path / ANSWERS} does not fit", why, _again(cell))
    right = answers == labels
    return CellResult(cell.variant, cell.seed, folder, float(right.mean()), accuracies, seconds), right


def first_different_step(cells: Sequence[Cell]) -> tuple[Cell, Cell, int] | None:
    """Return two cells whose batches differ, and the first step where they do; None if all agree.

    Args:
        cells: finished cells that must have been shown the same images. Failed ones are compared as far as
            they came.
    """
    shown = [(cell, read_checksums(cell.path / CHECKSUMS)) for cell in cells]
    longest, most = max(shown, key=lambda pair: len(pair[1]))
    for cell, checksums in shown:
        different = np.flatnonzero(checksums != most[: len(checksums)])
        if len(different):
            return longest, cell, int(different[0])
        if len(checksums) < len(most) and cell.error is None:
            return longest, cell, len(checksums)
    return None


def _again(cell: Cell) -> str:
    return f"remove {cell.path} and run the comparison again: only this cell is repeated"


def _train(cell: Cell) -> None:
    """Start or resume the cell's run and train it to its end."""
    if (cell.path / "run.json").is_file():
        parse_name(cell.network).run_file()  # another process may have started the cell
    else:
        _start(cell)
    run, log = Run(cell.path), cell.path / "log.txt"

    def say(text: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            print(text, file=file)

    for epoch in train_epochs(run, progress=False, say=say, checksums=cell.path / CHECKSUMS):
        say(str(epoch))


def _start(cell: Cell) -> None:
    """Write the run folder of a new cell, with its first checkpoint."""
    spec, setup, readable = prepare_cell(cell)
    first_batch = next(setup.train.epoch(0))
    spec = replace(spec, in_channels=setup.preprocess.channels)  # a user's network may take one channel
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    write_run(cell.path, setup, readable, first_batch, cell.network, spec, None)


def _write_answers(cell: Cell) -> None:
    """Write the class that the best model gives to each test photo, as uint32 (N,)."""
    recipe = Recipe(**cell.recipe)
    device = choose_device(recipe.device)
    classifier = load(cell.path, device=str(device))
    listed = list_file.read(cell.test)
    photos = listed.splits["test"]
    pixels = open_pixels(listed.folder, photos, classifier.preprocess, cache=recipe.cache, progress=False)
    batches = Batches(photos, pixels, classifier.preprocess, BATCH_SIZE)
    if device.type == "cpu":
        keep_freed_memory()
    with threads(int(cell.measured["threads"])):
        images = (batch.images for batch in batches.epoch())
        logits = predict_logits(classifier.network, images, device)
        answers = torch.cat([of_batch.argmax(1) for of_batch in logits])  # (N,)
    write_array(cell.path / ANSWERS, answers.numpy().astype(np.uint32))


def write_failure(cell: Cell, error: str) -> None:
    """Write failure.json. A cell that failed before its run folder was complete gets a folder of its own."""
    cell.path.mkdir(parents=True, exist_ok=True)
    files.write_json(cell.path / FAILURE, {"error": error})
