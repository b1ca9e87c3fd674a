"""The run folder: complete, so that with it and the photos a run can be repeated, resumed, judged.

recipe.json        every setting                  metrics.jsonl      a row per epoch, readable while it trains
environment.json   versions, device, git commit   checkpoint         the whole state, to go on from
photos.jsonl       every file, label and split    model.safetensors  the best network, ready to use
run.json           network, classes, precision    curves.png, first_batch.jpg, result.json
"""

from __future__ import annotations

import os
import shlex
import time
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

from .run_schema import AnyObject, EpochRow, ResultFields, RunInfo, read_lines, read_object

if TYPE_CHECKING:
    from reslab.evaluation.classifier import Classifier

RunState = Literal["running", "interrupted", "finished"]


@dataclass(frozen=True)
class Run:
    """A run folder. Everything is read from the files when asked for."""

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", files.user_path(self.folder))
        if not os.path.isfile(self.folder / "run.json"):
            what = "is no run folder" if os.path.isdir(self.folder) else "does not exist"
            raise RunError(f"{self.folder} {what}", "it has no run.json", "`reslab runs` lists the runs here")

    def __str__(self) -> str:
        best = self.best
        shown = f", best val_accuracy {best['val_accuracy']:.3f} in epoch {best['epoch']}" if best else ""
        return f"Run({self.folder}: {self.state}, {len(self.rows)}/{self.epochs} epochs{shown})"

    __repr__ = __str__

    @property
    def about(self) -> dict[str, Any]:
        """What run.json holds: network, classes, folder of the photos, precision, start."""
        return read_object(self.folder / "run.json", RunInfo)

    @property
    def environment(self) -> dict[str, Any]:
        """What environment.json holds: versions, device, git commit."""
        return read_object(self.folder / "environment.json", AnyObject)

    @property
    def recipe(self) -> Recipe:
        path = self.folder / "recipe.json"
        try:
            return Recipe.load(path)
        except RecipeError as error:
            raise RunError(
                f"{path} cannot be followed",
                error.why or error.what,
                "mend it, run.json says what it was; or use the reslab that wrote it, see environment.json",
            ) from error

    @property
    def photos(self) -> Photos:
        """The photos with the splits of this run."""
        about, path = self.about, self.folder / "photos.jsonl"
        try:
            if about.get("photos_digest") not in (None, digest(path)):
                raise PhotosError("it is not as it was written")
            photos = Photos.load(path)
            if list(photos.classes) != list(about["classes"]):
                raise PhotosError("its classes are not those of run.json")
        except PhotosError as error:
            why = f"{error.what}: {error.why}" if error.why else error.what
            raise RunError(f"{path} cannot be read", why, "start a new run") from error
        return photos

    @property
    def skipped(self) -> SkippedPhotos:
        """The photos that could not be read when the run began, and have no part in it."""
        try:
            return SkippedPhotos.from_json(self.about.get("skipped"))
        except ValueError as error:
            why = f"skipped: {error}"
            raise RunError(f"{self.folder / 'run.json'} cannot be read", why, "start a new run") from error

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a finished epoch."""
        path = self.folder / "metrics.jsonl"
        rows = list(read_lines(path, EpochRow)) if path.exists() else []
        whole = self.result is None or self.result["epochs"] == len(rows)
        if not whole or any(row["epoch"] != number for number, row in enumerate(rows, 1)):
            raise RunError(f"{path} cannot be read", "it has not one row for every epoch", "start a new run")
        return rows

    @property
    def epochs(self) -> int:
        """Of the whole run: as its recipe says; where that gives a time, as it came or as last planned."""
        recipe, rows = self.recipe, self.rows
        if recipe.time is None:
            return recipe.epochs
        return len(rows) if self.result is not None else rows[-1]["epochs"] if rows else 0

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the epoch that validation chose."""
        return best_of(self.rows)

    @property
    def history(self) -> History:
        """The epochs as the curves' History: train_loss, val_loss, val_accuracy."""
        history = History()
        for row in self.rows:
            names = ("train_loss", "val_loss", "val_accuracy")
            history.log(row["epoch"], **{name: float(row[name]) for name in names})
        return history

    @property
    def classifier(self) -> Classifier:
        """The best network so far. Raises ClassifierError before the first epoch is done."""
        from reslab.evaluation.classifier import Classifier

        return Classifier.load(self.folder)

    @property
    def result(self) -> dict[str, Any] | None:
        """The figures of a finished run: run, model, best_epoch, test_accuracy and its interval."""
        if not (self.folder / "result.json").is_file():
            return None
        result = read_object(self.folder / "result.json", ResultFields)
        model = self.folder / Path(result["model"]).name  # the run may have been moved since
        return result | {"run": str(self.folder), "model": str(model)}

    @property
    def state(self) -> RunState:
        if self.result is not None:
            return "finished"
        return "running" if is_locked(self.folder) else "interrupted"

    @property
    def seconds(self) -> float:
        """Time spent in training, validation left out."""
        return float(sum(row["seconds"] for row in self.rows))


def best_of(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Of the epochs with the largest pictures: highest validation accuracy, then lowest loss, then first."""

    def rank(row: dict[str, Any]) -> tuple[float, ...]:
        return row["size"], row["val_accuracy"], -row["val_loss"], -row["epoch"]

    return max(rows, key=rank, default=None)


def find_runs(folder: Path | str = "runs") -> Iterator[Run]:
    """Every run in `folder`, oldest first; `folder` may be a run itself."""
    folder, found = Path(folder), []
    try:
        places = [folder, *sorted(folder.iterdir())] if os.path.isdir(folder) else []
    except OSError as error:
        why = error.strerror or str(error)
        raise RunError(f"{folder} cannot be listed", why, "check its permissions") from error
    for place in places:
        with suppress(RunError):
            found.append(Run(place))
    yield from sorted(found, key=_began)


def _began(run: Run) -> float:
    """Seconds since 1970; 0 for a run that does not say."""
    try:
        return datetime.fromisoformat(run.about["started"]).timestamp()
    except (RunError, ValueError, OverflowError):
        return 0.0


def new_folder(run: Path | str | None, name: str) -> Path:
    """Where a new run goes. Raises RunError if the folder is there already: nothing is ever overwritten."""
    if run is None:
        stem = f"{datetime.now():%Y-%m-%d-%H%M%S}-{name.replace(':', '-')}"
        folder, count = Path("runs") / stem, 1
        while os.path.lexists(folder):
            folder, count = Path("runs") / f"{stem}-{count + 1}", count + 1
    else:
        folder = files.user_path(run)
    if os.path.lexists(folder):
        is_run = os.path.isfile(folder / "run.json")
        raise RunError(
            f"{folder} exists already",
            "it holds a run, and no run is ever overwritten" if is_run else "a run needs a folder of its own",
            f"choose another --run, or go on with it: reslab resume {shlex.quote(str(folder))}"
            if is_run
            else "choose another --run",
        )
    above = next(parent for parent in folder.absolute().parents if os.path.lexists(parent))
    if not files.is_writable_folder(above):
        why = "may not be written into" if os.path.isdir(above) else "is no folder"
        raise RunError(f"the run folder {folder} cannot be made", f"{above} {why}", "choose another --run")
    return folder


def now() -> str:
    """The local time with its offset."""
    return datetime.fromtimestamp(time.time()).astimezone().isoformat(timespec="seconds")
