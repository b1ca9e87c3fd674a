"""Run: a run folder as a value, with everything needed to repeat, resume and evaluate it.

recipe.json       all settings                   metrics.jsonl           a row per epoch, during training
environment.json  versions, device, git commit   checkpoint.safetensors  complete state, to resume from
photos.jsonl      every file, label and split    model.safetensors       the best network, ready to use
run.json          network, classes, precision    test.csv                a row per test photo
                                               curves.png, first_batch.jpg, result.json
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reslab import files
from reslab.errors import PhotosError, RecipeError, RunError
from reslab.locks import is_locked
from reslab.photos.folder.digests import digest
from reslab.photos.folder.photos import Photos
from reslab.photos.loading.unreadable import SkippedPhotos
from reslab.plots.history import History
from reslab.training.recipe import Recipe

from .run_schema import Checked, EpochRow, ResultFields, RunInfo, read_lines, read_object

if TYPE_CHECKING:
    from reslab.evaluation.classifier import Classifier
    from reslab.networks.registry import NetworkSpec

RunState = Literal["running", "interrupted", "finished"]


@dataclass(frozen=True)
class Run:
    """A run folder. Every property is read from its files at each access.

    Args:
        folder: folder of the run, which contains run.json.

    Raises:
        RunError: the folder is not a run. Properties raise it if a file is missing, damaged or invalid.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", files.user_path(self.folder))
        if not os.path.isfile(self.folder / "run.json"):
            what = "is not a run folder" if os.path.isdir(self.folder) else "does not exist"
            raise RunError(f"{self.folder} {what}", "it has no run.json", "`reslab runs` lists the runs here")

    def __str__(self) -> str:
        best = self.best
        shown = f", best val_accuracy {best['val_accuracy']:.3f} in epoch {best['epoch']}" if best else ""
        return f"Run({self.folder}: {self.state}, {len(self.rows)}/{self.epochs} epochs{shown})"

    __repr__ = __str__

    @property
    def about(self) -> dict[str, Any]:
        """Contents of run.json: network, classes, folder of the photos, precision, start and others."""
        return read_object(self.folder / "run.json", RunInfo)

    @property
    def spec(self) -> NetworkSpec | None:
        """Name, sizes and source of the network, to build it again; None if the run trained a module."""
        from reslab.networks.registry import NetworkSpec
        from reslab.networks.user_code import UserCode

        fields = self.about["spec"]
        if fields is None:
            return None
        code = fields.get("code")
        return NetworkSpec(**fields | {"code": None if code is None else UserCode(**code)})

    @property
    def environment(self) -> dict[str, Any]:
        """Contents of environment.json: versions, device, git commit."""
        return read_object(self.folder / "environment.json", Checked)

    @property
    def recipe(self) -> Recipe:
        """Settings of the run, with later edits of recipe.json."""
        path = self.folder / "recipe.json"
        try:
            return Recipe.load(path)
        except RecipeError as error:
            raise RunError(
                f"{path} is not a valid recipe",
                error.why or error.what,
                "fix it (run.json has the original), or use the reslab version in environment.json",
            ) from error

    @property
    def photos(self) -> Photos:
        """Photos of the run in its splits. They may have changed or been removed since."""
        about, path = self.about, self.folder / "photos.jsonl"
        try:
            if not os.path.isfile(path):  # opening a pipe would wait forever
                raise PhotosError("it is missing or not a regular file")
            if about.get("photos_digest") not in (None, digest(path)):
                raise PhotosError("it was changed after it was written")
            photos = Photos.load(path)
            if list(photos.classes) != list(about["classes"]):
                raise PhotosError("its classes differ from those in run.json")
        except PhotosError as error:
            why = f"{error.what}: {error.why}" if error.why else error.what
            raise RunError(f"{path} cannot be read", why, "start a new run") from error
        return photos

    @property
    def skipped(self) -> SkippedPhotos:
        """Photos that could not be read at the start of the run. They are not part of it."""
        try:
            return SkippedPhotos.from_json(self.about.get("skipped"))
        except ValueError as error:
            why = f"skipped: {error}"
            raise RunError(f"{self.folder / 'run.json'} cannot be read", why, "start a new run") from error

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Metrics of the finished epochs: the fields of `Epoch`, a dictionary per epoch; [] before the first.

        Raises:
            RunError: metrics.jsonl is damaged, or lacks an epoch of a finished run.
        """
        path = self.folder / "metrics.jsonl"
        rows = list(read_lines(path, EpochRow)) if path.exists() else []
        is_complete = self.result is None or self.result["epochs"] == len(rows)
        if not is_complete or any(row["epoch"] != number for number, row in enumerate(rows, 1)):
            raise RunError(f"{path} cannot be read", "it needs one row for each epoch", "start a new run")
        return rows

    @property
    def epochs(self) -> int:
        """Number of epochs of the whole run: the recipe's.

        With a time in the recipe: as last planned, 0 before the first epoch; once finished, as trained.
        """
        recipe, rows = self.recipe, self.rows
        if recipe.time is None:
            return recipe.epochs
        return len(rows) if self.result is not None else rows[-1]["epochs"] if rows else 0

    @property
    def best(self) -> dict[str, Any] | None:
        """Metrics of the epoch whose weights are kept, see `best_epoch`; None before the first epoch."""
        return best_epoch(self.rows)

    @property
    def history(self) -> History:
        """A new History of train_loss, val_loss and val_accuracy by epoch, to draw curves of."""
        history = History()
        for row in self.rows:
            names = ("train_loss", "val_loss", "val_accuracy")
            history.log(row["epoch"], **{name: float(row[name]) for name in names})
        return history

    @property
    def classifier(self) -> Classifier:
        """Classifier with the best weights so far, on the device that "auto" chooses.

        Raises:
            ClassifierError: before the first epoch, for a damaged model, or if the run trained a module.
            NetworkError: the network is from a file of your own that was not run in this process; see
                `reslab.load`.
        """
        from reslab.evaluation.classifier import Classifier

        return Classifier.load(self.folder)

    @property
    def result(self) -> dict[str, Any] | None:
        """Contents of result.json: model, epochs, best_epoch, accuracies; None until the run is finished.

        The paths `run` and `model` are those of the folder now, even if it was moved.
        """
        if not (self.folder / "result.json").is_file():
            return None
        result = read_object(self.folder / "result.json", ResultFields)
        model = self.folder / Path(result["model"]).name  # the run may have been moved since
        return result | {"run": str(self.folder), "model": str(model)}

    @property
    def state(self) -> RunState:
        """ "running" while a process trains it, "finished" with a result, else "interrupted"."""
        if self.result is not None:
            return "finished"
        return "running" if is_locked(self.folder) else "interrupted"

    @property
    def seconds(self) -> float:
        """Seconds of training in the finished epochs, without validation."""
        return float(sum(row["seconds"] for row in self.rows))


def best_epoch(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the best of the epochs at the largest image size: by accuracy, then loss, then the first.

    Args:
        rows: epochs as in `Run.rows`.

    Returns:
        One of the rows; None without any.
    """

    def rank(row: dict[str, Any]) -> tuple[float, ...]:
        return row["size"], row["val_accuracy"], -row["val_loss"], -row["epoch"]

    return max(rows, key=rank, default=None)


