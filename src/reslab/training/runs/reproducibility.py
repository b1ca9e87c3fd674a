"""Environment of a run, and everything that has changed since its start.

A change that alters the results is reported as a note. A change that would make the run wrong is an error.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from reslab.errors import ClassifierError, PhotosError, RunError
from reslab.evaluation.model_file import MODEL_NAME, read_model
from reslab.hardware import cores, processor_name
from reslab.photos.folder.digests import digest
from reslab.photos.folder.photo_list import Photo
from reslab.photos.folder.photos import Photos
from reslab.photos.folder.sources.find import find_labeled
from reslab.text import printable
from reslab.training.recipe import Recipe

from .run import Run, start_time

# entries of environment.json, settings of a recipe, folders of the source
AFFECT_RESULTS = (
    "reslab", "code", "torch", "torchvision", "timm", "pillow", "processor", "device", "device_name",
    "threads",
)  # fmt: skip
DO_NOT_AFFECT_RESULTS = ("cache", "workers", "checkpoint_minutes")
FOLDERS_THAT_AFFECT_RESULTS = ("networks", "photos", "evaluation", "training")
START_MARGIN_S = 3600  # photos.jsonl is older than the start time in run.json


def environment(device: torch.device) -> dict[str, Any]:
    """Return the content of environment.json: all that results depend on, but for the recipe and the photos.

    Its values are JSON; `git_commit` is None outside git, `device_name` without CUDA, `timm` while nothing
    has imported it.
    """
    import PIL
    import torchvision

    from reslab.version import __version__

    return {
        "reslab": __version__,
        "code": _source_checksum(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "timm": getattr(sys.modules.get("timm"), "__version__", None),
        "platform": platform.platform(),
        "processor": processor_name(),
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "git_commit": _git_commit(),
        "command": sys.argv,
    }


def _source_checksum() -> str:
    """Return the CRC-32 of reslab's source files that affect results, in 8 hexadecimal digits.

    It distinguishes builds that share a version number.
    """
    checksum, root = 0, Path(__file__).parents[2]
    in_folders = [path for name in FOLDERS_THAT_AFFECT_RESULTS for path in (root / name).rglob("*.py")]
    for path in sorted([*root.glob("*.py"), *in_folders]):
        checksum = zlib.crc32(path.read_bytes(), checksum)
    return f"{checksum:08x}"


def _git_commit() -> str | None:
    """Return the commit of the current folder; None if it is not under git or git does not run."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def notes_on_changes(run: Run, recipe: Recipe, device: torch.device) -> Iterator[str]:
    """Yield a line of text on changes of the environment, and one on edits of the recipe, if there are any.

    Only changes that make the results differ from an uninterrupted run count. An unreadable
    environment.json is a note, too.

    Args:
        device: on which the run is resumed.
    """
    note = "note: results may differ from an uninterrupted run"
    try:
        before = run.environment
    except RunError as error:  # the training does not need this file
        yield f"{note}: {error.what}, {error.why}"
    else:
        now = environment(device)
        if changes := _changes(before, now, AFFECT_RESULTS):
            yield f"{note}: {changes}"
    before, now = run.about["recipe"], recipe.as_json()
    names = [name for name in now if name in before and name not in DO_NOT_AFFECT_RESULTS]
    if changes := _changes(before, now, names):
        yield f"{note}, the recipe was edited: {changes}"


def _changes(before: dict[str, Any], now: dict[str, Any], names: Iterable[str]) -> str:
    """Return "torch 2.13 -> 2.14; ..." for the names whose values differ; "" if all are equal.

    Args:
        before: values by name; they may be untrusted.
        now: values by name, with all of `names`.
    """
    return "; ".join(
        f"{name} {printable(str(before.get(name))[:80])} -> {now[name]}"
        for name in names
        if before.get(name) != now[name]
    )


def first_epoch_to_compare(run: Run, recipe: Recipe, done: int, say: Callable[[str], Any]) -> int:
    """Return the number of the first epoch that counts when the best one is chosen.

    It is the epoch of the saved model; 1 in a new run. If the model is missing or damaged, it is done + 1,
    and a note is given to `say`.

    Args:
        done: number of finished epochs.

    Raises:
        ClassifierError: the model is missing or damaged, and no epoch is left.
    """
    path = run.folder / MODEL_NAME
    try:
        epoch = read_model(path).header.figures.get("epoch") if done else 1
        if type(epoch) is not int or not 1 <= epoch <= done + 1:
            raise ClassifierError(f"{path} is not a model of this run", "", "start a new run")
    except ClassifierError as error:
        if recipe.time is None and done >= recipe.epochs:
            raise
        why = f" ({error.why})" if error.why else ""
        say(f"note: {error.what}{why}; the best of the remaining epochs replaces it")
        return done + 1
    return epoch


def check_photos(run: Run, photos: Photos, say: Callable[[str], Any]) -> None:
    """Check that the photos of a run are unchanged, and report new ones to `say`; the run ignores them.

    Only files that changed after the start of the run, or up to an hour before, are read and compared.

    Raises:
        RunError: a photo was removed or changed.
    """
    listed, started = photos.train + photos.val + photos.test, start_time(run)
    missing, recent = [], []
    for photo in listed:
        changed = _last_change(photos.path(photo))
        if changed is None:
            missing.append(photo.path)
        elif changed > started - START_MARGIN_S:
            recent.append(photo)
    if missing:
        raise _photos_changed(run, photos, missing, "missing from")
    with ThreadPoolExecutor(cores()) as pool:
        unchanged = pool.map(lambda photo: _is_unchanged(photos.path(photo), photo), recent)
        different = [photo.path for photo, same in zip(recent, unchanged, strict=True) if not same]
    if different:
        raise _photos_changed(run, photos, different, "changed in")
    known = {photo.path for photo in listed} | run.skipped.reasons.keys()
    added = [path for path in _paths_in(photos.folder) if path not in known]
    added = [path for path in added if (_last_change(photos.folder / path) or 0.0) > started]
    if added:
        say(
            f"note: {len(added):,} photos were added to {photos.folder} since the start of the run, the "
            f"first is {printable(added[0])}; the run ignores them"
        )


def _photos_changed(run: Run, photos: Photos, paths: list[str], how: str) -> RunError:
    """Return the error for photos that are "missing from" or "changed in" (`how`) their folder."""
    total = sum(map(len, photos.splits.values()))
    return RunError(
        f"{len(paths):,} of {total:,} photos of {run.folder} are {how} {photos.folder}, "
        f"the first is {printable(paths[0])}",
        "the run would continue with different data",
        "restore the photos, or name the place that they are in now: "
        f"reslab resume {shlex.quote(str(run.folder))} --photos FOLDER",
    )


def _last_change(path: Path) -> float | None:
    """Return the last change of a file or its name, in seconds since 1970; None if there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return max(status.st_mtime, status.st_ctime) if os.path.isfile(path) else None


def _is_unchanged(path: Path, photo: Photo) -> bool:
    """Return True if the file has the photo's digest, False if not or if it cannot be read."""
    try:
        return digest(path) == photo.digest
    except PhotosError:
        return False


def _paths_in(folder: Path) -> Iterable[str]:
    """Return the paths of all photos in the folder, relative to it; () if `Photos` refuses the folder."""
    try:
        found = find_labeled(folder).found
        return [path for split in found.values() for paths in split.values() for path in paths]
    except PhotosError:  # the run may have been started from a list in a folder that Photos refuses
        return ()