def find_runs(folder: Path | str = "runs") -> Iterator[Run]:
    """Yield the runs in a folder, in the order of their starts.

    Args:
        folder: folder that contains runs, or a run itself. A missing folder has no runs. Subfolders of its
            subfolders are not searched.

    Raises:
        RunError: the folder cannot be listed.
    """
    folder, found = files.user_path(folder), []
    try:
        paths = [folder, *sorted(folder.iterdir())] if os.path.isdir(folder) else []
    except OSError as error:
        why = error.strerror or str(error)
        raise RunError(f"{folder} cannot be listed", why, "check its permissions") from error
    for path in paths:
        with suppress(RunError):
            found.append(Run(path))
    yield from sorted(found, key=start_time)


def start_time(run: Run) -> float:
    """Return the start of a run in seconds since 1970; 0 if its run.json is damaged."""
    try:
        return datetime.fromisoformat(run.about["started"]).timestamp()
    except (RunError, ValueError, OverflowError):
        return 0.0


def new_run_folder(run: Path | str | None, name: str) -> Path:
    """Return the path for a new run, which is not created: `run`, or a free runs/<date>-<name>.

    Args:
        run: path that the user chose; None for the default.
        name: of the network.

    Raises:
        RunError: the path exists already, or its nearest existing parent is not a writable folder.
    """
    if run is None:
        short = re.sub(r"[^:]*/", "", name).replace(":", "-")  # without the folder of a user's file
        stem = f"{datetime.now():%Y-%m-%d-%H%M%S}-{short}"
        folder, count = Path("runs") / stem, 1
        while os.path.lexists(folder):
            folder, count = Path("runs") / f"{stem}-{count + 1}", count + 1
    else:
        folder = files.user_path(run)
    if os.path.lexists(folder):
        is_run = os.path.isfile(folder / "run.json")
        raise RunError(
            f"{folder} exists already",
            "it contains a run, and runs are never overwritten" if is_run else "a run needs a new folder",
            f"choose another --run, or resume it: reslab resume {shlex.quote(str(folder))}"
            if is_run
            else "choose another --run",
        )
    parent = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
    if not files.is_writable_folder(parent):
        why = "is not writable" if os.path.isdir(parent) else "is not a folder"
        what = f"the run folder {folder} cannot be created"
        raise RunError(what, f"{parent} {why}", "choose another --run")
    return folder
